from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from e2lm import Forecast, ScalingPredictor, UserError
from e2lm.interval import Interval
from e2lm_scaling.forecast.calibration import calibrated, distance_beyond
from e2lm_scaling.forecast.comparison import LossDifference, compare_models, compare_recipes
from e2lm_scaling.forecast.decide import Option, Question, Valued, _experiment, _removed, decide
from e2lm_scaling.forecast.plan import Constraints
from e2lm_scaling.forecast.predictors import DRIFT, law_predictor
from e2lm_scaling.forecast.table import table_of


def runs(shift: float = 0.0, seed: int = 0):
    rng = np.random.default_rng(seed)
    flops = np.repeat(np.geomspace(1e17, 1e20, 7), 5)
    params = np.sqrt(flops / 120) * np.tile(np.geomspace(0.3, 3, 5), 7)
    tokens = flops / 6 / params
    loss = 1.7 + 400 / params**0.34 + 1000 / tokens**0.34
    return table_of(params, tokens, loss * np.exp(shift + 0.002 * rng.normal(size=35)))


@pytest.fixture(scope="module")
def question() -> Question:
    table = runs()
    row = int(np.argmax(table.params_R * table.tokens_R))
    current = float(table.params_R[row]), float(table.tokens_R[row])
    forecaster = law_predictor("chinchilla-tied").fitted(table, np.random.default_rng(0))
    return Question(forecaster, current, 1e22, 1e-19, 1000.0, {})


@pytest.fixture(scope="module")
def decision(question):
    return decide(question, np.random.default_rng(0))


def test_a_valuable_point_says_spend_and_an_expensive_flop_says_stop(question, decision):
    assert decision.chosen.option.name != "stop"
    assert decision.chosen.gain > 0
    dear = decide(dataclasses.replace(question, cost_per_flop=1e-15), np.random.default_rng(0))
    assert dear.chosen.option.name == "stop"
    assert dear.decided


def test_probabilities_of_being_best_add_to_one_and_regret_is_their_rest(decision):
    total = sum(one.best_probability for one in decision.valued)
    assert total == pytest.approx(1.0)
    assert decision.regret_probability == pytest.approx(1 - decision.chosen.best_probability)
    assert decision.expected_regret >= 0
    for one in decision.valued:
        assert one.gain_interval[0] <= one.gain <= one.gain_interval[1]
        assert one.option.traced_to


def test_better_data_are_preferred_and_equal_data_are_not_decided(question):
    better = decide(dataclasses.replace(question, others={"clean": runs(-0.05)}), np.random.default_rng(0))
    chances = {one.option.name: one.gain for one in better.valued}
    assert chances["data-clean"] > max(chances["stop"], chances["continue"])


def test_every_option_costs_no_more_than_the_budget_and_what_is_not_the_current_run_is_trained_from_scratch(question):
    small = dataclasses.replace(question, flops=1e19, others={"clean": runs(-0.05, 1)})
    tokens = question.current[1]
    names = set()
    for one in decide(small, np.random.default_rng(0)).valued:
        option = one.option
        spent = 6 * option.params * (option.tokens - (tokens if option.name.startswith(("stop", "continue")) else 0))
        assert spent <= 1e19 * (1 + 1e-9)
        assert option.cost == pytest.approx(spent * question.cost_per_flop)
        names.add(option.name)
    assert {"stop", "continue", "continue-half", "data-clean"} <= names


def test_better_data_that_the_budget_cannot_pay_for_do_not_beat_going_on(question):
    """A tenth of the run's own cost trains a far smaller model, which no data of three percent makes up for."""
    params, tokens = question.current
    small = dataclasses.replace(question, flops=0.6 * params * tokens, others={"clean": runs(-0.03, 1)})
    found = decide(small, np.random.default_rng(0))
    assert found.chosen.option.kind == "continue"
    losses = {one.option.name: one.loss for one in found.valued}
    assert losses["data-clean"] > losses["stop"]


@pytest.mark.parametrize("luck", [-0.03, 0.0, 0.03])
def test_a_run_that_goes_on_is_forecast_from_where_it_is(question, luck):
    """Above the law's line or below it: more training lowers its loss, by the law's ratio."""
    table = runs()
    row = int(np.argmax(table.params_R * table.tokens_R))
    loss_R = table.loss_R.copy()
    loss_R[row] *= np.exp(luck)
    lucky = table_of(table.params_R, table.tokens_R, loss_R)
    forecaster = law_predictor("chinchilla-tied").fitted(lucky, np.random.default_rng(0))
    params, tokens = question.current
    found = decide(dataclasses.replace(question, forecaster=forecaster), np.random.default_rng(0))
    losses = {one.option.name: one.loss for one in found.valued}
    then, now = (forecaster.predict(params, one).value for one in (tokens + 1e22 / 6 / params, tokens))
    assert losses["stop"] == pytest.approx(loss_R[row])
    assert losses["continue"] == pytest.approx(loss_R[row] * then / now)
    assert losses["continue"] < losses["continue-half"] < losses["stop"]


