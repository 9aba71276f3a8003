"""Ranks and published scores no finer than the data: ties by intervals, and the Ladder.

A rank is 1 plus the number of entries whose lower bound lies above your upper bound. The tie rule is that of LMArena
(lmarena/arena-rank). Undefined entries have no rank and come last; an entry without an interval counts as the point it
is. Order within a rank: higher value first, then the earlier submission.

Shape suffixes: N entries.

The Ladder (Blum and Hardt 2015, arXiv 1502.04585, algorithm 1): a team's published score moves only when it beats the
team's best by more than a step, and then it is rounded to the step: trying again and again tells nothing about the
hidden items below the step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from e2lm_leaderboard.store.store import Entry, Result


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


PUBLISHED = "published"


def published_results(entries: Sequence[Entry], public: Mapping[str, Result], step: float) -> dict[str, Result]:
    """What is shown for each entry: a pure function of all public results in order of arrival.

    The width of an interval is rounded up to the step, for the ends would tell the value otherwise.
    """
    best: dict[str, float] = {}
    shown: dict[str, Result] = {}
    for entry in sorted(entries, key=lambda one: one.number):
        result = public.get(entry.id)
        if result is None:
            continue
        if result.value is None:
            shown[entry.id] = replace(result, split=PUBLISHED, low=None, high=None, p=None)
            continue
        known = best.get(entry.team)
        value = known
        if known is None or result.value > known + step:
            value = rounded(result.value, step)
            best[entry.team] = value
        shown[entry.id] = _around(result, float(value or 0.0), step)
    return shown


def _around(result: Result, value: float, step: float) -> Result:
    if result.value is None or result.low is None or result.high is None:
        return replace(result, split=PUBLISHED, value=value, low=None, high=None, p=None)
    below, above = (_rounded_up(width, step) for width in (result.value - result.low, result.high - result.value))
    return replace(
        result,
        split=PUBLISHED,
        value=value,
        low=rounded(value - below, step),
        high=rounded(value + above, step),
        p=None,
    )


def _rounded_up(width: float, step: float) -> float:
    """The multiple of ``step`` from ``width`` on; the dust of a binary fraction is no reason to go further."""
    return round(math.ceil(width / step - 1e-6) * step, 10)


def rounded(value: float, step: float) -> float:
    """The multiple of ``step`` nearest to ``value``, without the dust of binary fractions.

    >>> rounded(0.1234, 0.01)
    0.12
    """
    return round(round(value / step) * step, 10)
