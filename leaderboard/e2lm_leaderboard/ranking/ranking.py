"""Ranks and published scores no finer than the data: ties by intervals, the Ladder, and whether A is better than B.

A rank is 1 plus the number of entries whose lower bound lies above your upper bound. The tie rule is that of LMArena
(lmarena/arena-rank). Undefined entries have no rank and come last; an entry without an interval counts as the point it
is. Order within a rank: higher value first, then the earlier submission.

Shape suffixes: N entries, M series.

The Ladder (Blum and Hardt 2015, arXiv 1502.04585, algorithm 1): a team's published score moves only when it beats the
team's best by more than a step, and then it is rounded to the step: trying again and again tells nothing about the
hidden items below the step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from e2lm.interval import Interval, normal_interval
from e2lm_leaderboard.messages import say
from e2lm_leaderboard.store.store import Entry, Result

#: Below this many series no sign-flip test can reach p = .05.
LEAST_SERIES = 6
#: Above this many series sign flips would be too many to go through; none of ours has so many.
MOST_SERIES = 16


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


@dataclass(frozen=True, slots=True)
class PairTest:
    """``difference`` = A minus B with a 90 % interval and a two-sided p for the noise of items; ``p_series`` asks
    whether the difference would hold for other series (exact sign flips), None with the reason where it cannot say.
    """

    difference: float
    low: float | None
    high: float | None
    p: float | None
    p_series: float | None
    series: int
    reason: str

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.low is None or self.high is None:
            return f"not decided: {self.reason}"
        if self.low > 0:
            return "A is better"
        return "B is better" if self.high < 0 else "the data cannot tell them apart"


def pair_test(a: Mapping[str, Result], b: Mapping[str, Result]) -> PairTest | None:
    """The test on the series of both, by name; None where they share no series with a number."""
    common = [
        name for name in sorted(a.keys() & b.keys()) if name and a[name].value is not None and b[name].value is not None
    ]
    if not common:
        return None
    difference_M = np.array([_value(a[name]) - _value(b[name]) for name in common])
    difference = float(difference_M.mean())
    p_series, why = _sign_flip_p(difference_M)
    errors = [_stderr(side[name]) for side in (a, b) for name in common]
    if any(error is None for error in errors):
        return PairTest(difference, None, None, None, p_series, len(common), say("without_interval"))
    # Within a submission the series answer the same items, so their errors are taken as one; between two they are not.
    half = len(common)
    error_a, error_b = (float(np.mean([one or 0.0 for one in part])) for part in (errors[:half], errors[half:]))
    error = math.hypot(error_a, error_b)
    p = math.erfc(abs(difference) / error / math.sqrt(2)) if error > 0 else float(difference == 0)
    return PairTest(difference, *normal_interval(difference, error), p, p_series, half, why)


def _value(result: Result) -> float:
    assert result.value is not None
    return result.value


def _stderr(result: Result) -> float | None:
    if result.low is None or result.high is None:
        return None
    return Interval(result.low, result.high).stderr()


def _sign_flip_p(difference_M: np.ndarray) -> tuple[float | None, str]:
    """Share of sign patterns whose mean is as far from zero (Fisher 1935, The Design of Experiments, section 21)."""
    count = len(difference_M)
    if not LEAST_SERIES <= count <= MOST_SERIES:
        return None, say("too_few_series", count=count, least=LEAST_SERIES, most=MOST_SERIES)
    signs = np.array(list(product((1.0, -1.0), repeat=count)))
    means = np.abs(signs @ difference_M) / count
    return float(np.mean(means >= abs(difference_M.mean()) - 1e-12)), ""
