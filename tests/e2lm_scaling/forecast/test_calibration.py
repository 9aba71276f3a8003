from __future__ import annotations

import numpy as np
import pytest

from e2lm import UserError
from e2lm_scaling.forecast.backtest import backtest, split_largest
from e2lm_scaling.forecast.calibration import Calibration, calibrated, distance_beyond, fold_masks, folds_of
from e2lm_scaling.forecast.predictors import AVERAGE, AVERAGED, DRIFT, law_predictor, scaling_predictors
from e2lm_scaling.forecast.table import flops_of, table_of


def table(noise: float = 0.004, seed: int = 0):
    rng = np.random.default_rng(seed)
    flops = np.repeat(np.geomspace(1e17, 1e21, 9), 6)
    params = np.sqrt(flops / 120) * np.tile(np.geomspace(0.3, 3, 6), 9)
    tokens = flops / 6 / params
    loss = 1.7 + 400 / params**0.34 + 1500 / tokens**0.35
    return table_of(params, tokens, loss * np.exp(noise * rng.normal(size=len(loss))))


def test_folds_hold_out_the_runs_of_most_compute():
    runs = table()
    flops = flops_of(runs)
    masks = fold_masks(runs)
    assert masks
    for mask in masks:
        assert flops[mask].max() < flops[~mask].min()


def test_half_width_never_shrinks_with_distance():
    calibration = Calibration(0.01, 0.02, 0.008, 5)
    widths = [calibration.half_width(distance) for distance in (-1.0, 0.0, 1.0, 3.0)]
    assert widths[0] == widths[1]
    assert widths[1] < widths[2] < widths[3]


def test_distance_is_the_largest_of_compute_parameters_and_tokens():
    runs = table()
    inside = distance_beyond(runs, float(np.median(runs.params_R)), float(np.median(runs.tokens_R)))
    wide = distance_beyond(runs, 10 * float(runs.params_R.max()), float(runs.tokens_R.min()))
    assert inside < 0
    assert wide == pytest.approx(np.log(10))


def test_more_noise_gives_wider_intervals():
    quiet, loud = table(0.001), table(0.02)
    learn = law_predictor("chinchilla-tied").learn
    widths = []
    for runs in (quiet, loud):
        log_loss = learn(runs)
        assert log_loss is not None
        calibration = calibrated(learn, DRIFT["chinchilla-tied"], runs, log_loss)
        assert calibration is not None
        widths.append(calibration.half_width(1.0))
    assert widths[0] < widths[1]


def test_the_average_is_the_mean_of_log_losses():
    runs = table()
    members = [member.learn(runs) for member in AVERAGED]
    at = np.array([1e9]), np.array([2e10])
    mean = AVERAGE.learn(runs)
    assert mean is not None
    assert mean(*at) == pytest.approx(np.mean([one(*at) for one in members if one is not None], axis=0))


def test_a_backtest_ranks_by_the_training_part_and_keeps_baselines():
    chosen = [one for one in scaling_predictors() if one.is_baseline or one.name in ("chinchilla", "chinchilla-tied")]
    result = backtest(table(), chosen, ratio=10)
    names = [one.model for one in result.judged]
    assert {"persistence", "log-linear"} < set(names)
    inner = [one.inner_error for one in result.judged]
    assert inner == sorted(inner)
    assert result.chosen.model in ("chinchilla", "chinchilla-tied")
    assert result.chosen.mean_error < 0.01
    assert flops_of(result.train).max() <= result.threshold * (1 + 1e-6) < flops_of(result.held).min() * (1 + 1e-6)


@pytest.mark.parametrize("by", ["flops", "N", "D"])
def test_every_axis_can_be_cut(by):
    train, held, threshold = split_largest(table(), by, 4.0)
    assert len(train.loss_R) + len(held.loss_R) == len(table().loss_R)
    assert threshold > 0


@pytest.mark.parametrize(
    ("by", "ratio", "words"), [("flops", 1.0, "above 1"), ("size", 10, "unknown"), ("N", 1e9, "rows lie")]
)
def test_impossible_cuts_are_explained(by, ratio, words):
    with pytest.raises(UserError, match=words):
        split_largest(table(), by, ratio)


def test_the_half_width_adds_own_error_that_grows_with_reach_a_least_one_and_drift_in_squares():
    calibration = Calibration(0.003, 0.004, 0.005, 5)
    assert calibration.half_width(0.0) == pytest.approx(np.sqrt(0.0045**2 + 0.01**2))
    assert calibration.half_width(2.0) == pytest.approx(np.sqrt(0.0045**2 * (1 + 7**2) + 0.01**2 + 0.01**2))
    assert Calibration(0.0, 0.0, 0.0, 5).half_width(9.0) == pytest.approx(0.01)


def test_noise_is_that_of_the_residuals_and_the_own_error_the_median_of_what_nine_in_ten_of_a_fold_stay_below():
    runs, learn = table(0.01), law_predictor("chinchilla-tied").learn
    log_loss = learn(runs)
    found = calibrated(learn, 0.016, runs, log_loss)
    residual_R = log_loss(runs.params_R, runs.tokens_R) - np.log(runs.loss_R)
    assert found.noise == pytest.approx(np.sqrt(np.mean(residual_R**2)))
    folds = folds_of(learn, runs)
    assert found.folds == len(folds) > 3
    scales = [np.quantile(np.abs(one.error_R) / np.sqrt(1 + (3.5 * one.distance_R) ** 2), 0.9) for one in folds]
    assert found.own_error == pytest.approx(np.median(scales))
    flops = np.log(flops_of(runs))
    mask = fold_masks(runs)[0]
    assert folds[0].distance_R.max() >= (flops.max() - flops[mask].max()) * (1 - 1e-9)


def test_far_from_the_data_an_interval_is_as_much_wider_as_the_way_is_longer():
    runs = table(0.01)
    own = law_predictor("chinchilla-tied").fitted(runs, np.random.default_rng(0)).own
    far, farther = own.calibration.half_width(10.0), own.calibration.half_width(20.0)
    assert farther == pytest.approx(2 * far, rel=0.02)


def test_a_table_too_small_to_hold_runs_out_gets_a_wide_interval_that_says_so():
    runs = table(0.0)
    rows = np.arange(0, 54, 10)
    small = table_of(runs.params_R[rows], runs.tokens_R[rows], runs.loss_R[rows])
    forecast = AVERAGE.fitted(small, np.random.default_rng(0)).predict(1e10, 2e11)
    assert forecast.low < 0.95 * forecast.value < 1.05 * forecast.value < forecast.high
    assert "small tables of public corpora" in forecast.method


def test_a_forecast_lies_in_the_middle_of_its_half_widths_on_the_log_scale():
    runs = table(0.01)
    predictor = law_predictor("chinchilla-tied").fitted(runs, np.random.default_rng(0)).own
    params, tokens = 3 * float(runs.params_R.max()), 3 * float(runs.tokens_R.max())
    forecast = predictor.predict(params, tokens)
    half = predictor.calibration.half_width(distance_beyond(runs, params, tokens))
    assert np.log([forecast.low / forecast.value, forecast.high / forecast.value]) == pytest.approx([-half, half])
    assert half > 0.01
