"""The covariance of what items do to a curve, in closed form, and redraws that have it."""

import numpy as np
import pytest

from e2lm_signal.curves import curve_of_values
from e2lm_signal.item_noise import in_segments_K, item_noise
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
