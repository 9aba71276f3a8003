"""What has to be left out for a rank to be another: never less is told than the smallest set, found by trying all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np

from e2lm import Curve, ScoreValue, SignalScore
from e2lm.signal_score import SeriesRoles
from e2lm_leaderboard.ranking.ranking import ABOVE_NULL, RankedEntry
from e2lm_leaderboard.ranking.removal import AXES, REMOVAL, is_changed, removal_shares
from e2lm_leaderboard.season.curves import with_items
from e2lm_leaderboard.season.null_control import NullCurves
from e2lm_leaderboard.season.removal import removal_results
from e2lm_leaderboard.store.store import Entry, Result

ITEMS, STEPS, SERIES = 8, 6, ("a", "b", "c")


def concordance(curve: Curve, rng: np.random.Generator) -> ScoreValue:
    """Share of pairs of checkpoints of which the later is better."""
    later, earlier = np.tril_indices(len(curve.values_K), -1)
    if not len(later):
        return ScoreValue(None, reason="one checkpoint")
    return ScoreValue(float(np.sign(curve.values_K[later] - curve.values_K[earlier]).mean()))


SCORE = SignalScore("concordance", "for this test", concordance)


def family(seed: int) -> list[Curve]:
    rng = np.random.default_rng(seed)
    nothing_K = np.zeros(STEPS)
    found = []
    for name in SERIES:
        items_KI = rng.normal(size=(STEPS, ITEMS)) + rng.uniform(0, 1) * np.arange(STEPS)[:, None] / 2
        steps_K = np.arange(STEPS)
        empty = Curve(name, "t", "acc", steps_K, steps_K * 1.0, nothing_K, nothing_K, np.full(STEPS, ITEMS))
        found.append(with_items(empty, items_KI))
    return found


def value(curves: list[Curve]) -> float | None:
    values = [concordance(one, np.random.default_rng(0)).value for one in curves]
    return None if None in values or not values else float(np.mean(values))  # type: ignore[arg-type]


def smaller(curves: list[Curve], axis: str, size: int) -> Iterator[list[Curve]]:
    """Every way to leave out so many."""
    if axis == "series":
        yield from (list(one) for one in combinations(curves, len(curves) - size))
    elif axis == "items":
        for gone in combinations(range(ITEMS), size):
            yield [with_items(one, np.delete(one.items_KI, gone, axis=1)) for one in curves if one.items_KI is not None]
    else:
        units = [(one.series, step) for one in curves for step in one.steps_K.tolist()]
        for left in combinations(units, size):
            yield [one.at(~np.isin(one.steps_K, [step for name, step in left if name == one.series])) for one in curves]


def told_and_allowed(seed: int) -> Iterator[tuple[str, int, bool]]:
    """Of every axis how many have to go by what is told, and whether so many can be chosen that do it."""
    curves = family(seed)
    whole = value(curves)
    assert whole is not None
    null = NullCurves({(one.task, one.series): one for one in curves}, {}, {})
    kept = removal_results("public", null, lambda one: one, SCORE, SeriesRoles())
    assert kept[0].split == "public_removal"
    own = Result("public", ABOVE_NULL, "", whole, max(whole - 0.05, 0.01), whole + 0.05)
    bounds = [low for low in whole + np.random.default_rng(seed).uniform(-0.4, 0.4, 3) if low > 0]
    entry = Entry("k" * 64, 1, "n", "t", "team", "scored", "", "", "")
    row = RankedEntry(entry, own, 1, 1)
    others = [RankedEntry(replace(entry, id=str(low)), replace(own, low=low), 1, 1) for low in bounds]
    told = removal_shares([row, *others], {entry.id: {REMOVAL: kept[0]}}, None)[entry.id].by_axis
    assert set(told) == set(AXES)
    lows_N = np.sort([own.low, *bounds])
    for axis, share in told.items():
        size = round((share or 0) * {"items": ITEMS, "series": len(SERIES), "checkpoints": STEPS * len(SERIES)}[axis])
        if share is not None and (axis != "checkpoints" or size < 3):
            found = (value(one) for one in smaller(curves, axis, size))
            yield axis, size, any(one is not None and is_changed(own, lows_N, one - whole) for one in found)


def test_the_share_told_is_never_below_the_smallest_that_changes_the_rank() -> None:
    found = [one for seed in range(8) for one in told_and_allowed(seed)]
    assert {axis for axis, _, _ in found} == set(AXES)
    assert [one for one in found if not one[2]] == []


def test_before_the_end_a_share_is_rounded_up_to_the_ladders_step() -> None:
    own = Result("public", ABOVE_NULL, "", 0.5, 0.4, 0.6)
    kept = Result("public_removal", REMOVAL, "", None, reason='{"items": [[1, 160, -0.1, 0.0], [2, 160, -0.45, 0.0]]}')
    row = RankedEntry(Entry("k", 1, "n", "t", "team", "scored", "", "", ""), own, 1, 1)
    for step, share in ((None, 2 / 160), (0.01, 0.02)):
        assert removal_shares([row], {"k": {REMOVAL: kept}}, step)["k"].smallest == ("items", share)
