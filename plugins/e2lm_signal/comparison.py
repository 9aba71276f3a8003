"""Which task x metric decides best early: ranked by decision accuracy, with groups that the data cannot tell apart.

Two questions. *In time*: does the order of the series early in the run match their order at its end? *In scale*
(DataDecide): does the order of recipes among small models match the order among large ones?

Intervals and differences come from redrawing series (or recipes): the same redraw for every task x metric, so that
differences are paired. Sorted by decision accuracy, the best opens a group; a task x metric joins the group of the one
that opened it while the 90 % interval of their difference holds 0.

Shape suffixes: M series or recipes, K checkpoints, D draws.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import translate

import numpy as np

from e2lm import Curve, UserError
from e2lm.arrays import Values
from e2lm.interval import normal_interval, redrawn_counts_DI
from e2lm_signal.curves import common_grid
from e2lm_signal.decisions import FINAL_CHECKPOINTS, accuracy_interval, agreement_MM
from e2lm_signal.item_noise import DRAWS
from e2lm_signal.signal_and_noise import late_snr

#: Redrawing fewer says nothing about others.
LEAST_REDRAWN = 4


@dataclass(frozen=True, slots=True)
class Contender:
    """One task x metric and the agreement of its early order with the target order, per pair of series."""

    task: str
    metric: str
    names_M: tuple[str, ...]
    agreement: Values
    snr: float

    @property
    def value(self) -> float:
        """Decision accuracy."""
        first, second = np.triu_indices(len(self.agreement), 1)
        return float(self.agreement[first, second].mean())


@dataclass(frozen=True, slots=True)
class Ranked:
    """A contender with its interval (None below 4 series) and the group it belongs to, 1 for the best."""

    contender: Contender
    low: float | None
    high: float | None
    group: int


def contender_in_time(curves: Sequence[Curve], target: Sequence[Curve], early_share: float) -> Contender | str:
    """Order at ``early_share`` of the run against the order of the target's last checkpoints, or why there is none."""
    grid, goal = common_grid(curves), common_grid(target)
    if isinstance(grid, str) or isinstance(goal, str):
        return grid if isinstance(grid, str) else str(goal)
    if grid.series_M != goal.series_M:
        return f"the target has other series ({len(goal.series_M)}) than {grid.series_M[0]} ... ({len(grid.series_M)})"
    early = int(np.searchsorted(grid.share_K, early_share - 1e-9))
    if early >= grid.values_MK.shape[1] - 1:
        return f"no checkpoint at {early_share:.0%} of the run before the last"
    final_M = goal.values_MK[:, -min(FINAL_CHECKPOINTS, goal.values_MK.shape[1]) :].mean(axis=1)
    agreement = agreement_MM(grid.values_MK[:, early], final_M)
    return Contender(curves[0].task, curves[0].metric, grid.series_M, agreement, late_snr(grid.values_MK))


def contender_in_scale(curves: Sequence[Curve], target: Sequence[Curve], small: str, large: str) -> Contender | str:
    """Order of recipes at the end of the small models against that at the end of the large ones."""
    small_by, large_by = recipes(curves, small), recipes(target, large)
    shared = sorted(set(small_by) & set(large_by))
    if len(shared) < 2:
        return f"{len(shared)} recipes are in both {small!r} and {large!r}; at least 2 are needed"
    ends = [np.asarray([_end(one[recipe]) for recipe in shared]) for one in (small_by, large_by)]
    grid = common_grid([small_by[recipe] for recipe in shared])
    snr = float("nan") if isinstance(grid, str) else late_snr(grid.values_MK)
    return Contender(curves[0].task, curves[0].metric, tuple(shared), agreement_MM(ends[0], ends[1]), snr)


def recipes(curves: Sequence[Curve], pattern: str) -> dict[str, Curve]:
    """Recipe -> curve: what ``*`` stands for in ``pattern``.

    >>> from e2lm_signal.curves import curve_of_values
    >>> list(recipes([curve_of_values([1.0], series="web-150M")], "*-150M"))
    ['web']
    """
    if pattern.count("*") != 1:
        raise UserError(f"--scales: {pattern!r} must hold one *, which stands for the recipe, for example '*-150M'")
    expression = re.compile(translate(pattern).replace(".*", "(.*)", 1))
    matches = {curve.series: expression.fullmatch(curve.series) for curve in curves}
    return {str(match[1]): curve for curve in curves if (match := matches[curve.series]) is not None}


def _end(curve: Curve) -> float:
    sign = 1.0 if curve.higher_is_better else -1.0
    return sign * float(np.mean(curve.values_K[-min(FINAL_CHECKPOINTS, len(curve.values_K)) :]))


def ranked(contenders: Iterable[Contender], rng: np.random.Generator) -> list[Ranked]:
    """Best first, grouped."""
    ordered = sorted(contenders, key=lambda one: (-one.value, one.task, one.metric))
    names = sorted({name for one in ordered for name in one.names_M})
    counts_DM = redrawn_counts_DI(len(names), DRAWS, rng).astype(np.float64)
    draws = [_redrawn_D(one, names, counts_DM) if len(one.names_M) >= LEAST_REDRAWN else None for one in ordered]
    found: list[Ranked] = []
    opener = 0
    group = 1
    for index, one in enumerate(ordered):
        if index > 0 and _told_apart(ordered[opener], one, draws[opener], draws[index]):
            opener, group = index, group + 1
        interval = None if draws[index] is None else accuracy_interval(one.value, one.agreement, rng)
        low, high = (None, None) if interval is None else interval
        found.append(Ranked(one, low, high, group))
    return found


def _redrawn_D(one: Contender, names: Sequence[str], counts_DM: Values) -> Values:
    """Decision accuracy of every redraw; a series paired with its own copy does not count. NaN where none is left."""
    own_DM = counts_DM[:, [names.index(name) for name in one.names_M]]
    agreement = one.agreement - np.diag(np.diag(one.agreement))
    pairs_D = own_DM.sum(axis=1) ** 2 - (own_DM**2).sum(axis=1)
    kept_D = ((own_DM @ agreement) * own_DM).sum(axis=1)
    return np.where(pairs_D > 0, kept_D / np.maximum(pairs_D, 1.0), np.nan)


def _told_apart(best: Contender, one: Contender, best_D: Values | None, one_D: Values | None) -> bool:
    if best_D is None or one_D is None:
        return False
    return normal_interval(best.value - one.value, float(np.nanstd(best_D - one_D))).low > 0
