"""Which of two will be better at the end: a difference, its uncertainty, and the probability that the sign holds.

Two questions: two recipes (corpora, schedules ...) whose small runs share N and D, and two models (N, D) of one recipe.
Differences between recipes are taken as they are at the largest matched run: extrapolating them by their own slope
ranks worse than that on public corpora, as Magnusson et al. 2025 (DataDecide, arXiv 2504.11393) found for benchmarks.
Shape suffix: P matched pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from e2lm.errors import UserError
from e2lm.interval import Interval, normal_interval
from e2lm.scaling_predictor import Forecaster, LossTable
from e2lm_scaling.forecast.table import flops_of
from e2lm_scaling.laws.objective import Array

FEWEST_PAIRS = 3
#: Standard deviation of a difference of ln L between recipes per e-folding of compute. Of a grid of 168 (this, how much
#: of the slope of the difference goes on, how many matched runs are averaged) the lowest Brier score on six pairs of
#: public corpora had this drift, no slope and the largest matched run alone (docs/scaling.md).
RECIPE_DRIFT = 0.002
#: Standard deviation of a difference of ln L between two models per e-folding of N and D between them.
SHAPE_DRIFT = 0.01
#: No difference is known better than this: seeds alone change ln L by more.
SMALLEST_STDERR = 1e-4


@dataclass(frozen=True, slots=True)
class LossDifference:
    """``difference`` = ln L of the first minus that of the second at the end; below 0 the first is better."""

    difference: float
    stderr: float

    @property
    def first_is_better(self) -> float:
        """Probability that the first ends with the lower loss."""
        return float(norm.cdf(-self.difference / self.stderr)) if self.stderr > 0 else float(self.difference < 0)

    @property
    def interval(self) -> Interval:
        """90 % interval of the difference."""
        return normal_interval(self.difference, self.stderr)


def compare_recipes(first: LossTable, second: LossTable, target_flops: float) -> LossDifference:
    """Two recipes at ``target_flops``, from their runs of equal N and D.

    >>> n, d = np.array([1e7, 3e7, 1e8, 3e8]), np.array([2e8, 6e8, 2e9, 6e9])
    >>> a, b = (LossTable(n, d, 2 + k / n**0.3, ("r",) * 4) for k in (100.0, 110.0))
    >>> compare_recipes(a, b, 1e20).first_is_better > 0.5
    True
    """
    log_flops_P, difference_P = matched_differences(first, second)
    distance = max(float(np.log(target_flops) - log_flops_P[-1]), 0.0)
    trend = np.polyfit(log_flops_P, difference_P, 1)
    noise = float(np.std(difference_P - np.polyval(trend, log_flops_P), ddof=2)) if len(difference_P) > 3 else 0.0
    stderr = float(np.hypot(noise, RECIPE_DRIFT * distance))
    return LossDifference(float(difference_P[-1]), max(stderr, SMALLEST_STDERR))


def matched_differences(first: LossTable, second: LossTable) -> tuple[Array, Array]:
    """Log compute and difference of ln L of the runs that share N and D (within 1 %), in order of compute."""
    found = []
    log_flops_R = np.log(flops_of(first))
    for n, d, loss in zip(second.params_R, second.tokens_R, second.loss_R, strict=True):
        away_R = np.maximum(np.abs(np.log(first.params_R / n)), np.abs(np.log(first.tokens_R / d)))
        nearest = int(np.argmin(away_R))
        if away_R[nearest] < 0.01:
            found.append((log_flops_R[nearest], np.log(first.loss_R[nearest] / loss)))
    if len(found) < FEWEST_PAIRS:
        raise UserError(
            f"{len(found)} runs of both recipes share N and D; {FEWEST_PAIRS} are needed to compare them; train both "
            "on the same sizes and tokens"
        )
    pairs = np.array(sorted(found))
    return pairs[:, 0], pairs[:, 1]


def compare_models(forecaster: Forecaster, first: tuple[float, float], second: tuple[float, float]) -> LossDifference:
    """Two models (N, D) of the recipe that ``forecaster`` was fitted to.

    Most of a forecast's error is common to both; what differs grows with how far apart they are in N and in D.
    """
    n_2, d_2 = np.array([first[0], second[0]]), np.array([first[1], second[1]])
    predicted_2 = np.log(forecaster.losses(n_2, d_2))
    apart = abs(float(np.log(n_2[0] / n_2[1]))) + abs(float(np.log(d_2[0] / d_2[1])))
    parts = (np.sqrt(2) * _noise(forecaster), SHAPE_DRIFT * apart)
    stderr = max(float(np.sqrt(np.sum(np.square(parts)))), SMALLEST_STDERR)
    return LossDifference(float(predicted_2[0] - predicted_2[1]), stderr)


def _noise(forecaster: Forecaster) -> float:
    """Root mean square of the residuals of ln L on the runs that ``forecaster`` was fitted to."""
    table = forecaster.table
    residual_R = np.log(forecaster.losses(table.params_R, table.tokens_R)) - np.log(table.loss_R)
    return float(np.sqrt(np.mean(residual_R**2)))
