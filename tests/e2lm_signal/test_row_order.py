"""The order of rows by places written into their values: against ``argsort``, where values almost agree too."""

import numpy as np
import pytest

from e2lm_signal.fine_tasks import order_correlation_D
from e2lm_signal.item_noise import TOLD_APART, in_segments_K
from e2lm_signal.row_order import AT_ONCE, by_blocks_D, order_and_sorted_DK
from e2lm_signal.signal_quality import concordance_D

CLOSE = 0.25 * np.nextafter(1.0, 2.0) ** np.array([3, 1, 2, 0, 2, 4, 1])
ROWS = {
    "continuous": np.random.default_rng(0).normal(size=(50, 33)),
    "ties": np.random.default_rng(1).integers(-3, 3, size=(50, 9)).astype(float),
    "values that differ in their last bits": np.stack([CLOSE, -CLOSE]),
    "no number, no bound": np.array([[np.nan, 1.0, -1.0], [np.inf, -np.inf, 0.0], [5.0, 1.0, -np.inf]]),
    "one column": np.ones((2, 1)),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_in_the_order_of_argsort(name):
    order_DK, sorted_DK = order_and_sorted_DK(ROWS[name])
    assert np.array_equal(sorted_DK, np.sort(ROWS[name], axis=1), equal_nan=True)
    assert np.array_equal(np.take_along_axis(ROWS[name], order_DK, axis=1), sorted_DK, equal_nan=True)
    assert np.array_equal(np.sort(order_DK, axis=1), np.tile(np.arange(ROWS[name].shape[1]), (len(ROWS[name]), 1)))


def test_blocks_of_rows_are_put_together_in_their_order():
    rows_DK = np.random.default_rng(2).normal(size=(7, AT_ONCE // 2))
    assert by_blocks_D(lambda some_DK: some_DK[:, 0], rows_DK).tolist() == rows_DK[:, 0].tolist()


@pytest.mark.parametrize("name", ["continuous", "ties", "values that differ in their last bits"])
def test_quality_is_the_sum_over_pairs(name):
    rows_DK, positions_K = ROWS[name], np.geomspace(0.01, 1.0, ROWS[name].shape[1])
    half_K = np.diff(positions_K) / 2.0
    weights_K = np.r_[half_K, 0.0] + np.r_[0.0, half_K]
    pair_KK = np.triu(np.outer(weights_K, weights_K) * (positions_K[None] - positions_K[:, None]), 1)
    signs_DKK = np.sign(rows_DK[:, None, :] - rows_DK[:, :, None])
    assert concordance_D(rows_DK, positions_K) == pytest.approx((signs_DKK * pair_KK).sum(axis=(1, 2)) / pair_KK.sum())


@pytest.mark.parametrize("name", ["continuous", "ties", "values that differ in their last bits"])
def test_spearman_is_that_of_scipy(name):
    from scipy.stats import rankdata

    ranks_DK = rankdata(ROWS[name], axis=1)
    theirs = [np.corrcoef(row_K, np.arange(len(row_K)))[0, 1] for row_K in ranks_DK]
    assert order_correlation_D(ROWS[name]) == pytest.approx(theirs, abs=1e-8)


def test_no_two_neighbouring_segments_are_alike():
    values_K = np.random.default_rng(3).normal(size=60).cumsum()
    steps_K = in_segments_K(values_K, np.ones(60))
    starts = np.r_[0, np.flatnonzero(np.diff(steps_K)) + 1, 60]
    assert 3 < len(starts) < 60
    for first, middle, end in zip(starts[:-2], starts[1:-1], starts[2:], strict=True):
        error = np.sqrt(1 / (middle - first) + 1 / (end - middle))
        assert steps_K[first] == pytest.approx(values_K[first:middle].mean())
        assert abs(steps_K[first] - steps_K[middle]) > TOLD_APART * error
