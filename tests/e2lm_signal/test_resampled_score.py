"""The interval of a score of one curve, where it can be worked out: a linear statistic of noise that is known."""

import numpy as np
import pytest

from e2lm_signal.curves import curve_of_values
from e2lm_signal.resampled_score import resampled

Z_90 = 1.6448536

ITEMS_KI = np.random.default_rng(0).binomial(1, np.linspace(0.3, 0.7, 10)[:, None], size=(10, 400)).astype(float)


@pytest.mark.parametrize(
    ("fields", "variance_K"),
    [
        ({"stderr_K": np.full(10, 0.02)}, np.full(10, 0.02**2)),
        ({"n_items_K": np.full(10, 400)}, ITEMS_KI.mean(axis=1) * (1 - ITEMS_KI.mean(axis=1)) / 400),
        ({"items_KI": ITEMS_KI}, ITEMS_KI.var(axis=1, ddof=1) / 400),
    ],
    ids=["stderr", "binomial", "items"],
)
@pytest.mark.parametrize("checkpoint", [0, 4, 9])
def test_the_interval_of_one_value_is_as_wide_as_its_item_noise_says(fields, variance_K, checkpoint):
    curve = curve_of_values(ITEMS_KI.mean(axis=1), **fields)
    found = resampled(lambda values_DK, positions_K: values_DK[:, checkpoint])(curve, np.random.default_rng(1))
    assert found.value == pytest.approx(curve.values_K[checkpoint])
    assert found.high - found.low == pytest.approx(2 * Z_90 * np.sqrt(variance_K[checkpoint]), rel=0.12)
    assert found.low < found.value < found.high


def test_items_are_the_same_at_all_checkpoints_so_a_difference_of_two_is_surer_than_of_independent_ones():
    shared_I = np.random.default_rng(2).normal(size=500)
    items_KI = shared_I + np.array([[0.0], [0.0], [1.0], [1.0]]) + 0.1 * np.random.default_rng(3).normal(size=(4, 500))
    curve = curve_of_values(items_KI.mean(axis=1), metric="margin", items_KI=items_KI)
    found = resampled(lambda values_DK, positions_K: values_DK[:, 3] - values_DK[:, 0])(curve, np.random.default_rng(4))
    stderr = (items_KI[3] - items_KI[0]).std(ddof=1) / np.sqrt(500)
    assert found.high - found.low == pytest.approx(2 * Z_90 * stderr, rel=0.12)


def test_nine_in_ten_intervals_of_a_mean_over_checkpoints_hold_its_true_value():
    rng = np.random.default_rng(5)
    score = resampled(lambda values_DK, positions_K: values_DK.mean(axis=1))
    held = []
    for _ in range(400):
        values = np.linspace(0.3, 0.6, 8) + 0.03 * rng.normal(size=8)
        found = score(curve_of_values(values, stderr_K=np.full(8, 0.03)), rng)
        held.append(found.low <= 0.45 <= found.high)
    assert np.mean(held) == pytest.approx(0.9, abs=0.04)


def test_no_interval_leaves_the_range_of_its_statistic():
    rng = np.random.default_rng(6)
    bounded = resampled(lambda values_DK, positions_K: np.clip(values_DK[:, -1], 0.0, 1.0), within=(0.0, 1.0))
    for _ in range(50):
        found = bounded(curve_of_values(np.r_[rng.uniform(0.2, 0.8, size=7), 0.99], stderr_K=np.full(8, 0.1)), rng)
        assert 0.0 <= found.low <= found.value <= found.high <= 1.0
