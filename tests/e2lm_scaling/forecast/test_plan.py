from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from e2lm import UserError
from e2lm_scaling.cli.plan import HardwarePrice
from e2lm_scaling.forecast.plan import Constraints, plan
from e2lm_scaling.forecast.table import table_of
from e2lm_scaling.laws.fit import bootstrap, fit, floor_profile
from e2lm_scaling.laws.optimum import envelope_optima, isoflop_optima, optimum
from e2lm_scaling.laws.power_sum import A

FLOPS = 1e22


@pytest.fixture(scope="module")
def best():
    rng = np.random.default_rng(0)
    flops = np.repeat(np.geomspace(1e18, 1e21, 6), 9)
    params = np.sqrt(flops / 120) * np.tile(np.geomspace(0.2, 5, 9), 6)
    tokens = flops / 6 / params
    loss = (1.7 + 400 / params**0.34 + 1000 / tokens**0.34) * np.exp(0.002 * rng.normal(size=54))
    return fit(table_of(params, tokens, loss), "chinchilla-tied")


@pytest.fixture(scope="module")
def draws(best):
    return bootstrap(best, 50, np.random.default_rng(0))


def test_a_free_plan_is_the_closed_form_with_intervals_around_it(best, draws):
    found = plan(best, FLOPS, draws, Constraints())
    exact = optimum(best.theta_T[None], FLOPS)
    assert found.params == pytest.approx(float(exact.params_B[0]))
    assert 6 * found.params * found.tokens == pytest.approx(FLOPS)
    assert found.params_interval[0] < found.params < found.params_interval[1]
    assert found.loss.low is not None
    assert "backtest-calibrated" in str(found.loss.method)
    assert found.binding == ()


def test_a_smaller_model_trains_longer_and_is_worse(best, draws):
    free = plan(best, FLOPS, draws, Constraints())
    small = plan(best, FLOPS, draws, Constraints(max_params=free.params / 4))
    assert small.params <= free.params / 4
    assert small.tokens > free.tokens
    assert small.loss.value > free.loss.value
    assert small.binding == ("max_params",)


def test_scarce_data_favours_larger_models_and_says_epochs(best, draws):
    free = plan(best, FLOPS, draws, Constraints())
    scarce = plan(best, FLOPS, draws, Constraints(unique_tokens=free.tokens / 20))
    assert scarce.params > free.params
    assert scarce.epochs > 1
    assert scarce.loss.value > free.loss.value


def test_inference_and_over_training_favour_smaller_models(best, draws):
    free = plan(best, FLOPS, draws, Constraints())
    served = plan(best, FLOPS, draws, Constraints(inference_tokens=5 * free.tokens))
    longer = plan(best, FLOPS, draws, Constraints(min_tokens_per_param=10 * free.tokens / free.params))
    assert served.params < free.params
    assert longer.params < free.params
    assert longer.tokens / longer.params >= 0.99 * 10 * free.tokens / free.params


def test_constraints_that_no_model_meets_are_explained(best, draws):
    with pytest.raises(UserError, match="no model meets"):
        plan(best, 1e15, draws, Constraints(max_params=1e5, min_tokens_per_param=1e12))
    with pytest.raises(UserError, match="above 0 FLOPs"):
        plan(best, 0.0, draws, Constraints())


def test_money_buys_gpu_hours_at_a_price():
    price = HardwarePrice(1e15, 0.5, price_per_gpu_hour=2.0)
    assert price.flops(None, 200.0) == pytest.approx(100 * 0.5e15 * 3600)
    with pytest.raises(UserError, match="price-per-gpu-hour"):
        HardwarePrice().flops(None, 200.0)
    with pytest.raises(UserError, match="utilisation"):
        dataclasses.replace(price, utilisation=40.0)


def test_isoflop_parabolas_and_envelopes_find_the_exponent(best):
    table = best.table
    found = isoflop_optima(table)
    assert found.params_law.exponent == pytest.approx(0.5, abs=0.05)
    assert found.tokens_law.exponent == pytest.approx(1 - found.params_law.exponent, abs=1e-6)
    params, tokens = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e7, 1e9, 25), np.geomspace(1e8, 1e11, 40)))
    curves = table_of(params, tokens, best.loss(params, tokens), tuple(f"{n:.0f}" for n in params))
    envelope = envelope_optima(curves)
    assert envelope.params_law.exponent == pytest.approx(0.5, abs=0.05)


def test_one_budget_is_no_isoflop_law(best):
    with pytest.raises(UserError, match="2 budgets"):
        isoflop_optima(table_of(best.table.params_R[:9], best.table.tokens_R[:9], best.table.loss_R[:9]))


def test_the_profile_of_a_determined_floor_rises_on_both_sides(best):
    profile = floor_profile(best)
    assert profile is not None
    assert profile.determined
    lowest = profile.objectives.index(min(profile.objectives))
    assert profile.floors[lowest] == pytest.approx(best.params["E"])


@pytest.mark.parametrize("coverage", [0.8, 0.5])
def test_the_interval_of_n_is_that_of_the_draws_and_holds_the_sizes_that_are_equally_good(best, draws, coverage):
    theta_BT = np.repeat(best.theta_T[None], 50, axis=0)
    theta_BT[:, A] += np.linspace(-0.8, 0.8, 50)
    spread = dataclasses.replace(draws, theta_BT=theta_BT)
    found = plan(best, FLOPS, spread, Constraints(), coverage)
    drawn = optimum(spread.theta_BT, FLOPS).params_B
    low, high = np.quantile(drawn, [(1 - coverage) / 2, (1 + coverage) / 2])
    assert low < found.equally_good[0]  # the draws have a say
    assert high > found.equally_good[1]
    assert found.params_interval[0] == pytest.approx(min(low, found.equally_good[0]), rel=0.01)
    assert found.params_interval[1] == pytest.approx(max(high, found.equally_good[1]), rel=0.01)
    assert [6 * found.params_interval[k] * found.tokens_interval[1 - k] for k in (0, 1)] == pytest.approx([FLOPS] * 2)


def test_without_another_word_the_interval_of_n_is_one_of_80_percent(best, draws):
    assert plan(best, FLOPS, draws, Constraints()) == plan(best, FLOPS, draws, Constraints(), 0.8)


def test_a_coverage_that_is_no_share_is_refused(best, draws):
    with pytest.raises(UserError, match="--coverage: found 80"):
        plan(best, FLOPS, draws, Constraints(), 80.0)
