from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from e2lm import Forecast, ScalingPredictor, UserError
from e2lm_scaling.cli.plan import HardwarePrice
from e2lm_scaling.forecast.plan import AverageDraws, Constraints, plan
from e2lm_scaling.forecast.predictors import FittedLaw, law_predictor
from e2lm_scaling.forecast.table import table_of
from e2lm_scaling.laws.fit import Fit, bootstrap, floor_profile
from e2lm_scaling.laws.law import LAWS
from e2lm_scaling.laws.objective import Objective
from e2lm_scaling.laws.optimum import envelope_optima, isoflop_optima, optimum
from e2lm_scaling.laws.power_sum import A

FLOPS = 1e22


@pytest.fixture(scope="module")
def forecaster():
    rng = np.random.default_rng(0)
    flops = np.repeat(np.geomspace(1e18, 1e21, 6), 9)
    params = np.sqrt(flops / 120) * np.tile(np.geomspace(0.2, 5, 9), 6)
    tokens = flops / 6 / params
    loss = (1.7 + 400 / params**0.34 + 1000 / tokens**0.34) * np.exp(0.002 * rng.normal(size=54))
    predictor = law_predictor("chinchilla-tied").minimising(Objective())
    return predictor.fitted(table_of(params, tokens, loss), np.random.default_rng(0))


@pytest.fixture(scope="module")
def best(forecaster) -> Fit:
    assert isinstance(forecaster.own, FittedLaw)
    return forecaster.own.fit


@pytest.fixture(scope="module")
def draws(best):
    return bootstrap(best, 50, np.random.default_rng(0))


def test_a_free_plan_is_the_closed_form_with_intervals_around_it(forecaster, best, draws):
    found = plan(forecaster, FLOPS, Constraints(), draws)
    exact = optimum(best.theta_T[None], FLOPS)
    assert found.params == pytest.approx(float(exact.params_B[0]))
    assert 6 * found.params * found.tokens == pytest.approx(FLOPS)
    assert found.params_interval[0] < found.params < found.params_interval[1]
    assert found.loss.low is not None
    assert "backtest-calibrated" in str(found.loss.method)
    assert found.binding == ()


def test_a_smaller_model_trains_longer_and_is_worse(forecaster, draws):
    free = plan(forecaster, FLOPS, Constraints(), draws)
    small = plan(forecaster, FLOPS, Constraints(max_params=free.params / 4), draws)
    assert small.params <= free.params / 4
    assert small.tokens > free.tokens
    assert small.loss.value > free.loss.value
    assert small.binding == ("max_params",)


def test_scarce_data_favours_larger_models_and_says_epochs(forecaster, draws):
    free = plan(forecaster, FLOPS, Constraints(), draws)
    scarce = plan(forecaster, FLOPS, Constraints(unique_tokens=free.tokens / 20), draws)
    assert scarce.params > free.params
    assert scarce.epochs > 1
    assert scarce.loss.value > free.loss.value


def test_inference_and_over_training_favour_smaller_models(forecaster, draws):
    free = plan(forecaster, FLOPS, Constraints(), draws)
    served = plan(forecaster, FLOPS, Constraints(inference_tokens=5 * free.tokens), draws)
    longer = plan(forecaster, FLOPS, Constraints(min_tokens_per_param=10 * free.tokens / free.params), draws)
    assert served.params < free.params
    assert longer.params < free.params
    assert longer.tokens / longer.params >= 0.99 * 10 * free.tokens / free.params


def test_constraints_that_no_model_meets_are_explained(forecaster, draws):
    with pytest.raises(UserError, match="no model meets"):
        plan(forecaster, 1e15, Constraints(max_params=1e5, min_tokens_per_param=1e12), draws)
    with pytest.raises(UserError, match="above 0 FLOPs"):
        plan(forecaster, 0.0, Constraints(), draws)


def test_a_stranger_who_is_asked_size_by_size_finds_the_optimum_of_the_same_law(forecaster, best):
    class Asked:
        def predict(self, params: float, tokens: float) -> Forecast:
            return Forecast(float(best.loss(params, tokens)), reason="none")

    stranger = ScalingPredictor("asked", "The same law.", lambda table, rng: Asked())
    asked = stranger.fitted(best.table, np.random.default_rng(0))
    for constraints in (
        Constraints(), Constraints(max_params=1e9), Constraints(unique_tokens=1e10),
        Constraints(min_tokens_per_param=100, inference_tokens=1e12),
    ):  # fmt: skip
        found, exact = plan(asked, FLOPS, constraints), plan(forecaster, FLOPS, constraints)
        assert found.params == pytest.approx(exact.params, rel=0.003)
        assert found.loss.value == pytest.approx(exact.loss.value, rel=1e-4)
        assert found.binding == exact.binding
        assert found.equally_good == pytest.approx(exact.equally_good, rel=0.07)
        assert found.params_interval == found.equally_good
        assert "the error of asked itself is not in them" in found.interval_method


