"""Calibration of the p-value: the share of draws below .05 where nothing is learnt."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2lm_signal.trend_p_value import autoregressive_DK, null_table, trend_test

DRAWS = 2000
LENGTHS = (8, 14, 47, 143)


def white(n, rng):
    return rng.normal(size=n)


def walk(n, rng):
    return rng.normal(size=n).cumsum()


def constant_skill(n, rng):
    """A model that never learns, measured on 200 items: a constant series as an evaluation shows it, full of ties."""
    return rng.binomial(200, 0.25, size=n) / 200


def share_below(draw, n, seed, field="p"):
    rng = np.random.default_rng([seed, n])
    return np.mean([getattr(trend_test(draw(n, rng), rng), field) < 0.05 for _ in range(DRAWS)])


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("draw", [white, walk, constant_skill], ids=lambda draw: draw.__name__)
def test_p_is_below_five_percent_in_three_to_seven_percent_of_null_curves(draw, n):
    assert 0.03 <= share_below(draw, n, seed=11) <= 0.07


@pytest.mark.parametrize("n", LENGTHS)
def test_the_randomised_p_of_an_exactly_constant_curve_is_calibrated_and_the_plain_one_is_1(n):
    def exactly_constant(n, rng):
        return np.full(n, 0.25)

    assert 0.03 <= share_below(exactly_constant, n, seed=12, field="p_randomised") <= 0.07
    assert trend_test(np.full(n, 0.25), np.random.default_rng(0)).p == 1.0


@pytest.mark.parametrize("n", [8, 14, 47])
@pytest.mark.parametrize("phi", [0.3, 0.6, 0.9])
def test_noise_between_white_and_walking_does_not_reject_more_often_than_it_may(phi, n):
    rng = np.random.default_rng([13, n])
    rows = autoregressive_DK(phi, 1000, n, rng)
    assert np.mean([trend_test(row, rng).p < 0.05 for row in rows]) <= 0.07


def test_a_steady_rise_is_significant_from_six_checkpoints_on():
    rng = np.random.default_rng(0)
    assert [trend_test(np.arange(float(n)), rng).p < 0.05 for n in (4, 5, 6, 8, 14)] == [False, False, True, True, True]


def test_a_falling_curve_has_a_p_near_one():
    assert trend_test(-np.arange(14.0), np.random.default_rng(0)).p > 0.99


def test_curves_longer_than_the_tables_are_thinned():
    assert trend_test(np.arange(5000.0), np.random.default_rng(0)).p < 0.001


@settings(max_examples=25)
@given(
    st.lists(st.integers(0, 6), min_size=4, max_size=20),
    st.floats(0.1, 10),
    st.floats(-5, 5),
    st.integers(0, 2**32 - 1),
)
def test_rescaling_changes_nothing(values, scale, shift, seed):
    values_K = np.asarray(values, float)
    plain = trend_test(values_K, np.random.default_rng(seed))
    rescaled = trend_test(np.round(values_K * scale + shift, 9), np.random.default_rng(seed))
    assert rescaled == plain


def test_both_ends_of_the_null_share_their_95th_percentile():
    table = null_table(14)
    white_point, walk_point = (np.quantile(table.sorted_draws[i], 0.95) for i in (0, -1))
    assert white_point == pytest.approx(walk_point, abs=0.01)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_drifting_noise_is_stationary_from_its_first_checkpoint_on(phi):
    rows_DK = autoregressive_DK(phi, 40_000, 6, np.random.default_rng(7))
    assert rows_DK.std(axis=0) == pytest.approx(np.full(6, 1 / np.sqrt(1 - phi**2)), rel=0.02)
    neighbours = [np.corrcoef(rows_DK[:, k], rows_DK[:, k + 1])[0, 1] for k in range(5)]
    assert neighbours == pytest.approx(np.full(5, phi), abs=0.015)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_curve_above_all_its_permutations_has_one_share_of_their_number_broken_by_lot(seed):
    staircase = np.repeat(np.arange(20.0), 2)
    found = trend_test(staircase, np.random.default_rng(seed))
    assert found.p == pytest.approx(1 / 1001)
    assert found.p_randomised == pytest.approx(np.random.default_rng(seed).uniform() / 1001)


def test_weights_lie_well_within_the_bracket_that_is_searched():
    weights = [null_table(n).weight for n in (6, 14, 143)]
    assert weights == sorted(weights, reverse=True)
    assert weights == pytest.approx([1.011, 0.667, 0.390], abs=0.001)
