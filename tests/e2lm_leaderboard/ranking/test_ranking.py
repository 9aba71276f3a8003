"""Ranks say no more than the data: properties of the rule, the Ladder and the pair test."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2lm_leaderboard.ranking.ranking import ABOVE_NULL, pair_test, published_results, rank_ranges_N2, ranked, ranks_N
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
    results[entry(5, "whites").id] = result(None)
    table = ranked([*entries, entry(5, "whites")], results)
    assert [(row.entry.number, row.rank, row.tries) for row in table] == [(2, 1, 2), (3, 1, 1), (5, None, 1)]


def above(value: float, low: float, high: float, p: float = 0.01) -> Result:
    return Result("public", ABOVE_NULL, "", value, low, high, p)


def test_an_entry_not_above_its_null_ranks_below_every_one_that_is() -> None:
    teams = ("honest", "weak", "nonsense", "old")
    entries = [entry(number, team) for number, team in enumerate(teams)]
    found = [above(0.9, 0.8, 0.95), above(0.1, 0.05, 0.2), above(0.97, -0.01, 1.2), result(0.99, 0.98, 1.0)]
    table = ranked(entries, {one.id: number for one, number in zip(entries, found, strict=True)})
    assert [(row.entry.team, row.rank, row.flag) for row in table] == [
        ("honest", 1, ""),
        ("weak", 2, ""),
        ("old", 3, "not_controlled"),
        ("nonsense", 4, "not_above_null"),
    ]


def test_a_worse_entry_neither_shows_its_teams_best_nor_pushes_others_down() -> None:
    entries = [entry(1), entry(2), entry(3), entry(4, "blues")]
    public = dict(zip((one.id for one in entries), (result(0.9), result(0.1), result(0.5), result(0.4)), strict=True))
    shown = published_results(entries, public, 0.01)
    assert [shown[one.id].value for one in entries] == [0.9, None, None, 0.4]
    assert "no improvement" in shown[entries[1].id].reason
    assert [(row.entry.number, row.rank, row.tries) for row in ranked(entries, shown)] == [(1, 1, 3), (4, 2, 1)]


def test_trying_at_random_a_thousand_times_gains_nothing_on_the_private_score() -> None:
    """The attack of Blum and Hardt: random entries, and a vote of those that the public score calls good."""
    rng = np.random.default_rng(0)
    items, tries = 2000, 1000
    public_I = rng.random(items) < 0.3
    right_TI = rng.random((tries, items)) < 0.5
    entries = [entry(number) for number in range(tries)]
    scores = {one.id: result(float(right_I[public_I].mean())) for one, right_I in zip(entries, right_TI, strict=True)}
    shown = published_results(entries, scores, 0.01)
    told = [number for number, one in enumerate(entries) if shown[one.id].value is not None]
    assert len(told) < 15, "the Ladder tells of a few improvements, not of every try"
    voted_I = right_TI[told].mean(axis=0) + rng.uniform(-1e-3, 1e-3, items) > 0.5
    assert abs(voted_I[~public_I].mean() - 0.5) < 0.05
    assert voted_I[public_I].mean() - voted_I[~public_I].mean() < 0.15


def test_ten_thousand_entries_are_ranked_in_less_than_two_seconds() -> None:
    rng = np.random.default_rng(0)
    entries = [entry(number, f"team {number % 100}") for number in range(10_000)]
    results = {one.id: result(v, v - 0.1, v + 0.1) for one, v in zip(entries, rng.random(10_000).tolist(), strict=True)}
    started = time.process_time()
    table = ranked(entries, published_results(entries, results, 0.01))
    assert time.process_time() - started < 2.0
    assert len(table) == 100


def test_the_ladder_moves_only_when_a_team_beats_its_best_by_a_step() -> None:
    values = [0.123, 0.131, 0.14, None, 0.05, 0.3]
    entries = [entry(number) for number in range(len(values))]
    public = {one.id: result(v, v, v) if v else result(None) for one, v in zip(entries, values, strict=True)}
    public[entry(9, "blues").id] = result(0.05, 0.02, 0.09)
    shown = published_results([*entries, entry(9, "blues")], public, 0.01)
    assert [shown[one.id].value for one in entries] == [0.12, 0.13, None, None, None, 0.3]
    assert shown[entry(9, "blues").id] == Result("published", "sq", "", 0.05, 0.02, 0.09)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20))
def test_published_scores_never_fall_and_are_whole_steps(values: list[float]) -> None:
    entries = [entry(number) for number in range(len(values))]
    shown = published_results(entries, {one.id: result(v) for one, v in zip(entries, values, strict=True)}, 0.05)
    published = [value for one in entries if (value := shown[one.id].value) is not None]
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


def test_the_true_ranks_lie_in_their_ranges_all_at_once_nine_times_in_ten() -> None:
    rng = np.random.default_rng(2)
    truth_N, error_N = np.linspace(0.2, 0.8, 8), np.linspace(0.02, 0.2, 8)
    rank_N = 1 + (truth_N[:, None] < truth_N[None, :]).sum(axis=1)
    held = 0
    for _ in range(400):
        values_N = rng.normal(truth_N, error_N)
        ranges = rank_ranges_N2(values_N, values_N - 1.6448536 * error_N, values_N + 1.6448536 * error_N)
        held += bool(((ranges[:, 0] <= rank_N) & (rank_N <= ranges[:, 1])).all())
    assert held >= 0.9 * 400
    assert rank_ranges_N2(truth_N, truth_N - 1e-6, truth_N + 1e-6).tolist() == [[rank, rank] for rank in rank_N]


def test_a_wide_interval_does_not_stand_above_a_narrow_better_one() -> None:
    entries = [entry(1, "wide"), entry(2, "narrow"), entry(3, "low")]
    found = [result(0.91, 0.2, 1.0), result(0.9, 0.88, 0.92), result(0.5, 0.48, 0.52)]
    table = ranked(entries, {one.id: number for one, number in zip(entries, found, strict=True)})
    assert [(row.entry.team, row.rank, row.ranks) for row in table] == [
        ("narrow", 1, (1, 2)),
        ("wide", 1, (1, 3)),
        ("low", 2, (2, 3)),
    ]


@pytest.mark.parametrize(("value", "low", "high"), [(0.994, 0.9, 1.0), (-0.994, -1.0, -0.9)])
def test_a_published_interval_stays_in_the_range_of_its_score(value: float, low: float, high: float) -> None:
    one = entry(0)
    shown = published_results([one], {one.id: result(value, low, high)}, 0.02)[one.id]
    assert shown.low is not None
    assert shown.high is not None
    assert -1.0 <= shown.low <= shown.high <= 1.0
