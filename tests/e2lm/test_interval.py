"""Widths in closed form, coverage by simulation: an interval a third too narrow is noticed here."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from e2lm.interval import (
    Interval,
    mean_stderr,
    normal_interval,
    normal_quantile,
    percentile_interval,
    ratio_interval,
    recentred_interval,
    redrawn_counts_DI,
    redrawn_DI,
    student_quantile,
    tails,
    wilson_interval,
)

CONFIDENCES = st.floats(0.01, 0.999)
NUMBERS = st.floats(-1e6, 1e6)


@pytest.mark.parametrize(("confidence", "quantile"), [(0.9, 1.644854), (0.95, 1.959964), (0.99, 2.575829)])
def test_normal_quantiles_are_those_of_the_tables(confidence: float, quantile: float) -> None:
    assert normal_quantile(confidence) == pytest.approx(quantile, abs=5e-7)


def test_without_another_word_an_interval_is_one_of_90_percent() -> None:
    assert normal_quantile() == normal_quantile(0.9)
    assert normal_interval(0.0, 1.0) == (-normal_quantile(0.9), normal_quantile(0.9))
    assert percentile_interval(np.arange(1001.0)) == (50.0, 950.0)


@pytest.mark.parametrize(
    ("df", "confidence", "quantile"), [(1, 0.95, 12.706), (4, 0.9, 2.132), (4, 0.95, 2.776), (9, 0.99, 3.250)]
)
def test_student_quantiles_are_those_of_the_tables(df: float, confidence: float, quantile: float) -> None:
    assert float(student_quantile(df, confidence)) == pytest.approx(quantile, abs=5e-4)


@given(CONFIDENCES)
def test_tails_hold_the_confidence_between_them_and_as_much_on_either_side(confidence: float) -> None:
    low, high = tails(confidence)
    assert high - low == pytest.approx(confidence, abs=1e-12)
    assert low == pytest.approx(1 - high, abs=1e-12)


@pytest.mark.parametrize("confidence", [0.0, 1.01, 90.0, math.nan])
def test_a_confidence_that_is_no_share_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="share above 0 and up to 1"):
        normal_interval(0.0, 1.0, confidence)


@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.95])
def test_normal_intervals_hold_the_truth_as_often_as_they_say(confidence: float) -> None:
    drawn_D = np.random.default_rng(0).normal(2.0, 0.3, size=20_000)
    held = [interval.low <= 2.0 <= interval.high for interval in (normal_interval(x, 0.3, confidence) for x in drawn_D)]
    assert np.mean(held) == pytest.approx(confidence, abs=0.01)


def test_student_intervals_of_five_values_hold_the_mean_as_often_as_they_say() -> None:
    values_DI = np.random.default_rng(1).normal(size=(20_000, 5))
    half_D = student_quantile(4.0) * np.array([mean_stderr(values_I) for values_I in values_DI])
    assert np.mean(np.abs(values_DI.mean(axis=1)) <= half_D) == pytest.approx(0.9, abs=0.01)


@given(NUMBERS, st.floats(0.0, 1e6), CONFIDENCES)
def test_the_standard_error_can_be_read_off_an_interval(value: float, stderr: float, confidence: float) -> None:
    found = normal_interval(value, stderr, confidence).stderr(confidence)
    assert found == pytest.approx(stderr, rel=1e-6, abs=1e-7)


def test_a_ratio_interval_is_a_normal_one_on_the_log_scale() -> None:
    assert np.log(ratio_interval(5.0, 0.2)) == pytest.approx([math.log(5.0) - 0.2, math.log(5.0) + 0.2])


@given(st.lists(NUMBERS, min_size=1, max_size=30), CONFIDENCES)
def test_percentile_intervals_lie_between_the_draws_in_order(draws: list[float], confidence: float) -> None:
    low, high = percentile_interval(np.array(draws), confidence)
    assert min(draws) <= low <= high <= max(draws)


def test_percentile_intervals_leave_out_as_many_draws_as_they_say() -> None:
    draws_D = np.random.default_rng(2).exponential(size=20_000)
    low, high = percentile_interval(draws_D, 0.8)
    assert (low, high) == pytest.approx((-math.log(0.9), -math.log(0.1)), rel=0.05)
    assert np.mean(draws_D < low) == pytest.approx(0.1, abs=1e-3)
    assert np.mean(draws_D > high) == pytest.approx(0.1, abs=1e-3)


def test_full_confidence_is_all_draws_and_says_nothing_of_a_normal_error() -> None:
    assert percentile_interval(np.array([3.0, 1.0, 2.0]), 1.0) == (1.0, 3.0)
    assert normal_interval(0.0, 1.0, 1.0) == (-math.inf, math.inf)


def test_no_draws_and_draws_that_are_no_numbers_give_no_interval() -> None:
    assert np.isnan(percentile_interval(np.array([]))).all()
    assert np.isnan(percentile_interval(np.array([1.0, math.nan, 2.0]))).all()


@given(NUMBERS, NUMBERS)
def test_a_recentred_interval_is_where_the_value_is_and_as_wide_as_the_draws(value: float, offset: float) -> None:
    draws_D = np.linspace(-1.0, 1.0, 101) ** 3
    low, high = recentred_interval(value, draws_D + offset)
    assert (low - value, high - value) == pytest.approx((-0.729, 0.729), abs=1e-6)


@given(st.integers(1, 2000), st.data())
def test_wilsons_interval_is_scipys(count: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, count))
    expected = stats.binomtest(right, count).proportion_ci(0.9, method="wilson")
    assert wilson_interval(right / count, count) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_wilsons_interval_does_not_leave_the_range_of_a_share(share: float) -> None:
    low, high = wilson_interval(share, 10)
    assert 0.0 <= low < high <= 1.0


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=20))
def test_the_standard_error_of_a_mean_is_scipys(values: list[float]) -> None:
    assert mean_stderr(np.array(values)) == pytest.approx(float(stats.sem(values)), abs=1e-12)


def test_one_value_has_no_standard_error() -> None:
    assert math.isnan(mean_stderr(np.array([0.5])))


@given(NUMBERS, NUMBERS, NUMBERS)
def test_an_interval_can_be_cut_to_a_range_and_widened_to_a_value(first: float, second: float, value: float) -> None:
    interval = Interval(*sorted((first, second)))
    low, high = interval.holding(value)
    assert low <= value <= high
    assert (low, high) == (min(first, second, value), max(first, second, value))
    cut = interval.within(-1.0, 1.0)
    assert cut.low >= -1.0
    assert cut.high <= 1.0


@pytest.mark.parametrize("how", ["counts", "places"])
def test_redraws_move_a_mean_as_far_as_its_standard_error_says(how: str) -> None:
    rng = np.random.default_rng(3)
    values_I = rng.normal(size=40)
    if how == "counts":
        counts_DI = redrawn_counts_DI(40, 20_000, rng)
        assert (counts_DI.sum(axis=1) == 40).all()
        drawn_D = counts_DI @ values_I / 40
    else:
        drawn_D = values_I[redrawn_DI(40, 20_000, rng)].mean(axis=1)
    assert drawn_D.mean() == pytest.approx(values_I.mean(), abs=0.01)
    assert drawn_D.std() == pytest.approx(mean_stderr(values_I) * math.sqrt(39 / 40), rel=0.02)


def test_one_redraw_for_both_sides_leaves_the_noise_of_their_difference_alone() -> None:
    rng = np.random.default_rng(4)
    shared_I, own_I = rng.normal(size=200), 0.1 * rng.normal(size=200)
    weights_DI = redrawn_counts_DI(200, 4_000, rng) / 200
    difference_D = weights_DI @ (shared_I + own_I) - weights_DI @ shared_I
    assert difference_D.std() == pytest.approx(mean_stderr(own_I), rel=0.05)
