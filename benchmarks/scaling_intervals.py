"""What the intervals of ``e2lm predict`` cover when their constants never saw the corpus that they are judged on.

Every corpus (or family of corpora) is left out in turn; the two constants of the half-width, the factor on the model's
own error and the drift, are chosen on the others by the rule of ``e2lm_scaling.forecast.calibration``: at least 90 %
covered at the smallest mean half-width. The shipped constants, chosen once on seven corpora, stand beside it.
``--spread`` adds a third constant, on how far the averaged laws lie apart. Takes some three CPU minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from scaling_splits import CHOSEN_ON, Split, splits

from e2lm.progress import progress_bar
from e2lm_scaling.forecast.calibration import COVERAGE, OWN_ERROR_FACTOR, distance_beyond, fold_masks
from e2lm_scaling.forecast.predictors import AVERAGED, DRIFT
from e2lm_scaling.forecast.table import subset

FACTORS = np.arange(0, 3.01, 0.25)
DRIFTS = np.arange(0, 0.0201, 0.00125)
SPREADS = np.array([0, 0.25, 0.5, 0.75, 1, 1.5, 2])
SHIPPED = (OWN_ERROR_FACTOR, DRIFT["average"], 0.0)


@dataclass(frozen=True)
class Measured:
    """One split: errors of ln L on the held-out runs and everything that half-widths are made of."""

    split: Split
    error_R: np.ndarray
    spread_R: np.ndarray
    distance_R: np.ndarray
    noise: float
    own: float

    @property
    def family(self) -> str:
        """Six corpora are one sweep, nine tasks are one ladder."""
        if self.split.corpus.startswith("ladder"):
            return "ladder"
        return "loss-to-loss" if self.split.name.endswith("x") else self.split.corpus

    def half_R(self, constants) -> np.ndarray:
        """Half-width of ln L on every held-out run."""
        factor, drift, spread = constants
        reach_R = np.maximum(self.distance_R, 0)
        return np.sqrt(
            self.noise**2 + (factor * self.own) ** 2 + (drift * reach_R) ** 2 + (spread * self.spread_R) ** 2
        )

    def inside_R(self, constants) -> np.ndarray:
        """Whether each held-out run lies in its interval."""
        return np.abs(self.error_R) <= self.half_R(constants)


def measured(split: Split) -> Measured:
    def learned(table):
        return [curve for model in AVERAGED if (curve := model.learn(table)) is not None]

    def errors(curves, table):
        log_loss_MR = np.array([curve(table.params_R, table.tokens_R) for curve in curves])
        return log_loss_MR.mean(axis=0) - np.log(table.loss_R), log_loss_MR.std(axis=0, ddof=1)

    curves = learned(split.train)
    error_R, spread_R = errors(curves, split.held)
    folds = []
    for mask_R in fold_masks(split.train):
        inner = learned(subset(split.train, mask_R))
        if inner:
            folds.append(np.sqrt(np.mean(errors(inner, subset(split.train, ~mask_R))[0] ** 2)))
    noise = float(np.sqrt(np.mean(errors(curves, split.train)[0] ** 2)))
    rows = zip(split.held.params_R, split.held.tokens_R, strict=True)
    distance_R = np.array([distance_beyond(split.train, float(n), float(d)) for n, d in rows])
    return Measured(split, error_R, spread_R, distance_R, noise, float(np.median(folds)))


def chosen_constants(ones, grid):
    """The constants that cover at least 90 % of ``ones`` at the smallest mean half-width."""
    found, best = None, np.inf
    for constants in grid:
        width = float(np.mean([one.half_R(constants).mean() for one in ones]))
        if width < best and np.mean([one.inside_R(constants).mean() for one in ones]) >= COVERAGE:
            found, best = constants, width
    if found is None:
        raise SystemExit("no constants of the grid cover 90 %")
    return found


def judged(ones, constants_of):
    """Coverage and half-width, each split with its own constants."""
    inside = [one.inside_R(constants_of(one)) for one in ones]
    return {
        "splits": len(ones),
        "coverage": float(np.mean([one_R.mean() for one_R in inside])),
        "coverage_points": float(np.concatenate(inside).mean()),
        "median_half_width_percent": 100 * float(np.median([one.half_R(constants_of(one)).mean() for one in ones])),
    }


def left_out(ones, grid, group):
    """Each split judged by constants chosen without its group."""
    names = {group(one) for one in ones}
    constants = {name: chosen_constants([one for one in ones if group(one) != name], grid) for name in sorted(names)}
    return judged(ones, lambda one: constants[group(one)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spread", action="store_true", help="a third constant, on how far the laws lie apart")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    every = splits()
    ones = []
    with progress_bar(len(every), "split", "backtest") as bar:
        for split in every:
            ones.append(measured(split))
            bar.update()
    grid = list(product(FACTORS, DRIFTS, SPREADS if arguments.spread else [0.0]))
    report = {
        "shipped, corpora chosen on": judged([one for one in ones if one.split.corpus in CHOSEN_ON], lambda _: SHIPPED),
        "shipped, others": judged([one for one in ones if one.split.corpus not in CHOSEN_ON], lambda _: SHIPPED),
        "shipped, all": judged(ones, lambda _: SHIPPED),
        "one corpus left out": left_out(ones, grid, lambda one: one.split.corpus),
        "one family left out": left_out(ones, grid, lambda one: one.family),
    }
    if arguments.json:
        print(json.dumps(report, indent=1))
        return
    for name, row in report.items():
        print(
            f"{name:28} coverage {row['coverage']:.3f} (losses {row['coverage_points']:.3f})  median half-width "
            f"{row['median_half_width_percent']:.2f} %  {row['splits']} splits"
        )


if __name__ == "__main__":
    main()
