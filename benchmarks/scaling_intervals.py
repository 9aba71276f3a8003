"""What the 90 % intervals of ``average`` cover, by family of corpora and by reach, on public losses.

Of every corpus the runs of at most 1/3, 1/10 and 1/100 of the largest compute predict the others (at most 50 learn, at
most 40 are predicted, drawn with fixed seeds). Prints coverage and median half-width by family and by reach, for the
shipped constants and for those that the other families alone would have chosen (at least 90 % on average over them, at
least 80 % in each, at the smallest median half-width). Takes some four CPU minutes.
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

from e2lm.interval import normal_quantile
from e2lm.progress import progress_bar
from e2lm.scaling_predictor import LossTable
from e2lm_scaling.forecast.calibration import OWN_ERROR_FACTOR, distance_beyond, folds_of
from e2lm_scaling.forecast.predictors import AVERAGE, DRIFT
from e2lm_scaling.forecast.table import flops_of, subset, table_of

RATIOS = (3, 10, 100)
LEARNT, PREDICTED, FEWEST = 50, 40, 8
FACTORS, DRIFTS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0), (0.0, 0.0025, 0.005, 0.01, 0.015, 0.02)
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
    noise: float
    own: float

    def half_R(self, factor: float, drift: float) -> np.ndarray:
        """Half-width of ln L on every held-out run."""
        parts = (
            normal_quantile() * self.noise, factor * self.own * np.hypot(1, self.reach_R), drift * self.reach_R,
        )  # fmt: skip
        return np.sqrt(sum(np.square(part) for part in parts))

    def inside_R(self, factor: float, drift: float) -> np.ndarray:
        """Whether each held-out run lies in its interval."""
        return np.abs(self.error_R) <= self.half_R(factor, drift)


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
        residual_R = log_loss(train.params_R, train.tokens_R) - np.log(train.loss_R)
        yield Measured(
            family, f"{name} / {ratio}", log_loss(held.params_R, held.tokens_R) - np.log(held.loss_R), reach_R,
            float(np.sqrt(np.mean(residual_R**2))), float(np.median([one.scale for one in folds])),
        )  # fmt: skip


def coverage_by_family(ones, constants):
    families = sorted({one.family for one in ones})
    return {
        name: float(np.mean(np.concatenate([one.inside_R(*constants) for one in ones if one.family == name])))
        for name in families
    }


def chosen(ones):
    """The constants of the rule; the widest of the grid where none keeps it."""
    best, smallest = (FACTORS[-1], DRIFTS[-1]), np.inf
    for constants in product(FACTORS, DRIFTS):
        covered = list(coverage_by_family(ones, constants).values())
        width = float(np.median(np.concatenate([one.half_R(*constants) for one in ones])))
        if np.mean(covered) >= 0.9 and min(covered) >= 0.8 and width < smallest:
            best, smallest = constants, width
    return best


def row(inside_R, half_R):
    if not len(inside_R):
        return {"forecasts": 0}
    half = 100 * float(np.median(half_R))
    return {"forecasts": len(inside_R), "coverage": float(inside_R.mean()), "median_half_width_percent": half}


def report_of(ones):
    shipped = (OWN_ERROR_FACTOR, DRIFT["average"])
    families = sorted({one.family for one in ones})
    left_out = {name: chosen([one for one in ones if one.family != name]) for name in families}
    inside_R = np.concatenate([one.inside_R(*shipped) for one in ones])
    half_R = np.concatenate([one.half_R(*shipped) for one in ones])
    reach_R = np.concatenate([one.reach_R for one in ones])
    family_R = np.concatenate([[one.family] * len(one.error_R) for one in ones])
    unseen_R = np.concatenate([one.inside_R(*left_out[one.family]) for one in ones])
    by_reach, low = {}, -1.0
    for name, factor in REACHES.items():
        here_R = (reach_R > low) & (reach_R <= np.log(factor))
        by_reach[name], low = row(inside_R[here_R], half_R[here_R]), np.log(factor)
    return {
        "all": row(inside_R, half_R),
        "by reach": by_reach,
        "by family": {
            name: row(inside_R[family_R == name], half_R[family_R == name])
            | {"coverage_by_constants_of_the_others": float(unseen_R[family_R == name].mean()),
               "constants_of_the_others": left_out[name]}
            for name in families
        },
        "all, each family by constants of the others": float(unseen_R.mean()),
    }  # fmt: skip


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
            unseen = one.get("coverage_by_constants_of_the_others")
            tail = "" if unseen is None else f"   by the others' constants {unseen:.2f}"
            covered = (
                f"{one['coverage']:.2f}   +- {one['median_half_width_percent']:.1f} %" if one["forecasts"] else "-"
            )
            print(f"{name:14} {one['forecasts']:4}   {covered}{tail}")
    total, unseen = report["all"], report["all, each family by constants of the others"]
    width = total["median_half_width_percent"]
    print(
        f"{'all':14} {total['forecasts']:4}   {total['coverage']:.2f}   +- {width:.1f} %   by the others' {unseen:.2f}"
    )


if __name__ == "__main__":
    main()
