from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from e2lm_scaling.forecast.decide import POINT, Question, decide
from e2lm_scaling.forecast.gates import along, break_even, spender, stages, training_flops, turns
from e2lm_scaling.forecast.predictors import law_predictor
from e2lm_scaling.forecast.table import table_of


@pytest.fixture(scope="module")
def question() -> Question:
    rng = np.random.default_rng(0)
    flops = np.repeat(np.geomspace(1e17, 1e20, 5), 4)
    params = np.sqrt(flops / 120) * np.tile(np.geomspace(0.3, 3, 4), 5)
    tokens = flops / 6 / params
    loss = (1.7 + 400 / params**0.34 + 1000 / tokens**0.34) * np.exp(0.002 * rng.normal(size=20))
    row = int(np.argmax(params * tokens))
    forecaster = law_predictor("chinchilla-tied").fitted(table_of(params, tokens, loss), np.random.default_rng(0))
    return Question(forecaster, (float(params[row]), float(tokens[row])), 1e21, 1e-18, 3000.0, {})


@pytest.fixture(scope="module")
def found(question):
    return decide(question, np.random.default_rng(0))


def going_on(found):
    return next(one.option for one in found.valued if one.option.name == "continue")


def test_the_stages_of_a_plan_end_where_it_ends_and_cost_what_it_costs(question, found):
    proof, limited, full = stages(question, found)
    option = spender(found).option
    assert limited.cost + full.cost == pytest.approx(option.cost)
    assert (full.params, full.tokens) == (option.params, option.tokens)
    assert full.forecast.value == option.forecast.value
    assert proof.cost < limited.cost
    assert proof.forecast.value > limited.forecast.value > full.forecast.value
    assert proof.opens_next == proof.forecast.high
    assert full.opens_next is None


def test_a_plan_that_ends_at_the_loss_of_its_break_even_gains_nothing(question, found):
    option = going_on(found)
    saved = (question.observed - break_even(question, option)) / POINT
    assert saved * question.value_per_point == pytest.approx(option.cost)


def test_the_second_half_opens_below_the_forecast_where_the_plan_does_not_pay_and_above_it_where_it_does(question):
    for value, pays in ((1e6, True), (1.0, False)):
        valued = dataclasses.replace(question, value_per_point=value)
        limited = stages(valued, decide(valued, np.random.default_rng(0)))[1]
        assert (limited.opens_next > limited.forecast.value) is pays


def test_a_forecast_on_the_way_is_that_of_the_option_at_its_end_and_the_loss_now_at_its_start(question, found):
    option = going_on(found)
    assert along(question, option, option.tokens).value == pytest.approx(option.forecast.value)
    assert along(question, option, question.current[1]).value == pytest.approx(question.observed)
    spread = [along(question, option, tokens).log_half_width for tokens in np.geomspace(*(
        question.current[1] * 1.01, option.tokens), 5)]  # fmt: skip
    assert spread == sorted(spread)


def test_only_training_that_is_still_to_pay_counts_as_training(question, found):
    option = going_on(found)
    assert training_flops(question, option) == pytest.approx(question.flops)
    stop = next(one.option for one in found.valued if one.option.name == "stop")
    assert training_flops(question, stop) == 0.0


def test_where_the_choice_turns_the_other_option_is_chosen(question, found):
    turning = turns(question, found)
    assert turning
    for one in turning:
        beyond = one.value_per_point * (1.05 if one.price_factor < 1 else 0.95)
        valued = dataclasses.replace(question, value_per_point=beyond)
        again = decide(valued, np.random.default_rng(0))
        assert again.chosen.option.name == one.option.name
        assert one.price_factor == pytest.approx(question.value_per_point / one.value_per_point)