def test_no_option_breaks_the_limits(question):
    limits = Constraints(max_params=1e8, unique_tokens=1e11)
    found = decide(dataclasses.replace(question, limits=limits), np.random.default_rng(0))
    assert all(one.option.params <= 1e8 for one in found.valued if one.option.name.startswith("move"))
    free = decide(question, np.random.default_rng(0))
    ends = [next(one.loss for one in each.valued if one.option.name == "continue") for each in (found, free)]
    assert ends[0] > ends[1], "repeated tokens are worth less"


def test_where_the_split_is_not_determined_no_other_size_is_offered_and_the_reason_is_said(question):
    params = np.geomspace(1e7, 1e9, 12)
    line = table_of(params, 20 * params, 1.7 + 400 / params**0.34 + 1000 / (20 * params) ** 0.34)
    forecaster = law_predictor("chinchilla-tied").fitted(line, np.random.default_rng(0))
    asked = dataclasses.replace(question, forecaster=forecaster, current=(1e9, 2e10))
    found = decide(asked, np.random.default_rng(0))
    assert {one.option.kind for one in found.valued} == {"stop", "continue"}
    assert "do not tell how to split" in found.left_out["move"]


def test_options_that_hardly_differ_are_not_decided(question):
    # A price at which spending gains about as much as it costs.
    free = decide(dataclasses.replace(question, cost_per_flop=0.0), np.random.default_rng(0))
    even = free.chosen.gain / question.flops
    close = decide(dataclasses.replace(question, cost_per_flop=even), np.random.default_rng(0))
    assert not close.decided
    assert close.regret_probability > 0.25


def test_an_experiment_is_offered_only_where_it_is_worth_its_cost(question):
    # Two recipes that few runs tell apart, each to be trained from scratch.
    option = Option("data-a", "", 1e9, 1e22 / 6e9, 0.0, Forecast(2.0, 1.9, 2.1), 0.0, 0.02, "", None)
    other = dataclasses.replace(option, name="data-b", difference=LossDifference(0.0, 0.02, 4))
    two = [Valued(one, 2.0, Interval(1.9, 2.1), 0.0, Interval(0, 1), 0.5) for one in (option, other)]
    close = _experiment(dataclasses.replace(question, cost_per_flop=1e-20), two)
    assert close is not None
    assert close.value > close.cost > 0
    assert _experiment(dataclasses.replace(question, cost_per_flop=1e-12), two) is None


def test_a_run_that_goes_on_for_a_while_shows_its_slope(question):
    tokens = question.current[1]
    option = Option("continue", "", 1e9, 4 * tokens, 0.0, Forecast(2.0, 1.9, 2.1), 0.0, 0.02, "")
    still = dataclasses.replace(option, name="stop", tokens=tokens, own=0.0)
    scale = question.value_per_point / 0.01 * 2.0
    removed = _removed(question, [option, still], 6 * 1e9 * tokens)  # twice the tokens: half of the way
    assert removed == pytest.approx(scale * 0.02 * np.sqrt(1 - 0.25))


def test_same_seed_same_decision(question, decision):
    assert decide(question, np.random.default_rng(0)) == decision


def test_a_current_run_that_is_not_in_the_table_is_refused(question):
    with pytest.raises(UserError, match="no row of the table"):
        decide(dataclasses.replace(question, current=(1.0, 1.0)), np.random.default_rng(0))
    with pytest.raises(UserError, match="budget above 0"):
        decide(dataclasses.replace(question, flops=0.0), np.random.default_rng(0))


def test_recipes_are_compared_on_runs_of_equal_size():
    better = compare_recipes(runs(-0.03, 1), runs(0.0, 2), 1e22)
    assert better.first_is_better > 0.95
    assert better.interval[0] < better.difference < better.interval[1]
    near, far = (
        compare_recipes(runs(-0.005, 1), runs(0.0, 2), 2e20),
        compare_recipes(runs(-0.005, 1), runs(0.0, 2), 1e24),
    )
    assert near.stderr < far.stderr
    shifted = table_of(runs().params_R * 2, runs().tokens_R, runs().loss_R)
    with pytest.raises(UserError, match="no run of one recipe"):
        compare_recipes(runs(), shifted, 1e22)


def test_models_of_one_recipe_are_compared_by_their_forecasts():
    forecaster = law_predictor("chinchilla-tied").fitted(runs(), np.random.default_rng(0))
    found = compare_models(forecaster, (1e9, 2e10), (1e9, 1e10))
    assert found.difference < 0
    assert found.first_is_better > 0.9


def test_intervals_of_losses_and_gains_are_the_middle_90_percent(question, decision):
    stop = next(one.loss for one in decision.valued if one.option.name == "stop")
    assert len(decision.valued) == 4
    for one in decision.valued:
        half = 1.6448536 * float(np.hypot(one.option.common, one.option.own))
        assert np.log(one.loss_interval[1] / one.loss) == pytest.approx(half, rel=1e-6)
        assert np.log(one.loss / one.loss_interval[0]) == pytest.approx(half, rel=1e-6)
        assert one.loss_interval == (one.option.forecast.low, one.option.forecast.high)
        gains = (stop - np.array(one.loss_interval)) / 0.01 * question.value_per_point - one.option.cost
        assert one.gain_interval == pytest.approx((gains[1], gains[0]), abs=0.03 * (gains[0] - gains[1]) + 1e-6)


