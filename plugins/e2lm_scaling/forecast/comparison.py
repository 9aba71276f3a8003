"""Which of two will be better at the end: a difference, its uncertainty, and the probability that the sign holds.

Two questions: two recipes (corpora, schedules ...) whose small runs share N and D, and two models (N, D) of one recipe.
Differences between recipes are taken as they are at the largest matched run: extrapolating them by their own slope
ranks worse than that on public corpora, as Magnusson et al. 2025 (DataDecide, arXiv 2504.11393) found for benchmarks.
Shape suffixes: R rows of both recipes, P sizes that both share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from e2lm.errors import UserError
from e2lm.interval import Interval, student_quantile
from e2lm.scaling_predictor import Forecaster, LossTable
from e2lm_scaling.forecast.table import flops_of
from e2lm_scaling.laws.objective import Array

#: Noise is judged by its scatter; with fewer degrees of freedom there is none to judge by.
FEWEST_DEGREES = 1
#: Difference of ln N and of ln D within which two runs are of one size.
SAME_SIZE = 0.01
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
    """``difference`` = ln L of the first minus that of the second at the end; below 0 the first is better.

    ``degrees`` of freedom of ``stderr``: a scatter of few runs is itself uncertain, so that Student's t is its law.
    """

    difference: float
    stderr: float
    degrees: float = float("inf")

    @property
    def first_is_better(self) -> float:
        """Probability that the first ends with the lower loss; that of the second is the rest."""
        if self.stderr <= 0:
            return 0.5 if self.difference == 0 else float(self.difference < 0)
        return float(student.cdf(-self.difference / self.stderr, self.degrees))

    @property
    def interval(self) -> Interval:
        """90 % interval of the difference."""
        half = float(student_quantile(self.degrees)) * self.stderr
        return Interval(self.difference - half, self.difference + half)


@dataclass(frozen=True, slots=True)
class MatchedRuns:
    """Sizes that two recipes share, in order of compute: seeds pooled, one entry per (N, D).

    ``difference_P`` is that of the means of ln L; its variance is ``factor_P`` times that of one run. ``squares`` and
    ``degrees`` are those of the seeds around their means, over all sizes of both recipes.
    """

    log_flops_P: Array
    difference_P: Array
    factor_P: Array
    squares: float
    degrees: int


def compare_recipes(first: LossTable, second: LossTable, target_flops: float) -> LossDifference:
    """Two recipes at ``target_flops``, from their runs of equal N and D: as at the largest size that they share.

    The noise of a run is that of seeds around their mean and of the differences at the other sizes around theirs; all
    of it is independent of the difference at the largest size, so that Student's t holds exactly between recipes that
    differ by noise alone. The drift from there to the target is added; the degrees of freedom stay those of the noise.

    >>> n, d = np.array([1e7, 3e7, 1e8, 3e8]), np.array([2e8, 6e8, 2e9, 6e9])
    >>> a, b = (LossTable(n, d, 2 + k / n**0.3, ("r",) * 4) for k in (100.0, 110.0))
    >>> ahead, behind = compare_recipes(a, b, 1e20), compare_recipes(b, a, 1e20)
    >>> ahead.first_is_better > 0.5, round(ahead.first_is_better + behind.first_is_better, 12)
    (True, 1.0)
    """
    found = matched_runs(first, second)
    others, factor_P = found.difference_P[:-1], found.factor_P[:-1]
    squares, degrees = found.squares, found.degrees
    if len(others) > 1:
        mean = float(np.average(others, weights=1 / factor_P))
        squares += float(((others - mean) ** 2 / factor_P).sum())
        degrees += len(others) - 1
    if degrees < FEWEST_DEGREES:
        raise UserError(
            f"{len(others) + 1} sizes are shared by both recipes, with one run each: too few to tell a difference from "
            "noise; train both on three sizes, or one size with several seeds"
        )
    noise = float(np.sqrt(squares / degrees * found.factor_P[-1]))
    drift = RECIPE_DRIFT * max(float(np.log(target_flops) - found.log_flops_P[-1]), 0.0)
    stderr = float(np.hypot(noise, drift))
    return LossDifference(float(found.difference_P[-1]), max(stderr, SMALLEST_STDERR), degrees)


def matched_runs(first: LossTable, second: LossTable) -> MatchedRuns:
    """The sizes that both recipes have run, within 1 %; :class:`e2lm.UserError` where there is none."""
    size_R = _sizes(first, second)
    log_loss_R = np.log(np.concatenate([first.loss_R, second.loss_R]))
    log_flops_R = np.log(np.concatenate([flops_of(first), flops_of(second)]))
    is_first_R = np.arange(len(log_loss_R)) < len(first.loss_R)
    rows, squares, degrees = [], 0.0, 0
    for size in np.unique(size_R):
        sides = [log_loss_R[(size_R == size) & side_R] for side_R in (is_first_R, ~is_first_R)]
        squares += sum(float(((one - one.mean()) ** 2).sum()) for one in sides if len(one))
        degrees += sum(max(len(one) - 1, 0) for one in sides)
        if all(len(one) for one in sides):
            at = float(log_flops_R[size_R == size].mean())
            rows.append((at, sides[0].mean() - sides[1].mean(), sum(1 / len(one) for one in sides)))
    if not rows:
        raise UserError(
            "no run of one recipe has the N and D of one of the other, so they cannot be compared; train both on the "
            "same sizes and tokens"
        )
    log_flops_P, difference_P, factor_P = np.array(sorted(rows)).T
    return MatchedRuns(log_flops_P, difference_P, factor_P, squares, degrees)


def _sizes(first: LossTable, second: LossTable) -> NDArray[np.intp]:
    """A number per row of both tables, equal for N and D within 1 %, whichever table is the first."""
    n_R = np.log(np.concatenate([first.params_R, second.params_R]))
    d_R = np.log(np.concatenate([first.tokens_R, second.tokens_R]))
    size_R: NDArray[np.intp] = _groups(n_R) * len(n_R) + _groups(d_R)
    return size_R


def _groups(value_R: Array) -> NDArray[np.intp]:
    """A number per value; a group begins with the smallest value that no other holds, and ends 1 % above it."""
    group_R = np.empty(len(value_R), dtype=np.intp)
    group, start = -1, -np.inf
    for row in np.argsort(value_R, kind="stable"):
        if value_R[row] - start >= SAME_SIZE:
            group, start = group + 1, value_R[row]
        group_R[row] = group
    return group_R


def matched_differences(first: LossTable, second: LossTable) -> tuple[Array, Array]:
    """Log compute and difference of ln L of the sizes that both recipes share, in order of compute."""
    found = matched_runs(first, second)
    return found.log_flops_P, found.difference_P


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
