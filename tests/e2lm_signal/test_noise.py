from itertools import product

import numpy as np
import pytest

from e2lm import UserError
from e2lm_signal.item_table import ItemTable
from e2lm_signal.noise import decomposed, scaled_residuals_MKI, without_control


def table(values_MKI, task="made", metric="loss", higher=False):
    models, checkpoints, items = values_MKI.shape
    return ItemTable(
        task, metric, tuple(f"m{m}" for m in range(models)), np.arange(1, checkpoints + 1) * 100,
        np.full(checkpoints, np.nan), np.arange(items), values_MKI.astype(np.float32), higher,
    )  # fmt: skip


def made(common, own, models=10, checkpoints=150, items=400, seed=0, drift_MK=None):
    rng = np.random.default_rng(seed)
    luck_MKI = own * rng.normal(size=(models, checkpoints, items))
    trend = np.linspace(3, 2, checkpoints)[None, :, None]
    drift_MK = common * rng.normal(size=(models, checkpoints)) if drift_MK is None else drift_MK
    return trend + rng.normal(size=(1, 1, items)) + drift_MK[:, :, None] + luck_MKI


@pytest.mark.parametrize(("common", "own"), [(0.0, 1.0), (0.05, 1.0), (0.5, 1.0), (0.2, 0.1)])
def test_known_noise_is_split_into_what_items_share_and_what_they_do_not(common, own):
    report = decomposed(table(made(common, own)), np.random.default_rng(1))
    sampling = own / np.sqrt(400)
    assert report.overall.item_sampling == pytest.approx(sampling, rel=0.03)
    assert report.overall.total == pytest.approx(np.hypot(common, sampling), rel=0.12)
    assert report.overall.common_mode == pytest.approx(common, abs=0.02)
    assert abs(report.overall.residual_share) < 0.1
    assert report.ratio_low < report.overall.drift_ratio < report.ratio_high


def test_advice_follows_what_rules_the_noise():
    items_rule = decomposed(table(made(0.0, 1.0)), np.random.default_rng(1))
    drift_rules = decomposed(table(made(0.5, 1.0)), np.random.default_rng(1))
    assert items_rule.advice.startswith("item sampling rules: infinitely many items")
    assert drift_rules.advice.startswith("common drift rules")
    assert "control task subtracted" in drift_rules.advice


def test_subtracting_a_control_that_drifts_alike_cancels_the_drift_and_keeps_the_trend():
    drift_MK = np.random.default_rng(4).normal(size=(10, 150))
    ours = table(made(0, 1.0, drift_MK=0.8 * drift_MK))
    control = table(made(0, 1.0, drift_MK=drift_MK, seed=9), task="control")
    cleaned, slope_M = without_control(ours, control)
    assert slope_M == pytest.approx(np.full(10, 0.8), abs=0.02)
    before, after = (decomposed(one, np.random.default_rng(1)).overall for one in (ours, cleaned))
    assert before.drift_ratio > 10
    assert after.drift_ratio < 1.5
    assert cleaned.values_MKI.mean() == pytest.approx(ours.values_MKI.mean(), abs=1e-4)


def test_a_control_of_other_series_is_refused():
    with pytest.raises(UserError, match="other series or checkpoints"):
        without_control(table(made(0, 1.0)), table(made(0, 1.0, models=9)))


def test_the_interval_of_the_drift_ratio_is_that_of_all_redraws_of_four_series():
    report = decomposed(table(made(0.05, 1.0, models=4)), np.random.default_rng(1))
    total_M, sampling_M = (
        np.array([getattr(one, part) ** 2 for one in report.by_series.values()]) for part in ("total", "item_sampling")
    )
    every = [total_M[list(chosen)].sum() / sampling_M[list(chosen)].sum() for chosen in product(range(4), repeat=4)]
    half = 1.6448536 * np.std(0.5 * np.log(every))
    ratio = report.overall.drift_ratio
    assert np.log(report.ratio_high / ratio) == pytest.approx(half, rel=0.06)
    assert np.log(ratio / report.ratio_low) == pytest.approx(half, rel=0.06)


def test_residuals_are_taken_from_the_line_through_neighbours_that_lie_anywhere():
    positions_K = np.array([0.0, 1.0, 4.0, 6.0, 10.0])
    values_MKI = np.random.default_rng(3).normal(size=(2, 5, 3)).astype(np.float32)
    found_MKI = scaled_residuals_MKI(values_MKI, positions_K)
    for model, item, k in product(range(2), range(3), range(1, 4)):
        near = [k - 1, k + 1]
        line = np.interp(positions_K[k], positions_K[near], values_MKI[model, near, item])
        share = np.interp(positions_K[k], positions_K[near], [0.0, 1.0])
        expected = (line - values_MKI[model, k, item]) / np.sqrt(1 + share**2 + (1 - share) ** 2)
        assert found_MKI[model, k - 1, item] == pytest.approx(expected, rel=1e-5)