def test_an_option_is_as_unsure_as_the_backtest_of_its_model_says(question, decision):
    learn = question.forecaster.predictor.learn
    calibration = calibrated(learn, DRIFT["chinchilla-tied"], question.table, learn(question.table))
    moved = next(one.option for one in decision.valued if one.option.name.startswith("move"))
    half = calibration.half_width(distance_beyond(question.table, moved.params, moved.tokens))
    assert np.hypot(moved.common, moved.own) == pytest.approx(half / 1.6448536)
    assert moved.own == pytest.approx(calibration.noise)


def test_other_data_are_as_unsure_as_the_forecast_and_the_difference_of_matched_runs_together(question):
    decision = decide(dataclasses.replace(question, others={"clean": runs(-0.05, 1)}), np.random.default_rng(0))
    other = next(one for one in decision.valued if one.option.name == "data-clean")
    base = question.forecaster.predict(other.option.params, other.option.tokens)
    difference = compare_recipes(runs(-0.05, 1), question.table, 6 * other.option.params * other.option.tokens)
    half = np.hypot(base.log_half_width, difference.interval[1] - difference.difference)
    assert other.loss == pytest.approx(base.value * np.exp(difference.difference))
    assert np.log(other.loss_interval[1] / other.loss) == pytest.approx(half)
    assert np.log(other.loss / other.loss_interval[0]) == pytest.approx(half)


def test_a_forecast_that_gives_no_draws_is_drawn_from_the_two_sides_of_its_own_interval(question):
    class Known:
        def predict(self, params, tokens):
            return Forecast(2.0, 1.9, 2.3, method="known")

    known = ScalingPredictor("known", "Says the same of every model.", lambda table, rng: Known())
    forecaster = known.fitted(question.table, np.random.default_rng(0))
    decision = decide(dataclasses.replace(question, forecaster=forecaster), np.random.default_rng(0))
    stop = next(one.loss for one in decision.valued if one.option.name == "stop")
    for one in decision.valued:
        if one.option.name.startswith("move"):
            ends = [(stop - loss) / 0.01 * question.value_per_point - one.option.cost for loss in (2.3, 1.9)]
            assert one.gain_interval == pytest.approx(ends, abs=0.04 * (ends[1] - ends[0]))


def test_an_experiment_is_worth_what_a_better_informed_choice_gains(question):
    """One more matched pair halves the variance of a difference; one draw of what is learnt at a time says so."""
    forecast = Forecast(2.0, 1.9, 2.1)
    difference = LossDifference(0.0, 0.03, 4)
    first, second = (
        Valued(
            Option(name, name, 1e9, 4e20 / 6 / 1e9, 0.0, forecast, 0.0, 0.02, "", found),
            2.0,
            Interval(1.9, 2.1),
            gain,
            Interval(0, 1),
            0.5,
        )
        for name, gain, found in (("one", 1000.0, None), ("other", 0.0, difference))
    )
    found = _experiment(dataclasses.replace(question, flops=4e21, cost_per_flop=0.0), [first, second])
    learnt = 1000.0 + 1000.0 / 0.01 * 2.0 * 0.03 * np.sqrt(0.5) * np.random.default_rng(0).normal(size=2_000_000)
    assert found.value == pytest.approx(np.maximum(learnt, 0).mean() - 1000.0, rel=0.005)


def test_a_small_experiment_is_offered_while_a_large_run_is_in_the_table(question):
    close = dataclasses.replace(question, flops=1e18, cost_per_flop=0.0, others={"clean": runs(0.0, 3)})
    option = next(one for one in decide(close, np.random.default_rng(0)).valued if one.option.difference is not None)
    rival = dataclasses.replace(option, option=dataclasses.replace(option.option, name="one", difference=None))
    assert _experiment(close, [rival, option]) is not None


def test_an_experiment_shortens_the_common_error_by_the_distance_it_bridges(question):
    flops, largest = 6e21, float((6 * question.table.params_R * question.table.tokens_R).max())
    forecast, size = Forecast(2.0, 1.9, 2.1), np.sqrt(flops / 120)
    first, second = (
        Valued(
            Option(name, name, size, 20 * size, 0.0, forecast, common, 0.0, ""),
            2.0,
            Interval(1.9, 2.1),
            0.0,
            Interval(0, 1),
            0.5,
        )
        for name, common in (("one", 0.05), ("other", 0.01))
    )
    found = _experiment(dataclasses.replace(question, flops=flops, cost_per_flop=0.0), [first, second])
    assert found.flops == pytest.approx(0.1 * flops)
    left = np.log(1 / 0.1) / np.log(flops / largest)
    removed = 1000.0 / 0.01 * 2.0 * 0.04 * np.sqrt(1 - left**2)
    assert found.value == pytest.approx(removed / np.sqrt(2 * np.pi))
