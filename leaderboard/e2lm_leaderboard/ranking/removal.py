"""How small a share of items, checkpoints or series would have to be left out for a rank to be another.

Read from the shifts that were found when an entry was scored; other rows stay as they are, and so does the width of the
interval. A rank changes where another number of rows lies wholly above, or where the entry falls to its null. Every
share told is one that suffices; the smallest may be smaller.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from e2lm.arrays import Values
from e2lm_leaderboard.ranking.ranking import RankedEntry, group_of
from e2lm_leaderboard.store.store import Result

#: Name of the result that holds the shifts.
REMOVAL = "removal"
AXES = ("items", "checkpoints", "series")

#: How many of how many are left out, the lowest and the highest shift of the score that was seen.
Removal = tuple[int, int, float, float]


def removal_split(split: str) -> str:
    """Where the shifts of a split are kept, apart from the numbers that pages show."""
    return f"{split}_removal"


@dataclass(frozen=True, slots=True)
class RemovalShares:
    """By axis the share that changes the rank, None where none up to half did; axes that were not tried are not there.

    ``smallest`` is the axis that needs least, ``""`` where none changes the rank.
    """

    by_axis: Mapping[str, float | None]

    @property
    def smallest(self) -> tuple[str, float | None]:
        """Axis and share."""
        known = [(share, axis) for axis, share in self.by_axis.items() if share is not None]
        return (min(known)[1], min(known)[0]) if known else ("", None)


def removal_shares(
    rows: Sequence[RankedEntry], stored: Mapping[str, Mapping[str, Result]], step: float | None
) -> dict[str, RemovalShares]:
    """Of every row with a rank whose shifts are known; shares rounded up to whole ``step``s where one is given."""
    groups: dict[int, list[RankedEntry]] = {}
    for row in rows:
        if row.rank is not None:
            groups.setdefault(group_of(row.result), []).append(row)
    found = {}
    for group in groups.values():
        lows_N = np.sort([_ends(row.result)[0] for row in group])
        for row in group:
            if (kept := stored.get(row.entry.id, {}).get(REMOVAL)) is not None:
                found[row.entry.id] = _shares(row.result, lows_N, json.loads(kept.reason), step)
    return found


def _shares(
    result: Result, lows_N: Values, by_axis: Mapping[str, Sequence[Removal]], step: float | None
) -> RemovalShares:
    shares: dict[str, float | None] = {}
    for axis in AXES:
        for removed, total, least, most in by_axis.get(axis, ()):
            shares.setdefault(axis, None)
            if shares[axis] is None and any(is_changed(result, lows_N, shift) for shift in (least, most)):
                shares[axis] = _rounded_up(removed / total, step)
    return RemovalShares(shares)


def is_changed(result: Result, lows_N: Values, shift: float) -> bool:
    """Whether the rank is another after ``shift``; ``lows_N`` are the lower bounds of its group, its own among them."""
    low, high = _ends(result)
    if (low + shift > 0) != (low > 0):
        return True
    return _above(lows_N, low, high + shift) != _above(lows_N, low, high)


def _above(lows_N: Values, own_low: float, high: float) -> int:
    """How many of the others lie above."""
    return len(lows_N) - int(np.searchsorted(lows_N, high, side="right")) - (own_low > high)


def _ends(result: Result) -> tuple[float, float]:
    value = math.nan if result.value is None else result.value
    return value if result.low is None else result.low, value if result.high is None else result.high


def _rounded_up(share: float, step: float | None) -> float:
    return share if step is None else min(1.0, round(math.ceil(share / step - 1e-9) * step, 10))
