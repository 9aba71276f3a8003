"""The covariance of what items do to a curve, in closed form, and redraws that have it."""

import numpy as np
import pytest

from e2lm_signal.curves import curve_of_values
from e2lm_signal.item_noise import (
    DRAWS,
    ROUNDING,
    TOLD_APART,
    in_segments_K,
    item_noise,
    neighbour_contrasts_RK,
    neighbour_distances_DR,
)
from e2lm_signal.item_table import ItemTable

ITEMS_KI = np.random.default_rng(0).normal(size=(3, 300)) + np.random.default_rng(1).normal(size=300)


def test_items_give_the_covariance_of_means_of_shared_items():
    noise = item_noise(curve_of_values(ITEMS_KI.mean(axis=1), items_KI=ITEMS_KI))
    centred_KI = ITEMS_KI - ITEMS_KI.mean(axis=1, keepdims=True)
    assert noise.covariance_KK == pytest.approx(centred_KI @ centred_KI.T / 299 / 300)


def test_standard_errors_and_numbers_of_items_give_independent_checkpoints():
    known = item_noise(curve_of_values([0.2, 0.4, 0.5], stderr_K=np.array([0.01, 0.02, 0.03])))
    assert known.covariance_KK == pytest.approx(np.diag([0.0001, 0.0004, 0.0009]))
    share = item_noise(curve_of_values([0.2, 0.4, 0.5], n_items_K=np.array([100, 100, 400])))
    assert share.covariance_KK == pytest.approx(np.diag([0.0016, 0.0024, 0.000625]))


@pytest.mark.parametrize("fields", [{"items_KI": ITEMS_KI}, {"stderr_K": np.array([0.01, 0.02, 0.03])}])
def test_redraws_lie_around_nothing_with_that_covariance(fields):
    noise = item_noise(curve_of_values(ITEMS_KI.mean(axis=1), **fields))
    drawn_DK = noise.draws_DK(np.random.default_rng(2), 20_000)
    deviation_K = np.sqrt(np.diag(noise.covariance_KK))
    assert drawn_DK.mean(axis=0) / deviation_K == pytest.approx(0.0, abs=0.03)
    assert np.cov(drawn_DK.T) / np.outer(deviation_K, deviation_K) == pytest.approx(
        noise.covariance_KK / np.outer(deviation_K, deviation_K), abs=0.04
    )


def test_a_table_of_items_says_the_standard_error_of_its_means():
    table = ItemTable(
        "task", "margin", ("a",), np.arange(3), np.arange(3.0), np.arange(300), ITEMS_KI[None].astype(np.float32), True
    )
    (curve,) = table.curves()
    assert curve.stderr_K == pytest.approx(ITEMS_KI.std(axis=1, ddof=1) / np.sqrt(300), rel=1e-5)


def test_an_error_of_nothing_is_no_certainty():
    errors_K = np.array([0.02, 0.0, 0.03])
    counted = item_noise(curve_of_values([0.2, 0.5, 0.4], stderr_K=errors_K, n_items_K=np.full(3, 100)))
    assert np.diag(counted.covariance_KK) == pytest.approx([0.0004, 0.0025, 0.0009])
    uncounted = item_noise(curve_of_values([0.2, 0.5, 0.4], stderr_K=errors_K))
    assert np.diag(uncounted.covariance_KK) == pytest.approx([0.0004, 0.0009, 0.0009])


@pytest.mark.parametrize("edge", [0.0, 1.0])
def test_an_accuracy_of_none_or_all_is_as_unsure_as_one_item_more_on_each_side(edge):
    noise = item_noise(curve_of_values([edge, 0.5], n_items_K=np.array([98, 100])))
    assert np.diag(noise.covariance_KK) == pytest.approx([0.01 * 0.99 / 100, 0.0025])