def test_a_plan_is_refused_where_the_predictor_forecasts_no_size_of_the_budget(best):
    def refuse(params: float, tokens: float) -> Forecast:
        raise UserError("not here")

    stranger = ScalingPredictor("shy", "Nothing.", lambda table, rng: SimpleNamespace(predict=refuse))
    with pytest.raises(UserError, match="'shy' forecasts no loss at any size"):
        plan(stranger.fitted(best.table, np.random.default_rng(0)), FLOPS, Constraints())


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
def test_the_interval_of_n_is_that_of_the_draws_and_holds_sizes_as_good(forecaster, best, draws, coverage):
    theta_BT = np.repeat(best.theta_T[None], 50, axis=0)
    theta_BT[:, A] += np.linspace(-0.8, 0.8, 50)
    spread = dataclasses.replace(draws, theta_BT=theta_BT)
    found = plan(forecaster, FLOPS, Constraints(), spread, coverage)
    drawn = optimum(spread.theta_BT, FLOPS).params_B
    low, high = np.quantile(drawn, [(1 - coverage) / 2, (1 + coverage) / 2])
    assert low < found.equally_good[0]  # the draws have a say
    assert high > found.equally_good[1]
    assert found.params_interval[0] == pytest.approx(min(low, found.equally_good[0]), rel=0.01)
    assert found.params_interval[1] == pytest.approx(max(high, found.equally_good[1]), rel=0.01)
    assert [6 * found.params_interval[k] * found.tokens_interval[1 - k] for k in (0, 1)] == pytest.approx([FLOPS] * 2)


def test_without_another_word_the_interval_of_n_is_one_of_80_percent(forecaster, draws):
    assert plan(forecaster, FLOPS, Constraints(), draws) == plan(forecaster, FLOPS, Constraints(), draws, 0.8)


def test_a_coverage_that_is_no_share_is_refused(forecaster, draws):
    with pytest.raises(UserError, match="--coverage: found 80"):
        plan(forecaster, FLOPS, Constraints(), draws, 80.0)


def ladder_of(ratios, budgets=8):
    flops, ratio = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e17, 1e20, budgets), ratios))
    params = np.sqrt(flops / 6 / ratio)
    loss = 1.7 + 400 / params**0.34 + 1000 / (ratio * params) ** 0.34
    return table_of(params, ratio * params, loss * np.exp(0.001 * np.random.default_rng(0).normal(size=len(params))))


@pytest.mark.parametrize("ratios", [[20.0], [19.0, 21.0]])
def test_runs_of_one_ratio_of_tokens_to_parameters_do_not_plan_and_say_what_would(ratios):
    forecaster = law_predictor("chinchilla").fitted(ladder_of(ratios), np.random.default_rng(0))
    with pytest.raises(UserError, match=r"do not tell how to split.*what would settle it: two more runs, N="):
        plan(forecaster, 1e22, Constraints())


def test_runs_of_several_ratios_plan_with_the_best_size_inside_its_interval():
    forecaster = law_predictor("chinchilla").fitted(ladder_of([5.0, 20.0, 80.0]), np.random.default_rng(0))
    draws = bootstrap(forecaster.own.fit, 20, np.random.default_rng(0))
    for flops in (1e20, 1e24):
        found = plan(forecaster, flops, Constraints(), draws)
        assert found.params_interval[0] <= found.params <= found.params_interval[1]
        assert found.params_interval[0] < 0.4 ** (1 / 0.68) * np.sqrt(flops / 6) < found.params_interval[1]


def test_a_size_that_nobody_could_mean_is_refused():
    """Where hardly anything depends on D the best model is as large as numbers go."""
    n, d = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 3)))
    flat = table_of(n, d, (1.7 + 400 / n**0.34) * d**-1e-5)
    forecaster = law_predictor("chinchilla").fitted(flat, np.random.default_rng(0))
    with pytest.raises(UserError, match="split"):
        plan(forecaster, 1e26, Constraints())


def test_the_interval_of_an_average_holds_the_best_sizes_of_its_laws_with_a_floor(best):
    """The mean of three laws is sure of itself where they are not agreed."""
    flatter, kaplan = best.theta_T.copy(), best.theta_T.copy()
    flatter[A] -= 0.7
    kaplan[A] += 9.0
    laws = (best.law, best.law, LAWS["kaplan"])
    draws = AverageDraws(laws, np.stack([np.repeat(one[None], 5, axis=0) for one in (best.theta_T, flatter, kaplan)]))
    sizes = np.geomspace(1e6, 1e13, 2000)
    drawn, of_laws = draws.best_sizes(sizes, FLOPS / 6 / sizes)
    expected = [float(optimum(one[None], FLOPS).params_B[0]) for one in (best.theta_T, flatter)]
    assert of_laws == pytest.approx(np.repeat(expected, 5), rel=0.01)
    assert len(drawn) == 5
    assert drawn.min() > max(expected)  # pulled away by the law without a floor
