"""How far the score of an entry moves when items, checkpoints or series are left out: sets found greedily, each scored.

What is stored are shifts that were seen: for a number of items the lowest and the highest score found, by leaving out
first what carries most of it (or least). A rank that such a shift changes is changed by a set that exists: the share
that a table shows is never below the smallest one, and may be above it. The null and the width of the interval stay as
they are.

Source of the question: Broderick, Giordano and Meager 2020, An automatic finite-sample robustness metric.

Shape suffixes: I items, K checkpoints.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from e2lm import Curve, SignalScore
from e2lm.signal_score import SeriesRoles
from e2lm_leaderboard.ranking.removal import REMOVAL, Removal, removal_split
from e2lm_leaderboard.season.curves import with_items
from e2lm_leaderboard.season.null_control import NullCurves, PointScore, without_still_curves
from e2lm_leaderboard.store.store import Result

#: Sizes of what is left out grow by this, up to half of all.
GROWTH = 1.4
#: Of more checkpoints so many, evenly chosen, are tried.
MOST_CHECKPOINTS = 40
DIGITS = 4

Curves = Sequence[Curve]
Scored = Callable[[Curves], float | None]


def removal_results(
    split: str, null: NullCurves, chosen: Callable[[Curve], Curve], score: SignalScore, roles: SeriesRoles
) -> list[Result]:
    """The shifts of a split, by axis, as one result; none where the score is undefined."""
    curves = [chosen(curve) for curve in null.curves.values()]
    points = PointScore.of(without_still_curves(score), roles, curves)

    def scored(these: Curves) -> float | None:
        found = points.values(these, np.random.default_rng(0))
        return None if found is None else found[""]

    whole = scored(curves)
    if whole is None:
        return []
    by_axis: dict[str, Sequence[Removal]] = {
        "items": _axis(whole, _ItemsLeftOut(curves, scored, whole)),
        "checkpoints": _axis(whole, _UnitsLeftOut(curves, scored, whole, _without_checkpoint, _checkpoints(curves))),
        "series": _axis(whole, _UnitsLeftOut(curves, scored, whole, _without_series, _series(curves, roles))),
    }
    text = json.dumps({axis: found for axis, found in by_axis.items() if found})
    return [Result(removal_split(split), REMOVAL, "", None, reason=text)]


def sizes(total: int) -> list[int]:
    """How many are left out: 1, 2, ... up to half of ``total``, ever coarser.

    >>> sizes(30)
    [1, 2, 3, 5, 7, 10, 14, 15]
    """
    most, found = total // 2, list[int]()
    while not found or found[-1] < most:
        found.append(1 if not found else min(most, math.ceil(found[-1] * GROWTH)))
    return found if most else []


def _axis(whole: float, left_out: _ItemsLeftOut | _UnitsLeftOut) -> list[Removal]:
    """Per size the lowest and the highest shift that was seen, rounded towards none: no less is needed than is told."""
    found: list[Removal] = []
    for size in sizes(left_out.total):
        shifts = [value - whole for value in left_out.scores(size) if value is not None]
        least, most = min([0.0, *shifts]), max([0.0, *shifts])
        scale = 10**DIGITS
        found.append((size, left_out.total, math.ceil(least * scale) / scale, math.floor(most * scale) / scale))
    return found


class _ItemsLeftOut:
    """Items in the order of what they add to the score, by its slope at each checkpoint."""

    def __init__(self, curves: Curves, scored: Scored, whole: float) -> None:
        self._curves, self._scored = curves, scored
        counts = {curve.task: 0 if curve.items_KI is None else curve.items_KI.shape[1] for curve in curves}
        self._counts, self.total = counts, sum(counts.values())
        self._places = [(task, item) for task, count in counts.items() for item in range(count)]
        influence = {task: np.zeros(count) for task, count in counts.items()}
        for place, curve in enumerate(curves):
            if curve.items_KI is not None and counts[curve.task] > 1:
                apart_KI = curve.items_KI - curve.values_K[:, None]
                slope_K = _slopes_K(curves, place, scored, whole)
                influence[curve.task] += slope_K @ apart_KI / (counts[curve.task] - 1)
        self._order = np.argsort(np.concatenate([*influence.values(), np.zeros(0)]), kind="stable").tolist()

    def scores(self, size: int) -> Iterator[float | None]:
        """Without the ``size`` items that add most, and without those that add least."""
        for gone in (self._order[-size:], self._order[:size]):
            out: dict[str, list[int]] = {}
            for task, item in map(self._places.__getitem__, gone):
                out.setdefault(task, []).append(item)
            if all(len(items) < self._counts[task] for task, items in out.items()):
                yield self._scored([_without_items(curve, out.get(curve.task, [])) for curve in self._curves])


def _slopes_K(curves: Curves, place: int, scored: Scored, whole: float) -> NDArray[np.float64]:
    """How the score changes with each value of one curve; a step of rank counts by a push as large as the noise."""
    curve = curves[place]
    slopes_K = np.zeros(len(curve.values_K))
    if curve.items_KI is None or curve.items_KI.shape[1] < 2:
        return slopes_K
    push = float(np.nanmean(curve.items_KI.std(axis=1))) / math.sqrt(curve.items_KI.shape[1]) or 1e-3
    for checkpoint in _evenly(len(slopes_K)):
        values_K = curve.values_K + push * (np.arange(len(slopes_K)) == checkpoint)
        pushed = scored([*curves[:place], replace(curve, values_K=values_K), *curves[place + 1 :]])
        slopes_K[checkpoint] = 0.0 if pushed is None else (pushed - whole) / push
    return slopes_K


def _without_items(curve: Curve, gone: Sequence[int]) -> Curve:
    if not gone or curve.items_KI is None:
        return curve
    return with_items(curve, np.delete(curve.items_KI, gone, axis=1))


@dataclass(frozen=True, slots=True)
class _Unit:
    """A checkpoint of one series, or a series."""

    series: str
    step: int = -1


class _UnitsLeftOut:
    """Checkpoints or series in the order of what leaving each of them out does."""

    def __init__(
        self,
        curves: Curves,
        scored: Scored,
        whole: float,
        without: Callable[[Curves, Sequence[_Unit]], Curves],
        units: Sequence[_Unit],
    ) -> None:
        self._curves, self._scored, self._without = curves, scored, without
        self.total = len(units)
        alone = {
            units[place]: scored(without(curves, [units[place]])) for place in _evenly(len(units) * (len(units) > 1))
        }
        self._order = sorted(alone, key=lambda unit: whole if (found := alone[unit]) is None else found)

    def scores(self, size: int) -> Iterator[float | None]:
        """Without the ``size`` whose loss lowers most, and without those whose loss raises most."""
        if size <= len(self._order):
            yield self._scored(self._without(self._curves, self._order[:size]))
            yield self._scored(self._without(self._curves, self._order[-size:]))


def _evenly(count: int) -> list[int]:
    tried = min(count, MOST_CHECKPOINTS)
    return sorted({round(place * (count - 1) / max(tried - 1, 1)) for place in range(tried)})


def _checkpoints(curves: Curves) -> list[_Unit]:
    """Of all series, control ones too: a checkpoint is the same for every task."""
    return sorted({_Unit(curve.series, int(step)) for curve in curves for step in curve.steps_K}, key=_by_name)


def _by_name(unit: _Unit) -> tuple[str, int]:
    return unit.series, unit.step


def _without_checkpoint(curves: Curves, gone: Sequence[_Unit]) -> Curves:
    steps: dict[str, list[int]] = {one.series: [] for one in gone}
    for one in gone:
        steps[one.series].append(one.step)
    return [curve.at(~np.isin(curve.steps_K, steps.get(curve.series, []))) for curve in curves]


def _series(curves: Curves, roles: SeriesRoles) -> list[_Unit]:
    return [_Unit(name) for name in sorted({one.series for one in curves if not roles.is_control(one.series)})]


def _without_series(curves: Curves, gone: Sequence[_Unit]) -> Curves:
    names = {one.series for one in gone}
    return [curve for curve in curves if curve.series not in names]
