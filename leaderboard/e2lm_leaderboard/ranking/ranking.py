"""Ranks and published scores no finer than the data: ties by intervals, the Ladder, and whether A is better than B.

One row a team. Entries that lie above their null come before all others; within such a group a rank is 1 plus the
number of rows whose lower bound lies above your upper bound. The tie rule is that of LMArena
(lmarena/arena-rank). Undefined entries have no rank and come last; an entry without an interval counts as the point it
is. Order within a rank: the one whose rank can fall least first, then the higher value, then the earlier submission.

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

from e2lm.arrays import Values
from e2lm.interval import Interval, normal_interval, normal_quantile
from e2lm_leaderboard.messages import say
from e2lm_leaderboard.store.store import Entry, Result

#: Below this many series no sign-flip test can reach p = .05.
LEAST_SERIES = 6
#: Above this many series sign flips would be too many to go through; none of ours has so many.
MOST_SERIES = 16


#: Numbers of the null control (:mod:`e2lm_leaderboard.season.null_control`), beside the signal scores.
ABOVE_NULL, NULL_SCORE, ANSWER_SHARE = "above_null", "null", "answer_share"
#: Above its null; scored without the control, by an earlier e2lm; not above its null: none outranks one of a group
#: before its own.
ABOVE, UNCONTROLLED, NOT_ABOVE = range(3)
FLAGS = ("", "not_controlled", "not_above_null")
#: An entry of the house, which has no rank; and one above its null that does not lie wholly above all of the house's.
HOUSE_ENTRY, NOT_ABOVE_HOUSE = "house", "not_above_house"
ALL_FLAGS = (*FLAGS, NOT_ABOVE_HOUSE, HOUSE_ENTRY)


@dataclass(frozen=True, slots=True)
class RankedEntry:
    """The row of a team: the entry that stands for it, its rank (None where its score is undefined), how many the
    team has scored so far, what its score is worth (one of :data:`ALL_FLAGS`), and the ranks that it may truly have.
    """

    entry: Entry
    result: Result
    rank: int | None
    tries: int
    flag: str = ""
    ranks: tuple[int, int] | None = None


def group_of(result: Result) -> int:
    """Whether the score lies above its null.

    >>> group_of(Result("private", ABOVE_NULL, "", 0.2, 0.1, 0.3)) == ABOVE
    True
    """
    if result.score != ABOVE_NULL:
        return UNCONTROLLED
    low = result.value if result.low is None else result.low
    chance = result.low is None and result.p is not None and result.p > LARGEST_P
    return NOT_ABOVE if low is None or low <= 0 or chance else ABOVE


def ranks_N(low_N: NDArray[np.float64], high_N: NDArray[np.float64]) -> NDArray[np.int64]:
    """The ranks; NaN bounds give 0.

    >>> ranks_N(np.array([0.6, 0.5, 0.1]), np.array([0.8, 0.7, 0.2])).tolist()
    [1, 1, 3]
    """
    known_N = ~(np.isnan(low_N) | np.isnan(high_N))
    sorted_low = np.sort(low_N[known_N])
    above_N = len(sorted_low) - np.searchsorted(sorted_low, high_N, side="right")
    return np.where(known_N, 1 + above_N, 0)


def rank_ranges_N2(values_N: Values, low_N: Values, high_N: Values) -> NDArray[np.int64]:
    """The best and the worst rank that each may truly have, all of them together with 90 % confidence.

    The intervals are widened until all hold at once (Bonferroni); whoever lies wholly above you is above you. Source:
    Klein, Wright and Wieczorek 2020, A joint confidence region for an overall ranking of populations.

    >>> rank_ranges_N2(*np.array([[0.9, 0.5, 0.1], [0.88, 0.1, 0.08], [0.92, 0.9, 0.12]])).tolist()
    [[1, 2], [1, 3], [2, 3]]
    """
    count = len(values_N)
    wider = normal_quantile(1.0 - 0.1 / max(count, 1)) / normal_quantile()
    low_N, high_N = values_N - (values_N - low_N) * wider, values_N + (high_N - values_N) * wider
    above_N = count - np.searchsorted(np.sort(low_N), high_N, side="right")
    below_N = np.searchsorted(np.sort(high_N), low_N, side="left")
    return np.stack([1 + above_N, count - below_N], axis=1)


def ranked(entries: Sequence[Entry], results: Mapping[str, Result]) -> list[RankedEntry]:
    """One row a team, in the order of the table: its best entry, those above their null before all others."""
    scored = [entry for entry in entries if entry.id in results]
    tries: dict[str, int] = {}
    best: dict[str, Entry] = {}
    for entry in scored:
        tries[entry.team] = tries.get(entry.team, 0) + 1
        known = best.get(entry.team)
        if known is None or _merit(results[entry.id]) < _merit(results[known.id]):
            best[entry.team] = entry
    rows: list[RankedEntry] = []
    for group in range(len(FLAGS)):
        rows += _ranked_group([one for one in best.values() if _group(results[one.id]) == group], results, len(rows))
    undefined = [one for one in best.values() if results[one.id].value is None]
    return [
        *(replace(row, tries=tries[row.entry.team]) for row in rows),
        *(
            RankedEntry(one, results[one.id], None, tries[one.team])
            for one in sorted(undefined, key=lambda one: one.number)
        ),
    ]


def with_house(rows: Sequence[RankedEntry], house: Sequence[RankedEntry]) -> list[RankedEntry]:
    """The rows, and below all of them those of the house without rank; who does not beat the best of these says so."""
    best = max((row.result.value for row in house if row.result.value is not None), default=None)
    told = [replace(row, flag=NOT_ABOVE_HOUSE) if best is not None and _is_beaten(row, best) else row for row in rows]
    return [*told, *(replace(row, rank=None, ranks=None, flag=HOUSE_ENTRY) for row in house)]


def _is_beaten(row: RankedEntry, best: float) -> bool:
    low = row.result.value if row.result.low is None else row.result.low
    return not row.flag and low is not None and low <= best


def _group(result: Result) -> int | None:
    return None if result.value is None else group_of(result)


def _merit(result: Result) -> tuple[float, float]:
    """Smaller is better: the group, then the value; an undefined one is last."""
    return (math.inf, 0.0) if result.value is None else (group_of(result), -result.value)


def _ranked_group(group: Sequence[Entry], results: Mapping[str, Result], before: int) -> list[RankedEntry]:
    """Rows of one group, whose ranks come after the ``before`` rows of better ones."""
    found = [results[entry.id] for entry in group]
    low_N = np.array([_bound(one.value, one.low) for one in found], dtype=np.float64)
    high_N = np.array([_bound(one.value, one.high) for one in found], dtype=np.float64)
    if not group:
        return []
    values_N = np.array([one.value for one in found], dtype=np.float64)
    ranges = before + rank_ranges_N2(values_N, low_N, high_N)
    rows = [
        RankedEntry(entry, result, before + rank, 0, FLAGS[group_of(result)], (best, worst))
        for entry, result, rank, (best, worst) in zip(
            group, found, ranks_N(low_N, high_N).tolist(), ranges.tolist(), strict=True
        )
    ]
    return sorted(rows, key=_place)


def _bound(value: float | None, bound: float | None) -> float:
    known = value if bound is None else bound
    return float("nan") if value is None or known is None else known


def _place(row: RankedEntry) -> tuple[float, float, float, int]:
    """Of equal ranks the one that can fall least comes first: a wide interval is no reason to stand above a narrow."""
    value = row.result.value
    worst = float("inf") if row.ranks is None else row.ranks[1]
    return (row.rank or float("inf"), worst, float("inf") if value is None else -value, row.entry.number)


PUBLISHED = "published"
#: With 20 draws a null that never comes as high gives 1/21.
LARGEST_P = 0.05


def published_results(entries: Sequence[Entry], public: Mapping[str, Result], step: float) -> dict[str, Result]:
    """What is shown for each entry: a pure function of all public results in order of arrival.

    An entry that does not beat its team's best by more than ``step`` shows no number at all: the Ladder has one running
    best per team, and not a score for each try. The width of an interval is rounded up to the step, for the ends would
    tell the value otherwise.
    """
    best: dict[tuple[str, str], float] = {}
    shown: dict[str, Result] = {}
    for entry in sorted(entries, key=lambda one: one.number):
        result = public.get(entry.id)
        if result is None:
            continue
        if result.value is None:
            shown[entry.id] = replace(result, split=PUBLISHED, low=None, high=None, p=None)
            continue
        known = best.get((entry.team, result.score))
        if known is not None and result.value <= known + step:
            shown[entry.id] = Result(PUBLISHED, result.score, result.series, None, reason=say("no_improvement"))
            continue
        best[entry.team, result.score] = value = rounded(result.value, step)
        shown[entry.id] = _around(result, value, step)
    return shown


def _around(result: Result, value: float, step: float) -> Result:
    if result.value is None or result.low is None or result.high is None:
        return replace(result, split=PUBLISHED, value=value, low=None, high=None, p=None)
    below, above = (_rounded_up(width, step) for width in (result.value - result.low, result.high - result.value))
    low, high = rounded(value - below, step), rounded(value + above, step)
    # Whoever is within -1 and 1, as every score of ours is, stays there; that the width was rounded up is no reason.
    low = low if result.low < -1.0 else max(low, -1.0)
    high = high if result.high > 1.0 else min(high, 1.0)
    return replace(result, split=PUBLISHED, value=value, low=low, high=high, p=None)


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
