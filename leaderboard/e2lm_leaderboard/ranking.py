"""Ranks no finer than the data: 1 plus the number of entries whose lower bound lies above your upper bound.

The tie rule is that of LMArena (lmarena/arena-rank). Undefined entries have no rank and come last; an entry without an
interval counts as the point it is. Order within a rank: higher value first, then the earlier submission.

Shape suffixes: N entries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2lm_leaderboard.store import Entry, Result


@dataclass(frozen=True, slots=True)
class RankedEntry:
    """An entry with its rank (None where its score is undefined) and how many its team has scored so far."""

    entry: Entry
    result: Result
    rank: int | None
    tries: int


def ranks_N(low_N: NDArray[np.float64], high_N: NDArray[np.float64]) -> NDArray[np.int64]:
    """The ranks; NaN bounds give 0.

    >>> ranks_N(np.array([0.6, 0.5, 0.1]), np.array([0.8, 0.7, 0.2])).tolist()
    [1, 1, 3]
    """
    known_N = ~(np.isnan(low_N) | np.isnan(high_N))
    sorted_low = np.sort(low_N[known_N])
    above_N = len(sorted_low) - np.searchsorted(sorted_low, high_N, side="right")
    return np.where(known_N, 1 + above_N, 0)


def ranked(entries: Sequence[Entry], results: Mapping[str, Result]) -> list[RankedEntry]:
    """All scored entries in the order of the table."""
    scored = [entry for entry in entries if entry.id in results]
    found = [results[entry.id] for entry in scored]
    low_N = np.array([_bound(one.value, one.low) for one in found], dtype=np.float64)
    high_N = np.array([_bound(one.value, one.high) for one in found], dtype=np.float64)
    rank_N = ranks_N(low_N, high_N) if scored else np.zeros(0, dtype=np.int64)
    tries: dict[str, int] = {}
    for entry in scored:
        tries[entry.team] = tries.get(entry.team, 0) + 1
    table = [
        RankedEntry(entry, result, int(rank) or None, tries[entry.team])
        for entry, result, rank in zip(scored, found, rank_N.tolist(), strict=True)
    ]
    return sorted(table, key=_place)


def _bound(value: float | None, bound: float | None) -> float:
    known = value if bound is None else bound
    return float("nan") if value is None or known is None else known


def _place(row: RankedEntry) -> tuple[float, float, int]:
    value = row.result.value
    return (row.rank or float("inf"), float("inf") if value is None else -value, row.entry.number)
