"""What the 90 % intervals of ``average`` cover, by family of corpora and by reach, on public losses.

Of every corpus the runs of at most 1/3, 1/10 and 1/100 of the largest compute predict the others (at most 50 learn, at
most 40 are predicted, drawn with fixed seeds). Prints coverage and median half-width by family, by reach and within 10x
of near-optimal runs (within 2 % of the lowest loss of any run of no more compute), for the shipped constants and for
those that the other families alone would have chosen: at least 95 % on average over them, 90 % in each and 90 % at
every reach, at the smallest median half-width within 10x of near-optimal runs. Takes some two CPU minutes.
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
import scaling_splits as public

from e2lm.progress import progress_bar
from e2lm.scaling_predictor import LossTable
from e2lm_scaling.forecast.calibration import (
    GROWTH,
    LEAST_HALF_WIDTH,
    OWN_ERROR_FACTOR,
    Fold,
    distance_beyond,
    folds_of,
)
from e2lm_scaling.forecast.predictors import AVERAGE, DRIFT
from e2lm_scaling.forecast.table import flops_of, subset, table_of

RATIOS = (3, 10, 100)
LEARNT, PREDICTED, FEWEST = 50, 40, 8
GROWTHS, FACTORS = (2.0, 2.5, 3.0, 3.5), tuple(round(0.7 + 0.025 * step, 3) for step in range(29))
LEAST, DRIFTS = (0.004, 0.006, 0.008, 0.01), (0.005,)
NEAR_OPTIMAL, NEAR = 1.02, 10.0
FEWEST_OF_CELL = 20
REACHES = {"up to 3x": 3.0, "to 10x": 10.0, "to 100x": 100.0, "beyond": np.inf}
ONE_SWEEP = ("fineweb-100b", "starcoder", "proof-pile-2")
ONE_LADDER = ("ladder-c4", "ladder-hellaswag", "ladder-mmlu")


@dataclass(frozen=True)
class Measured:
    """Errors of ln L on held-out runs and what their half-widths are made of."""

    family: str
    name: str
    error_R: np.ndarray
    reach_R: np.ndarray
    is_near_optimal_R: np.ndarray
    folds: list[Fold]

    def own(self, growth: float) -> float:
        """The own error, where errors grow so fast with reach."""
        shares = (np.abs(one.error_R) / np.hypot(1, growth * one.distance_R) for one in self.folds)
        return float(np.median([np.quantile(share_R, 0.9) for share_R in shares]))

    def half_R(self, growth: float, factor: float, least: float, drift: float) -> np.ndarray:
        """Half-width of ln L on every held-out run."""
        own_R = factor * self.own(growth) * np.hypot(1, growth * self.reach_R)
        return np.sqrt(own_R**2 + least**2 + (drift * self.reach_R) ** 2)


@dataclass(frozen=True)
class Pooled:
    """All held-out runs, and their half-widths for all constants of the grid."""

    family_R: np.ndarray
    reach_R: np.ndarray
    error_R: np.ndarray
    is_near_R: np.ndarray
    constants_K: list[tuple[float, float, float, float]]
    half_KR: np.ndarray

    @property
    def inside_KR(self) -> np.ndarray:
        """Whether each held-out run lies in its interval, for all constants."""
        return np.abs(self.error_R) <= self.half_KR


def joined(*tables: LossTable) -> LossTable:
    return table_of(*(np.concatenate([getattr(one, name) for one in tables]) for name in
                      ("params_R", "tokens_R", "loss_R")))  # fmt: skip


def best_per_size(frame: pd.DataFrame, loss: str) -> LossTable:
    best = frame.loc[frame.groupby(["N", "D"])[loss].idxmin()]
    return table_of(*(best[name].to_numpy(dtype=float) for name in ("N", "D", loss)))


def corpora(folder: Path) -> Iterator[tuple[str, str, LossTable]]:
    """Family, name and all runs of every corpus."""
    seen = set()
    for split in public.splits(folder):
        family = "ladder" if split.corpus.startswith("ladder") else split.corpus
        family = "loss-to-loss" if split.name.endswith("x") else family
        many = {"ladder": ONE_LADDER, "loss-to-loss": ONE_SWEEP}.get(family, (split.corpus,))
        if split.corpus in many and (family == "gadre" or split.corpus not in seen):
            seen.add(split.corpus)
            yield family, split.name, joined(split.train, split.held)
    frame = pd.read_csv(folder / "porian/isoflop_points.csv")
    frame = (
        frame[frame["val"] == "val"] if (frame["val"] == "val").any() else frame[frame["val"] == frame["val"].iloc[0]]
    )
    groups = frame.groupby(["dataset", "hparams", "warmup", "decay", "param_count"])
    large = [(key, rows) for key, rows in groups if len(rows) > 30]
    for key, rows in large[::3]:
        yield "porian", "porian " + "/".join(key), table_of(*(rows[c].to_numpy(float) for c in ("N", "D", "loss")))
    dense = pd.read_csv(folder / "steplaw/dense_lr_bs_loss.csv")
    yield "steplaw", "steplaw dense", best_per_size(dense[dense["loss"] > 0], "smooth loss")
    last = pd.read_csv(folder / "misfitting/scaling_results_last_ckpt_only.csv")
    yield "misfitting", "misfitting", best_per_size(last[last["loss"] < 20], "loss")


def thinned(table: LossTable, count: int, seed: int) -> LossTable:
    if len(table.loss_R) <= count:
        return table
    kept = np.zeros(len(table.loss_R), dtype=bool)
    kept[np.random.default_rng(seed).choice(len(kept), count, replace=False)] = True
    return subset(table, kept)


def measured(family: str, name: str, table: LossTable) -> Iterator[Measured]:
    flops_R, before = flops_of(table), None
    for ratio in RATIOS:
        small_R = flops_R <= flops_R.max() / ratio
        if small_R.sum() < FEWEST or small_R.all() or small_R.sum() == before:
            continue
        before = small_R.sum()
        train, held = thinned(subset(table, small_R), LEARNT, 1), thinned(subset(table, ~small_R), PREDICTED, 2)
        log_loss = AVERAGE.learn(train)
        folds = folds_of(AVERAGE.learn, train)
        if log_loss is None or not folds:
            continue
        rows = zip(held.params_R, held.tokens_R, strict=True)
        reach_R = np.array([max(distance_beyond(train, float(n), float(d)), 0.0) for n, d in rows])
        flops_now_R = flops_of(held)
        lowest_R = np.array([table.loss_R[flops_R <= 1.05 * one].min() for one in flops_now_R])
        yield Measured(
            family, f"{name} / {ratio}", log_loss(held.params_R, held.tokens_R) - np.log(held.loss_R), reach_R,
            held.loss_R <= NEAR_OPTIMAL * lowest_R, folds,
        )  # fmt: skip


def pooled(ones: list[Measured]) -> Pooled:
    grid = list(product(GROWTHS, FACTORS, LEAST, DRIFTS))
    reach_R, optimal_R = (np.concatenate([getattr(one, name) for one in ones]) for name in
                          ("reach_R", "is_near_optimal_R"))  # fmt: skip
    return Pooled(
        np.concatenate([[one.family] * len(one.error_R) for one in ones]), reach_R,
        np.concatenate([one.error_R for one in ones]), optimal_R & (reach_R <= np.log(NEAR)), grid,
        np.array([np.concatenate([one.half_R(*constants) for one in ones]) for constants in grid]),
    )  # fmt: skip


def masks_of_reach(reach_R: np.ndarray) -> dict[str, np.ndarray]:
    edges = [-1.0, *(np.log(factor) for factor in REACHES.values())]
    return {name: (reach_R > low) & (reach_R <= high)
            for name, low, high in zip(REACHES, edges[:-1], edges[1:], strict=True)}  # fmt: skip


def chosen(all_: Pooled, kept_R: np.ndarray) -> int:
    """The place of the constants that the rule chooses on the kept runs."""
    inside_KR = all_.inside_KR
    cells = [kept_R & (all_.family_R == name) for name in np.unique(all_.family_R[kept_R])]
    of_families = np.array([inside_KR[:, cell_R].mean(axis=1) for cell_R in cells])
    reaches = [kept_R & cell_R for cell_R in masks_of_reach(all_.reach_R).values()]
    of_reaches = np.array([inside_KR[:, cell_R].mean(axis=1) for cell_R in reaches if cell_R.sum() >= FEWEST_OF_CELL])
    keeps = (of_families.mean(axis=0) >= 0.95) & (of_families.min(axis=0) >= 0.9) & (of_reaches.min(axis=0) >= 0.9)
    width_K = np.median(all_.half_KR[:, kept_R & all_.is_near_R], axis=1)
    return int(np.argmin(np.where(keeps, width_K, np.inf)))


def row(inside_R, half_R, unseen_R, unseen_half_R):
    if not len(inside_R):
        return {"forecasts": 0}
    return {
        "forecasts": len(inside_R), "coverage": float(inside_R.mean()),
        "median_half_width_percent": 100 * float(np.median(half_R)),
        "coverage_by_constants_of_the_others": float(unseen_R.mean()),
        "median_half_width_percent_by_those": 100 * float(np.median(unseen_half_R)),
    }  # fmt: skip


def report_of(ones):
    every = pooled(ones)
    everywhere_R = np.ones(len(every.error_R), dtype=bool)
    shipped = every.constants_K.index((GROWTH, OWN_ERROR_FACTOR, LEAST_HALF_WIDTH, DRIFT["average"]))
    unseen_R, unseen_half_R, constants = everywhere_R.copy(), every.half_KR[shipped].copy(), {}
    for name in np.unique(every.family_R):
        here_R = every.family_R == name
        best = chosen(every, ~here_R)
        constants[str(name)] = every.constants_K[best]
        unseen_R[here_R], unseen_half_R[here_R] = every.inside_KR[best, here_R], every.half_KR[best, here_R]

    def row_of(cell_R):
        return row(
            every.inside_KR[shipped, cell_R], every.half_KR[shipped, cell_R], unseen_R[cell_R], unseen_half_R[cell_R]
        )

    return {
        "all": row_of(everywhere_R),
        "within 10x of near-optimal runs": row_of(every.is_near_R),
        "by reach": {name: row_of(cell_R) for name, cell_R in masks_of_reach(every.reach_R).items()},
        "by family": {name: row_of(every.family_R == name) for name in constants},
        "chosen on all": every.constants_K[chosen(every, everywhere_R)],
        "constants of the others": constants,
    }


def line(name, one):
    if not one["forecasts"]:
        return f"{name:32} {0:4}   -"
    return (
        f"{name:32} {one['forecasts']:4}   {one['coverage']:.2f}   +- {one['median_half_width_percent']:.1f} %   "
        f"by the others' constants {one['coverage_by_constants_of_the_others']:.2f}   +- "
        f"{one['median_half_width_percent_by_those']:.1f} %"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    ones, every = [], list(corpora(public.DATA))
    with progress_bar(len(every), "corpus", "backtest") as bar:
        for one in every:
            ones += measured(*one)
            bar.update()
    report = report_of(ones)
    if arguments.json:
        print(json.dumps(report, indent=1))
        return
    for part in ("by reach", "by family"):
        for name, one in report[part].items():
            print(line(name, one))
    for name in ("within 10x of near-optimal runs", "all"):
        print(line(name, report[name]))
    print("growth, factor, least half-width and drift chosen on all:", *report["chosen on all"])


if __name__ == "__main__":
    main()
