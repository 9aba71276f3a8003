"""How often the rules of ``e2lm watch`` are wrong over all looks of a run, and what right stops save.

* paired: ``P(ends below BASE on TASK) > .95`` on simulated runs: equal ones, seeds that differ, drift, spikes, level
  shifts, and late bloomers, which are below for half of the run and end above;
* spike: ``loss spike`` on simulated logs without one: heavy noise, drift, level shifts of 3 to 9 %;
* forecast: ``P(loss at END > x) > .95`` on simulated curves whose true end is at most x;
* replay: the same rule on public loss curves (``--data``: MultiPowerLaw and the OLMo ladder), x from .5 % above to
  3 % above the end that came, and below it, where a stop is right and saves what was still to come.

* pairs: ``P(ends below BASE on TASK)`` for every ordered pair of the 22 models of Gemstones, items of ARC (``--data``),
  with the probability of the true answer as it is.

A wrong stop is one of a run whose true end contradicts the condition; rates are over all runs whose end does not
justify a stop, with Clopper-Pearson bounds (95 %).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import pandas as pd
from scaling_splits import DATA
from scipy.stats import beta

from e2lm.arrays import Values
from e2lm.errors import UserError
from e2lm.interval import normal_quantile
from e2lm_adapters.watch.evidence import (
    CELLS,
    end_of_differences,
    log_e_value,
    spikes,
    surely_below,
    surely_past,
    thinned,
)
from e2lm_adapters.watch.judging import FEWEST_LOSSES, forecast_at

SHARE = 0.95
LOOKS, ITEMS, POINTS = 25, 250, 400
Draw = Callable[[np.random.Generator], Values]


def bounds(count: int, total: int) -> str:
    """The share with its Clopper-Pearson bounds."""
    low = 0.0 if count == 0 else float(beta.ppf(0.025, count, total - count + 1))
    high = 1.0 if count == total else float(beta.ppf(0.975, count + 1, total - count))
    return f"{count} of {total} = {count / max(total, 1):.3f} [{low:.3f}, {high:.3f}]"


# -- paired items -----------------------------------------------------------------------------------------------------


def walk(rng: np.random.Generator, size: float) -> Values:
    return np.cumsum(rng.normal(0, size, LOOKS))


def shifted(rng: np.random.Generator, size: float) -> Values:
    gap_K = np.zeros(LOOKS)
    gap_K[int(rng.integers(2, LOOKS - 2)) :] = rng.normal(0, size)
    return gap_K


def spiked(rng: np.random.Generator) -> Values:
    gap_K = np.zeros(LOOKS)
    gap_K[rng.integers(1, LOOKS - 2, 3)] = -rng.uniform(0.05, 0.3, 3)
    return gap_K


def bloomer(rng: np.random.Generator) -> Values:
    return np.linspace(-rng.uniform(0.02, 0.15), rng.uniform(0.0, 0.1), LOOKS)


#: True mean of run minus baseline at every look, on all items there could be.
GAPS: dict[str, Draw] = {
    "equal": lambda rng: np.zeros(LOOKS),
    "seeds that differ": lambda rng: np.full(LOOKS, rng.normal(0, 0.01)),
    "drift": lambda rng: walk(rng, 0.004),
    "spikes": spiked,
    "level shifts": lambda rng: shifted(rng, 0.05),
    "late bloomers": bloomer,
    "clearly below": lambda rng: np.full(LOOKS, -rng.uniform(0.03, 0.12)),
}


def stopped_at(gap_K: Values, rng: np.random.Generator) -> int | None:
    """The look at which the rule stops a run with these true gaps."""
    lasting_I = rng.standard_t(4, ITEMS) * 0.08
    below_KI = np.clip(-gap_K[:, None] + lasting_I + rng.normal(0, 0.08, (LOOKS, ITEMS)), -1, 1)
    steps_K = 1000.0 * np.arange(1, LOOKS + 1)
    logs_K = np.array([log_e_value(below_I) for below_I in below_KI])
    for k in range(1, LOOKS + 1):
        sure = surely_below(logs_K[:k]) > SHARE
        if sure and end_of_differences(steps_K[:k], -below_KI[:k].mean(axis=1), steps_K[-1]) < 0:
            return k
    return None


def paired(runs: int, rng: np.random.Generator) -> Iterator[str]:
    each = -(-runs // len(GAPS))
    for name, draw in GAPS.items():
        wrong = null = right = justified = saved = 0.0
        for _ in range(each):
            gap_K = draw(rng)
            stop = stopped_at(gap_K, rng)
            if gap_K[-1] >= 0:
                null, wrong = null + 1, wrong + (stop is not None)
            else:
                justified, right = justified + 1, right + (stop is not None)
                saved += 0 if stop is None else 1 - stop / LOOKS
        told = f"wrong stops {bounds(int(wrong), int(null))}" if null else "no run ends above"
        more = f"; right stops {bounds(int(right), int(justified))}, saved {saved / justified:.0%}" if justified else ""
        yield f"{name:<20} {told}{more}"


def stop_and_end(run_KI: Values, bases_SKI: Values) -> tuple[int | None, float]:
    """The look at which the rule stops the run, and by how much it ends above what the rule says (at most 0: right)."""
    logs, differences, margins = [], [], []
    for k in range(len(run_KI)):
        theirs = [base_KI[k] - run_KI[k] for base_KI in bases_SKI]
        gaps = [float(theirs[a].mean() - theirs[b].mean()) for a in range(len(theirs)) for b in range(a)]
        margins.append(max((abs(gap) for gap in gaps), default=0.0))
        logs.append(min(log_e_value(below_I, margins[-1]) for below_I in theirs))
        differences.append(max(-float(below_I.mean()) for below_I in theirs) + margins[-1])
    steps_K, end = 1000.0 * np.arange(1, len(run_KI) + 1), float(np.mean(differences[-2:]))
    for k in range(1, len(run_KI) + 1):
        sure = surely_below(np.array(logs[:k])) > SHARE
        if sure and end_of_differences(steps_K[:k], np.array(differences[:k]), steps_K[-1]) < 0:
            return k, end
    return None, end


def pairs(runs: int, rng: np.random.Generator, data: Path) -> Iterator[str]:
    for task in ("arcc", "arce"):
        read = np.load(data.parent / "signal" / "gemstones" / f"{task}_gold_loss.npz")
        given_RKI = np.exp(-read["loss"].astype(np.float64))
        ordered = [(a, b) for a in range(len(given_RKI)) for b in range(len(given_RKI)) if a != b]
        found = [stop_and_end(given_RKI[a], given_RKI[b][None]) for a, b in ordered[: runs or None]]
        kept = [stop for stop, end in found if end >= 0]
        right = [stop for stop, end in found if end < 0]
        saved = sum(1 - stop / given_RKI.shape[1] for stop in right if stop is not None) / len(right)
        yield (
            f"{task}   wrong stops {bounds(sum(stop is not None for stop in kept), len(kept))}; "
            f"right stops {bounds(sum(stop is not None for stop in right), len(right))}, saved {saved:.0%}"
        )


# -- spikes -----------------------------------------------------------------------------------------------------------


def quiet_log(rng: np.random.Generator, kind: str) -> Values:
    at_K = np.arange(1, POINTS + 1)
    log_K = np.log(2 + rng.uniform(2, 6) * at_K**-0.4) + rng.uniform(0.003, 0.04) * rng.standard_t(4, POINTS)
    if kind == "drift":
        log_K += np.cumsum(rng.normal(0, 0.003, POINTS))
    if kind == "level shifts":
        log_K[int(rng.integers(50, POINTS)) :] += rng.uniform(0.03, 0.09)
    return np.exp(log_K)


def spike(runs: int, rng: np.random.Generator) -> Iterator[str]:
    for kind in ("heavy noise", "drift", "level shifts"):
        each = -(-runs // 3)
        wrong = sum(bool(spikes(quiet_log(rng, kind))) for _ in range(each))
        found = 0
        for _ in range(each // 4):
            loss_K = quiet_log(rng, "heavy noise")
            loss_K[POINTS // 2 : POINTS // 2 + 3] *= rng.uniform(1.6, 3)
            found += any(abs(k - POINTS // 2) < 3 for k, _ in spikes(loss_K))
        yield f"{kind:<20} false alarms {bounds(wrong, each)}; spikes of 60 to 200 % found {bounds(found, each // 4)}"


# -- forecasts --------------------------------------------------------------------------------------------------------


def stops_of_forecast(at_K: Values, loss_K: Values, end: float, levels: list[float]) -> list[float | None]:
    """For each level, the share of the run at which ``P(loss at END > level)`` stops it."""
    stops: list[float | None] = [None] * len(levels)
    for cell in range(1, CELLS):
        late_K = at_K >= end * cell / CELLS
        if not late_K.any() or at_K[int(np.argmax(late_K))] >= end:
            continue
        used = int(np.argmax(late_K)) + 1
        seen_K, value_K = thinned(at_K[:used], loss_K[:used])
        if len(seen_K) < FEWEST_LOSSES:
            continue
        try:
            surely = surely_above(seen_K, value_K, end, levels)
        except UserError:
            continue
        for number, probability in enumerate(surely):
            if stops[number] is None and probability > SHARE:
                stops[number] = float(at_K[used - 1] / end)
    return stops


def surely_above(at_K: Values, loss_K: Values, end: float, levels: list[float]) -> list[float]:
    """As the rule asks, of one forecast for all levels."""
    first = forecast_at(at_K, loss_K, end)
    return [surely_past(first.value, first.log_half_width, level, ">", normal_quantile()) for level in levels]


def drawn_curve(rng: np.random.Generator) -> tuple[Values, Values, float]:
    at_K = np.linspace(1, 200, 200)
    true_K = rng.uniform(1.8, 2.6) + rng.uniform(1, 5) * at_K ** -rng.uniform(0.2, 0.6)
    if rng.random() < 0.3:  # anneals: the last fifth falls faster
        true_K = true_K * np.exp(-rng.uniform(0, 0.04) * np.clip((at_K - 160) / 40, 0, 1))
    noise_K = 0.01 * rng.standard_t(4, 200) + np.cumsum(rng.normal(0, 0.0007, 200))
    if rng.random() < 0.3:
        noise_K[int(rng.integers(40, 190)) :] += rng.normal(0, 0.01)
    return at_K, true_K * np.exp(noise_K), float(true_K[-1] * np.exp(noise_K[-20:].mean()))


def forecast(runs: int, rng: np.random.Generator) -> Iterator[str]:
    wrong = 0
    for _ in range(runs):
        at_K, loss_K, end = drawn_curve(rng)
        wrong += stops_of_forecast(at_K, loss_K, 200.0, [end * rng.uniform(1.0, 1.02)])[0] is not None
    yield f"{'simulated curves':<20} wrong stops {bounds(wrong, runs)}"


def public_curves(data: Path) -> Iterator[tuple[str, Values, Values]]:
    for file in sorted((data / "multipowerlaw" / "loss_curve_repo").glob("csv_*/*.csv")):
        table = pd.read_csv(file)
        at_K, loss_K = (table[column].to_numpy(dtype=np.float64) for column in ("step", "loss"))
        yield f"multipowerlaw/{file.parent.name}/{file.stem}", at_K, loss_K
    for file in sorted((data / "olmo_ladder" / "data" / "ladder-runs").glob("*xC*.csv")):
        table = pd.read_csv(file)[["_step", "eval/c4_en-validation/CrossEntropyLoss"]].dropna()
        yield f"ladder/{file.stem}", table.iloc[:, 0].to_numpy(dtype=np.float64), table.iloc[:, 1].to_numpy()


def replay(runs: int, rng: np.random.Generator, data: Path) -> Iterator[str]:
    curves = [one for one in public_curves(data) if len(one[1]) >= 20][: runs or None]
    factors = (1.005, 1.01, 1.03, 0.97, 0.9, 0.8)
    stops = []
    for _, at_K, loss_K in curves:
        kept_K = (at_K > 0) & np.isfinite(loss_K)
        end = float(np.median(loss_K[kept_K][-3:]))
        levels = [factor * end for factor in factors]
        stops.append(stops_of_forecast(at_K[kept_K], loss_K[kept_K], float(at_K.max()), levels))
    for number, factor in enumerate(factors):
        stopped = [one[number] for one in stops if one[number] is not None]
        what = "wrong" if factor > 1 else "right"
        saved = f", saved {sum(1 - one for one in stopped) / len(stops):.0%}" if factor < 1 else ""
        yield f"x = {factor:g} of the end   {what} stops {bounds(len(stopped), len(stops))}{saved}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["paired", "spike", "forecast", "replay", "pairs"])
    parser.add_argument("--runs", type=int, default=2000, help="simulated runs of each part; curves of the replay")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    for part in arguments.parts:
        rng, began_s = np.random.default_rng(arguments.seed), time.process_time()
        print(f"## {part}")
        if part in ("replay", "pairs"):
            lines = {"replay": replay, "pairs": pairs}[part](arguments.runs, rng, arguments.data)
        else:
            lines = {"paired": paired, "spike": spike, "forecast": forecast}[part](arguments.runs, rng)
        for line in lines:
            print(line, flush=True)
        print(f"({time.process_time() - began_s:.0f} CPU s)\n")


if __name__ == "__main__":
    main()
