"""Ranks say no more than the data: properties of the rule, the Ladder and the pair test."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2lm_leaderboard.ranking.ranking import pair_test, published_results, ranked, ranks_N
from e2lm_leaderboard.store.store import Entry, Result

NUMBERS = st.floats(-1, 1).map(lambda value: round(value, 3))
INTERVALS = st.lists(st.tuples(NUMBERS, NUMBERS).map(sorted), min_size=1, max_size=30)


def entry(number: int, team: str = "reds") -> Entry:
    return Entry(f"{number:064}", number, f"name-{number}", "Title", team, "scored", "", "t", "t")


def result(value: float | None, low: float | None = None, high: float | None = None, series: str = "") -> Result:
    return Result("public", "sq", series, value, low, high)


@given(INTERVALS)
def test_the_rank_is_one_plus_the_entries_that_lie_wholly_above(intervals: list[list[float]]) -> None:
    low_N, high_N = np.array(intervals).T
    expected = [1 + sum(low > high for low in low_N) for high in high_N]
    assert ranks_N(low_N, high_N).tolist() == expected


@given(INTERVALS, st.randoms())
def test_ranks_do_not_depend_on_the_order_of_rows_nor_on_one_strictly_worse(
    intervals: list[list[float]], random: object
) -> None:
    order = list(range(len(intervals)))
    random.shuffle(order)  # type: ignore[attr-defined]
    ranks = ranks_N(*np.array(intervals).T).tolist()
    shuffled = ranks_N(*np.array([intervals[k] for k in order]).T).tolist()
    assert shuffled == [ranks[k] for k in order]
    assert ranks_N(*np.array([*intervals, [-9.0, -8.0]]).T).tolist()[:-1] == ranks


@given(INTERVALS, st.data())
def test_a_higher_interval_never_ranks_worse(intervals: list[list[float]], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(intervals) - 1))
    raised = [*intervals]
    raised[place] = [bound + 0.1 for bound in raised[place]]
    assert ranks_N(*np.array(raised).T)[place] <= ranks_N(*np.array(intervals).T)[place]


def test_undefined_entries_come_last_without_a_rank_and_ties_by_arrival() -> None:
    entries = [entry(1), entry(2), entry(3, "blues"), entry(4)]
    results = {entries[0].id: result(None), entries[1].id: result(0.5), entries[2].id: result(0.5)}
    table = ranked(entries, results)
    assert [(row.entry.number, row.rank, row.tries) for row in table] == [(2, 1, 2), (3, 1, 1), (1, None, 2)]


def test_ten_thousand_entries_are_ranked_in_less_than_two_seconds() -> None:
    rng = np.random.default_rng(0)
    entries = [entry(number, f"team {number % 100}") for number in range(10_000)]
    results = {one.id: result(v, v - 0.1, v + 0.1) for one, v in zip(entries, rng.random(10_000).tolist(), strict=True)}
    started = time.process_time()
    table = ranked(entries, published_results(entries, results, 0.01))
    assert time.process_time() - started < 2.0
    assert len(table) == 10_000


def test_the_ladder_moves_only_when_a_team_beats_its_best_by_a_step() -> None:
    values = [0.123, 0.131, 0.14, None, 0.05, 0.3]
    entries = [entry(number) for number in range(len(values))]
    public = {one.id: result(v, v, v) if v else result(None) for one, v in zip(entries, values, strict=True)}
    public[entry(9, "blues").id] = result(0.05, 0.02, 0.09)
    shown = published_results([*entries, entry(9, "blues")], public, 0.01)
    assert [shown[one.id].value for one in entries] == [0.12, 0.13, 0.13, None, 0.13, 0.3]
    assert shown[entry(9, "blues").id] == Result("published", "sq", "", 0.05, 0.02, 0.09)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20))
def test_published_scores_never_fall_and_are_whole_steps(values: list[float]) -> None:
    entries = [entry(number) for number in range(len(values))]
    shown = published_results(entries, {one.id: result(v) for one, v in zip(entries, values, strict=True)}, 0.05)
    published = [shown[one.id].value or 0.0 for one in entries]
    assert all(later >= earlier - 0.05 for earlier, later in pairwise(published))
    assert all(abs(value / 0.05 - round(value / 0.05)) < 1e-6 for value in published)


def test_two_rows_are_told_apart_where_their_items_can() -> None:
    a = {f"s{k}": result(0.8 + k / 100, 0.7, 0.9, f"s{k}") for k in range(6)}
    b = {f"s{k}": result(0.2 + k / 100, 0.1, 0.3, f"s{k}") for k in range(7)}
    test = pair_test(a, b)
    assert test is not None
    assert test.difference == pytest.approx(0.6)
    assert (test.verdict, test.series, test.p_series) == ("A is better", 6, 2 / 64)
    assert test.p is not None
    assert test.p < 1e-6
    same = pair_test(a, a)
    assert same is not None
    assert (same.difference, same.p, same.verdict) == (0.0, 1.0, "the data cannot tell them apart")
    assert pair_test(a, {"other": result(0.1)}) is None


def test_a_pair_without_intervals_is_not_decided() -> None:
    test = pair_test({"s": result(0.8)}, {"s": result(0.2)})
    assert test is not None
    assert test.verdict == "not decided: a score without an interval"


def test_the_interval_of_a_difference_covers_the_truth() -> None:
    rng = np.random.default_rng(1)
    error, covered, runs = 0.05, 0, 2000
    for _ in range(runs):
        shift_a, shift_b = rng.normal(0, error, 2)
        width = 1.6448536 * error
        a, b = (
            {f"s{k}": result(v, v - width, v + width) for k, v in enumerate(np.array([0.3, 0.5, 0.4]) + shift)}
            for shift in (0.1 + shift_a, shift_b)
        )
        test = pair_test(a, b)
        assert test is not None
        assert test.low is not None
        assert test.high is not None
        covered += test.low <= 0.1 <= test.high
    assert 0.88 <= covered / runs <= 0.92
