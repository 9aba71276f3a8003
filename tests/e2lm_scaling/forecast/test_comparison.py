"""How far apart two recipes or two models are, and how sure that is, in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from e2lm import UserError
from e2lm.scaling_predictor import Forecaster, LossTable
from e2lm_scaling.forecast.comparison import (
    SMALLEST_STDERR,
    LossDifference,
    compare_models,
    compare_recipes,
    matched_differences,
)
from e2lm_scaling.forecast.predictors import law_predictor
from e2lm_scaling.forecast.table import table_of

PARAMS = np.geomspace(1e7, 1e9, 6)
TOKENS = 20 * PARAMS


def fitted(runs: LossTable) -> Forecaster:
    return law_predictor("chinchilla-tied").fitted(runs, np.random.default_rng(0))


def test_the_interval_of_a_difference_is_one_of_90_percent_and_agrees_with_its_probability():
    found = LossDifference(-0.01, 0.004)
    assert found.interval == pytest.approx((-0.01 - 1.6448536 * 0.004, -0.01 + 1.6448536 * 0.004))
    assert found.first_is_better == pytest.approx(norm.cdf(2.5))
    assert LossDifference(-1.6448536 * 0.004, 0.004).first_is_better == pytest.approx(0.95)


def test_recipes_differ_as_at_the_largest_matched_run_and_their_error_is_noise_and_drift():
    wiggle = np.array([0.004, -0.004, 0.004, -0.004, 0.004, -0.004])
    second = 2 + 100 / PARAMS**0.3
    first = second * np.exp(-0.02 + wiggle)
    target = 6 * PARAMS[-1] * TOKENS[-1] * np.e**5
    found = compare_recipes(table_of(PARAMS, TOKENS, first), table_of(PARAMS, TOKENS, second), target)
    position = np.arange(6.0)  # compute rises by one factor from run to run
    around_line = wiggle - np.polyval(np.polyfit(position, wiggle, 1), position)
    assert found.difference == pytest.approx(-0.024)
    assert found.stderr == pytest.approx(np.hypot(np.sqrt((around_line**2).sum() / 4), 0.002 * 5))


@pytest.mark.parametrize(("apart", "stderr"), [(np.e, 0.01), (np.e**2, 0.02), (1.0, SMALLEST_STDERR)])
def test_two_models_of_a_law_without_noise_are_known_to_a_hundredth_per_e_folding_between_them(apart, stderr):
    params, tokens = (grid.ravel() for grid in np.meshgrid(PARAMS, TOKENS))
    runs = table_of(params, tokens, 1.7 + 400 / params**0.34 + 1000 / tokens**0.34)
    found = compare_models(fitted(runs), (1e9, 2e10 * apart), (1e9, 2e10))
    assert found.stderr == pytest.approx(stderr, rel=0.01)


def test_the_noise_of_single_runs_counts_twice_in_a_difference():
    rng = np.random.default_rng(0)
    params, tokens = (grid.ravel() for grid in np.meshgrid(PARAMS, TOKENS))
    exact = 1.7 + 400 / params**0.34 + 1000 / tokens**0.34
    runs = table_of(params, tokens, exact * np.exp(0.01 * rng.normal(size=36)))
    forecaster = fitted(runs)
    residual = np.sqrt(np.mean((np.log(forecaster.losses(params, tokens)) - np.log(runs.loss_R)) ** 2))
    found = compare_models(forecaster, (1e9, 2e10), (1e9, 2e10))
    assert found.stderr == pytest.approx(np.sqrt(2) * residual)


def test_four_matched_runs_are_enough_for_the_noise_around_their_line_and_three_are_not():
    wiggle = np.array([0.004, -0.004, 0.001, 0.002])
    params, tokens = PARAMS[:4], TOKENS[:4]
    tables = [table_of(params, tokens, 3 * np.exp(part)) for part in (wiggle, np.zeros(4))]
    found = compare_recipes(*tables, 6 * params[-1] * tokens[-1])
    around_line = wiggle - np.polyval(np.polyfit(np.arange(4.0), wiggle, 1), np.arange(4.0))
    assert found.stderr == pytest.approx(np.sqrt((around_line**2).sum() / 2))
    three = [table_of(params[:3], tokens[:3], table.loss_R[:3]) for table in tables]
    assert compare_recipes(*three, 6 * params[2] * tokens[2]).stderr == SMALLEST_STDERR


@pytest.mark.parametrize("axis", ["params", "tokens"])
def test_runs_are_matched_within_one_percent_of_size_and_of_tokens(axis):
    def moved(share):
        columns = {"params": PARAMS, "tokens": TOKENS}
        columns[axis] = columns[axis] * (1 + share)
        return table_of(columns["params"], columns["tokens"], np.full(6, 2.5))

    log_flops_P, difference_P = matched_differences(moved(0.009), moved(0.0))
    assert len(difference_P) == 6
    assert log_flops_P == pytest.approx(np.log(6 * PARAMS * TOKENS * 1.009))
    with pytest.raises(UserError, match="share N and D"):
        matched_differences(moved(0.011), moved(0.0))
