from __future__ import annotations

import numpy as np
import pytest

from e2lm_scaling.forecast.approaches import approaches
from e2lm_scaling.forecast.table import table_of
from e2lm_scaling.laws.optimum import isoflop_optima

FLOPS = 1e21
ALPHA, BETA, A, B = 0.30, 0.36, 300.0, 1500.0


def best_size(flops):
    return (ALPHA * A / BETA / B) ** (1 / (ALPHA + BETA)) * (flops / 6) ** (BETA / (ALPHA + BETA))


def loss(params, tokens):
    return 1.7 + A / params**ALPHA + B / tokens**BETA


def isoflops(noise=0.0, seed=0):
    flops = np.repeat(np.geomspace(1e17, 1e20, 8), 13)
    params = best_size(flops) * np.tile(np.geomspace(1 / 40, 40, 13), 8)
    tokens = flops / 6 / params
    rng = np.random.default_rng(seed)
    return table_of(params, tokens, loss(params, tokens) * np.exp(noise * rng.standard_normal(len(flops))))


def test_isoflop_and_law_find_the_same_best_size_as_the_law_that_made_the_runs():
    envelope, isoflop, law = approaches(isoflops(), FLOPS, 0, np.random.default_rng(0), 0.8)
    assert "no budget" in envelope.reason or "budgets" in envelope.reason  # every run is its own series
    for one in (isoflop, law):
        assert one.exponent == pytest.approx(BETA / (ALPHA + BETA), abs=0.01)
        assert one.params == pytest.approx(best_size(FLOPS), rel=0.1)
        assert one.tokens(FLOPS) == pytest.approx(FLOPS / 6 / one.params)
    assert isoflop.budgets == 8


def test_the_interval_of_an_isoflop_exponent_holds_the_true_one_as_often_as_it_says():
    inside = sum(
        low <= BETA / (ALPHA + BETA) <= high
        for low, high in (
            approaches(isoflops(0.001, seed), FLOPS, 0, np.random.default_rng(0), 0.8)[1].exponent_interval
            for seed in range(20)
        )
    )
    assert 12 <= inside <= 20


def test_a_wide_grid_moves_no_isoflop_optimum_for_it_is_read_from_a_curve_through_the_runs():
    flops = np.repeat(np.geomspace(1e17, 1e20, 4), 16)
    params = best_size(flops) * np.tile(np.geomspace(1 / 300, 100, 16), 4)  # off-centre, and lowest between two sizes
    found = isoflop_optima(table_of(params, flops / 6 / params, loss(params, flops / 6 / params)))
    assert found.params_G == pytest.approx(best_size(found.flops_G), rel=0.1)
    assert found.params_law.exponent == pytest.approx(BETA / (ALPHA + BETA), abs=0.003)


def test_of_several_runs_of_one_size_and_budget_the_best_counts():
    one = isoflops()
    twice = table_of(*(np.concatenate(both) for both in (
        (one.params_R, one.params_R), (one.tokens_R, one.tokens_R), (one.loss_R, 1.3 * one.loss_R)
    )))  # fmt: skip
    assert isoflop_optima(twice).params_G == pytest.approx(isoflop_optima(one).params_G)


def test_a_budget_whose_lowest_loss_is_at_the_edge_of_its_sizes_is_left_out():
    flops = np.repeat(np.geomspace(1e17, 1e20, 6), 5)
    params = best_size(flops) * np.tile(np.geomspace(2, 30, 5), 6)
    table = table_of(params, flops / 6 / params, loss(params, flops / 6 / params))
    isoflop = approaches(table, FLOPS, 0, np.random.default_rng(0), 0.8)[1]
    assert isoflop.params is None
    assert "have an optimum inside their sizes" in isoflop.reason


def test_the_envelope_of_training_curves_needs_curves_of_several_sizes():
    params, tokens = (
        grid.ravel() for grid in np.meshgrid(np.geomspace(1e7, 3e9, 20), np.geomspace(1e8, 1e12, 60))
    )  # fmt: skip
    curves = table_of(params, tokens, loss(params, tokens), tuple(f"{n:.0f}" for n in params))
    envelope = approaches(curves, FLOPS, 0, np.random.default_rng(0), 0.8)[0]
    assert envelope.exponent == pytest.approx(BETA / (ALPHA + BETA), abs=0.05)
    two = np.isin(params, np.unique(params)[:2])
    few = table_of(params[two], tokens[two], loss(params, tokens)[two], tuple(f"{n:.0f}" for n in params[two]))
    assert "0 sizes only" in approaches(few, FLOPS, 0, np.random.default_rng(0), 0.8)[0].reason