@pytest.mark.parametrize("scale", [0.01, 0.1, 3.0, 1e6])
def test_segments_of_a_straight_line_do_not_depend_on_how_its_steps_are_rounded(scale):
    line_K, variance_K = np.arange(1.0, 8.0), np.full(7, 0.49)
    plain, scaled = in_segments_K(line_K, variance_K), in_segments_K(line_K * scale, variance_K * scale**2)
    assert scaled == pytest.approx(plain * scale)


@pytest.mark.parametrize("scale", [1e-200, 1e-9, 1.0, 1e100])
def test_a_curve_without_noise_is_its_own_segments_whatever_its_size(scale):
    steps_K = np.repeat([1.0, 2.0, 4.0], 40) * scale
    assert in_segments_K(steps_K, np.zeros(120)) == pytest.approx(steps_K)
    assert in_segments_K(np.full(9, scale), np.zeros(9)).tolist() == [scale] * 9


def segments_one_by_one(values_K, variance_K):
    """The definition, all distances worked out anew after every join."""
    spread = float(np.ptp(values_K))
    mean_S, ends_S = values_K.astype(float), np.arange(1, len(values_K) + 1)
    weight_S = 1.0 / np.maximum(variance_K / spread / spread, ROUNDING**2)
    while len(mean_S) > 1:
        apart_S = np.abs(np.diff(mean_S)) / spread / np.sqrt(1.0 / weight_S[:-1] + 1.0 / weight_S[1:])
        at = int(apart_S.round(9).argmin())
        if apart_S[at] > TOLD_APART + 1e-9:
            break
        both = weight_S[at] + weight_S[at + 1]
        mean_S[at + 1] = (mean_S[at] * weight_S[at] + mean_S[at + 1] * weight_S[at + 1]) / both
        weight_S[at + 1] = both
        mean_S, weight_S, ends_S = np.delete(mean_S, at), np.delete(weight_S, at), np.delete(ends_S, at)
    return np.repeat(mean_S, np.diff(ends_S, prepend=0))


@pytest.mark.parametrize("count", [2, 3, 14, 60])
def test_segments_are_those_of_joining_the_nearest_two_again_and_again_to_the_last_bit(count):
    rng = np.random.default_rng(count)
    for _ in range(20):
        values_K = rng.integers(6, size=count) / 8 + rng.choice([0.0, 0.1]) * rng.normal(size=count)
        variance_K = rng.choice([0.0, 1e-4, 0.01], size=count) if rng.uniform() < 0.5 else np.full(count, 0.01)
        if np.ptp(values_K):
            assert in_segments_K(values_K, variance_K).tolist() == segments_one_by_one(values_K, variance_K).tolist()


def test_what_is_drawn_once_for_all_series_is_what_each_would_draw_and_so_is_what_follows():
    noise = item_noise(curve_of_values([0.2, 0.4, 0.5], stderr_K=np.array([0.01, 0.02, 0.03])))
    for _ in range(2):  # the second time from what is kept
        kept, fresh = np.random.default_rng(7), np.random.default_rng(7)
        assert kept.random(3, dtype=np.float32).tolist() == fresh.random(3, dtype=np.float32).tolist()
        drawn_DK = fresh.standard_normal(size=(DRAWS, 3), dtype=np.float32) * np.sqrt(np.diag(noise.covariance_KK))
        assert noise.draws_DK(kept).tolist() == drawn_DK.tolist()
        assert kept.uniform() == fresh.uniform()
    other = np.random.Generator(np.random.MT19937(7))
    assert noise.draws_DK(other).shape == (DRAWS, 3)


def test_distances_from_neighbours_are_the_contrasts_of_all_checkpoints():
    positions_K = np.array([0.0, 1.0, 3.0, 4.0, 9.0])
    values_DK = np.random.default_rng(0).normal(size=(7, 5))
    expected_DR = values_DK @ neighbour_contrasts_RK(positions_K).T
    assert neighbour_distances_DR(values_DK, positions_K) == pytest.approx(expected_DR, abs=1e-14)
