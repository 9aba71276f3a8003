"""How far apart two recipes or two models are, and how sure that is, in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest, norm
from scipy.stats import t as student

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


def test_recipes_differ_as_at_the_largest_matched_size_and_their_error_is_noise_of_the_others_and_drift():
    wiggle = np.array([0.004, -0.004, 0.004, -0.004, 0.004, -0.004])
    second = 2 + 100 / PARAMS**0.3
    first = second * np.exp(-0.02 + wiggle)
    target = 6 * PARAMS[-1] * TOKENS[-1] * np.e**5
    found = compare_recipes(table_of(PARAMS, TOKENS, first), table_of(PARAMS, TOKENS, second), target)
    assert found.difference == pytest.approx(-0.024)
    assert found.stderr == pytest.approx(np.hypot(np.std(wiggle[:-1], ddof=1), 0.002 * 5))
    assert found.degrees == 4


def of_noise(sizes, seeds, rng):
    params = np.repeat(np.geomspace(1e7, 1e9, sizes), seeds)
    return table_of(params, 20 * params, 3 * np.exp(rng.normal(0, 0.004, len(params))))


@pytest.mark.parametrize(("sizes", "seeds"), [(3, 1), (4, 1), (7, 1), (2, 3), (1, 2), (5, 3)])
def test_recipes_that_differ_by_noise_alone_are_coin_tosses(sizes, seeds):
    rng = np.random.default_rng(sizes)
    target = 6 * 1e9 * 20e9 if sizes > 1 else 6 * 1e7 * 20e7
    stated = [
        compare_recipes(of_noise(sizes, seeds, rng), of_noise(sizes, seeds, rng), target).first_is_better
        for _ in range(300)
    ]
    assert kstest(stated, "uniform").statistic < 1.63 / np.sqrt(300)


def test_who_comes_first_changes_the_sign_and_nothing_else():
    rng = np.random.default_rng(0)
    first, second = of_noise(4, 3, rng), of_noise(4, 2, rng)
    found, turned = compare_recipes(first, second, 1e21), compare_recipes(second, first, 1e21)
    assert found.first_is_better + turned.first_is_better == pytest.approx(1.0, abs=1e-12)
    assert (found.difference, found.stderr, found.degrees) == pytest.approx(
        (-turned.difference, turned.stderr, turned.degrees)
    )


def test_seeds_of_one_size_are_pooled_and_equal_ones_averaged():
    params = np.array([1e8, 1e8, 1e8])
    first = table_of(params, 20 * params, np.exp([1.00, 1.01, 1.02]))
    second = table_of(params, 20 * params, np.exp([1.02, 1.03, 1.04]))
    found = compare_recipes(first, second, 1e17)
    assert found.difference == pytest.approx(-0.02)
    assert found.stderr == pytest.approx(0.01 * np.sqrt(2 / 3))
    assert found.degrees == 4
    assert found.first_is_better == pytest.approx(student.cdf(0.02 / found.stderr, 4))


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


def test_two_sizes_of_one_run_each_show_no_noise_and_are_refused():
    first, second = (table_of(PARAMS[:2], TOKENS[:2], np.array(loss)) for loss in ([3.0, 2.5], [3.1, 2.6]))
    with pytest.raises(UserError, match="too few to tell a difference from noise"):
        compare_recipes(first, second, 1e21)


@pytest.mark.parametrize("axis", ["params", "tokens"])
def test_runs_are_matched_within_one_percent_of_size_and_of_tokens(axis):
    def moved(share):
        columns = {"params": PARAMS, "tokens": TOKENS}
        columns[axis] = columns[axis] * (1 + share)
        return table_of(columns["params"], columns["tokens"], np.full(6, 2.5))

    log_flops_P, difference_P = matched_differences(moved(0.009), moved(0.0))
    assert len(difference_P) == 6
    assert log_flops_P == pytest.approx(np.log(6 * PARAMS * TOKENS * np.sqrt(1.009)))
    with pytest.raises(UserError, match="no run of one recipe"):
        matched_differences(moved(0.011), moved(0.0))
