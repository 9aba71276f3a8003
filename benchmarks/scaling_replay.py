"""Replays ``continue`` of ``e2lm predict decide`` on public runs, from half of their tokens to the end.

Every run is taken at half, with the finished runs (or checkpoints, where the learning rate is constant) of less compute
as the table, and carried on by ``average``. Prints by family how often the forecast is worse than the loss at half,
what the 90 % intervals cover, and the mean error beside that of persistence; and the coverage by the two constants that
the other families alone would have chosen: at least 90 % on average over them and 85 % in each, at the smallest mean
half-width. Some two CPU minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import pandas as pd
from scaling_splits import DATA

from e2lm.interval import normal_quantile
from e2lm.progress import progress_bar
from e2lm.scaling_predictor import Forecast, LossTable
from e2lm_scaling.forecast.decide import CONTINUED_DOUBT, CONTINUED_NOISE, carried_on
from e2lm_scaling.forecast.predictors import AVERAGE
from e2lm_scaling.forecast.table import flops_of, subset, table_of

LEARNT, FEWEST = 50, 8
DOUBTS, NOISES = np.arange(0.1, 1.51, 0.05), (0.001, 0.002, 0.003, 0.004, 0.006, 0.008, 0.01)
LADDER_SIZES = {"190M": 190354176, "370M": 371262464, "760M": 758220288, "1B": 1279395840, "3B": 3169537280}
C4 = "eval/c4_en-validation/CrossEntropyLoss"


@dataclass(frozen=True)
class Replay:
    """A run at half and at its end, and the runs that were known at half."""

    family: str
    params: float
    half: tuple[float, float]
    end: tuple[float, float]
    known: LossTable


@dataclass(frozen=True)
class Replayed:
    """What came out: the forecast, and the changes of ln L that were forecast and that came."""

    family: str
    forecast: Forecast
    seen: float
    end: float

    @property
    def forecast_change(self) -> float:
        """Change of ln L from half to the end, as forecast."""
        return float(np.log(self.forecast.value / self.seen))

    @property
    def change(self) -> float:
        """Change of ln L from half to the end, as it came."""
        return float(np.log(self.end / self.seen))

    def half_width(self, doubt: float, noise: float) -> float:
        """Half-width of ln L with these constants."""
        return float(normal_quantile() * np.hypot(doubt * self.forecast_change, noise))

    def covers(self, doubt: float, noise: float) -> bool:
        """Whether the end lies in the interval with these constants."""
        return abs(self.change - self.forecast_change) <= self.half_width(doubt, noise)


def halves(family: str, runs: pd.DataFrame, finished: pd.DataFrame, tolerance: float = 0.06) -> Iterator[Replay]:
    """Runs of several checkpoints (run, N, D, L) at half, with the finished ones of less compute."""
    for run, rows in runs.groupby("run"):
        rows = rows.sort_values("D")
        params, last = float(rows["N"].iloc[0]), rows.iloc[-1]
        at = rows.iloc[int((rows["D"] / last["D"] - 0.5).abs().argmin())]
        if abs(at["D"] / last["D"] - 0.5) > tolerance:
            continue
        others = finished[(finished["run"] != run) & (finished["N"] * finished["D"] <= params * at["D"] * 1.001)]
        if len(others) < FEWEST:
            continue
        if len(others) > LEARNT:
            others = others.sample(LEARNT, random_state=0)
        known = pd.concat([others, at.to_frame().T])
        table = table_of(*(known[name].to_numpy(dtype=float) for name in ("N", "D", "L")))
        yield Replay(family, params, (float(at["D"]), float(at["L"])), (float(last["D"]), float(last["L"])), table)


def gemstones(folder: Path) -> Iterator[Replay]:
    for family, name in (("gemstones constant", "hot_100b+_477"), ("gemstones annealed", "cool_end")):
        frame = pd.read_json(folder / f"gemstones/wandb_df_for_fitting_{name}.jsonl", lines=True)
        frame = frame.rename(
            columns={"run_name": "run", "params_active_precise": "N", "tokens": "D", "final_loss": "L"}
        )
        # Every tenth checkpoint of a constant learning rate is as good as a run.
        checkpoints = frame[(frame["step"] / 477).round() % 10 == 0] if name.startswith("hot") else frame
        yield from halves(family, frame, checkpoints)


def ladder(folder: Path) -> Iterator[Replay]:
    rows = []
    for path in sorted((folder / "olmo_ladder/data/ladder-runs").glob("*xC.csv")):
        frame = pd.read_csv(path)
        counted = "throughput/total_tokens"
        tokens = frame[counted] if counted in frame else frame["_step"] * frame["batch_size_in_tokens"]
        loss = frame[C4].rolling(3, min_periods=1).mean()
        params = LADDER_SIZES[path.name.split("-")[0]]
        rows.append(pd.DataFrame({"run": path.stem, "N": params, "D": tokens, "L": loss}).dropna())
    every = pd.concat(rows)
    yield from halves("ladder", every, every.loc[every.groupby("run")["D"].transform("max") == every["D"]])


def misfitting(folder: Path) -> Iterator[Replay]:
    """Of every model and length the learning rate that ended best, and all the ends."""
    frame = pd.read_csv(folder / "misfitting/scaling_results.csv")
    key = ["model", "total_steps", "peak_lr", "sweep"]
    frame = frame.rename(columns={"train_tokens": "seen"}).assign(L=frame["loss"])
    frame["run"] = frame[key].astype(str).agg(" ".join, axis=1)
    frame = frame[(frame["L"] < 20) & (frame["L"] > 0) & (frame["portion_steps_elapsed"] <= 1)]
    ended = frame[frame["portion_steps_elapsed"] >= 0.99]
    ended = ended.loc[ended.groupby(["model", "total_steps"])["L"].idxmin()]
    yield from halves("misfitting", frame[frame["run"].isin(ended["run"])], ended)


def replays(folder: Path = DATA) -> list[Replay]:
    return [one for source in (gemstones, ladder, misfitting) for one in source(folder)]


def replayed(replay: Replay) -> Replayed | None:
    tokens, seen = replay.half
    usable = subset(replay.known, flops_of(replay.known) > 0)
    fitted = AVERAGE.fitted(usable, np.random.default_rng(0))
    size_2, tokens_2 = np.full(2, replay.params), np.array([tokens, replay.end[0]])
    # The interval of a run that goes on is not that of the predictor, of which only the ratio counts.
    now, then = (Forecast(value, value, value) for value in fitted.losses(size_2, tokens_2).tolist())
    return Replayed(replay.family, carried_on(seen, now, then), seen, replay.end[1])


def chosen(ones: list[Replayed]) -> tuple[float, float]:
    """The constants of the rule; the widest of the grid where none keeps it."""
    families = sorted({one.family for one in ones})
    best, smallest = (float(DOUBTS[-1]), NOISES[-1]), np.inf
    for constants in product(DOUBTS.tolist(), NOISES):
        covered = [np.mean([one.covers(*constants) for one in ones if one.family == name]) for name in families]
        width = float(np.mean([one.half_width(*constants) for one in ones]))
        if np.mean(covered) >= 0.9 and min(covered) >= 0.85 and width < smallest:
            best, smallest = constants, width
    return best


def row(ones: list[Replayed], unseen: list[bool]) -> dict[str, float]:
    shipped = (CONTINUED_DOUBT, CONTINUED_NOISE)
    error = [abs(one.change - one.forecast_change) for one in ones]
    return {
        "runs": len(ones),
        "worse_than_now": sum(one.forecast.value > one.seen for one in ones),
        "coverage": float(np.mean([one.forecast.low <= one.end <= one.forecast.high for one in ones])),
        "coverage_by_constants_of_the_others": float(np.mean(unseen)),
        "mean_half_width_percent": 100 * float(np.mean([one.half_width(*shipped) for one in ones])),
        "mean_error_percent": 100 * float(np.mean(error)),
        "mean_error_of_persistence_percent": 100 * float(np.mean([abs(one.change) for one in ones])),
    }


def report_of(ones: list[Replayed]) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    every: list[bool] = []
    for family in sorted({one.family for one in ones}):
        # The two gemstones families are the same runs.
        others = [one for one in ones if one.family.split()[0] != family.split()[0]]
        constants, these = chosen(others), [one for one in ones if one.family == family]
        unseen = [one.covers(*constants) for one in these]
        every += unseen
        found[family] = row(these, unseen) | {"constants_of_the_others": constants}
    found["all"] = row(ones, every) | {"constants_of_all": chosen(ones)}
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    every, ones = replays(), []
    with progress_bar(len(every), "run", "replay") as bar:
        for one in every:
            ones.append(replayed(one))
            bar.update()
    report = report_of(ones)
    if arguments.json:
        print(json.dumps(report, indent=1))
        return
    for name, one in report.items():
        print(
            f"{name:20} {one['runs']:3} runs, {one['worse_than_now']} forecast worse than now; covered "
            f"{one['coverage']:.2f} (by the others' constants {one['coverage_by_constants_of_the_others']:.2f}), "
            f"+- {one['mean_half_width_percent']:.2f} %; error {one['mean_error_percent']:.2f} %, persistence "
            f"{one['mean_error_of_persistence_percent']:.2f} %"
        )


if __name__ == "__main__":
    main()
