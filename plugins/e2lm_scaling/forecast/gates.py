"""In which stages the money of a plan is let go, the loss that opens each, and what would turn the choice round.

A plan is paid in three parts: a proof of concept, the first half, the rest. Each next one is opened by a loss that is
seen, so that whoever pays can stop in between. Shape suffix: O options.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from e2lm.interval import ratio_interval
from e2lm.scaling_predictor import Forecast
from e2lm_scaling.forecast.decide import POINT, UNTRAINED, Decision, Option, Question, Valued, carried_on
from e2lm_scaling.forecast.plan import worth
from e2lm_scaling.laws.law import FLOPS_PER_PARAMETER_TOKEN
from e2lm_scaling.laws.objective import Array

#: Compute of the proof of concept where no experiment is worth its cost, as a share of the plan's.
SMALLEST_SHARE = 0.01
#: How far values and prices are moved to see whether the choice changes.
FARTHEST, MOVES = 100.0, 2_000


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a plan: the model at its end, what it costs, the loss forecast there.

    ``opens_next`` is the highest loss with which the next stage is worth its money; None where there is none.
    """

    name: Literal["proof", "limited", "full"]
    params: float
    tokens: float
    cost: float
    forecast: Forecast
    opens_next: float | None


def spender(found: Decision) -> Valued:
    """The best option that spends anything: the choice, or what comes after stopping."""
    return next(one for one in found.valued if one.option.name not in UNTRAINED)


def tokens_before(question: Question, option: Option) -> float:
    """Tokens that are paid already: those of the run that goes on."""
    return question.current[1] if option.kind == "continue" else 0.0


def training_flops(question: Question, option: Option) -> float:
    """Compute of the training that an option still pays for, without serving."""
    if option.name in UNTRAINED:
        return 0.0
    return FLOPS_PER_PARAMETER_TOKEN * option.params * (option.tokens - tokens_before(question, option))


def break_even(question: Question, option: Option) -> float:
    """The loss at its end with which an option earns its cost and no more.

    Its gain over stopping is the loss saved times the value of a point, less the cost.
    """
    points = option.cost / question.value_per_point
    return question.observed - POINT * points


def along(question: Question, option: Option, tokens: float) -> Forecast:
    """The forecast of an option's model after fewer tokens than at its end, made as that at the end was."""
    then = question.forecaster.predict(option.params, worth(tokens, question.limits))
    if option.kind == "continue":
        params, now = question.current
        return carried_on(question.observed, question.forecaster.predict(params, worth(now, question.limits)), then)
    if option.difference is None or then.low is None:
        return then
    ratio = float(np.exp(option.difference.difference))
    of_recipes = option.difference.interval[1] - option.difference.difference
    half = float(np.hypot(then.log_half_width, of_recipes))
    return Forecast(then.value * ratio, *ratio_interval(then.value * ratio, half), method=then.method)


def stages(question: Question, found: Decision) -> tuple[Stage, Stage, Stage]:
    """The three stages of the best option that spends anything.

    The rest is worth its money while the loss at half is no higher than forecast for a plan that earns its cost, and
    the first half after a proof of concept that ends inside its 90 % interval.
    """
    option = spender(found).option
    before, cost = tokens_before(question, option), question.cost_per_flop
    half = before + (option.tokens - before) / 2
    at_half, at_end = along(question, option, half), option.forecast
    spent = cost * FLOPS_PER_PARAMETER_TOKEN * option.params * (half - before)
    opens = at_half.value * break_even(question, option) / at_end.value
    return (
        _proof(question, found, option),
        Stage("limited", option.params, half, spent, at_half, opens),
        Stage("full", option.params, option.tokens, option.cost - spent, at_end, None),
    )


def _proof(question: Question, found: Decision, option: Option) -> Stage:
    """A run that goes on shows its next tokens; any other model is tried at a smaller size, as long per parameter."""
    experiment = found.experiment
    flops = SMALLEST_SHARE * training_flops(question, option) if experiment is None else experiment.flops
    if option.kind == "continue":
        params, tokens = option.params, option.tokens
        tokens = min(question.current[1] + flops / FLOPS_PER_PARAMETER_TOKEN / params, tokens)
    else:
        params = float(np.sqrt(flops / FLOPS_PER_PARAMETER_TOKEN * option.params / option.tokens))
        tokens = flops / FLOPS_PER_PARAMETER_TOKEN / params
    small = Option(
        option.name, option.words, params, tokens, 0.0, option.forecast, 0.0, 0.0, option.traced_to, option.difference
    )
    forecast = along(question, small, tokens)
    return Stage("proof", params, tokens, flops * question.cost_per_flop, forecast, forecast.high)


@dataclass(frozen=True, slots=True)
class Turn:
    """The nearest ``value_per_point`` at which another option has the highest expected gain, all else as it is.

    Compute that costs ``price_factor`` times as much turns the choice in the same way.
    """

    value_per_point: float
    price_factor: float
    option: Option


def turns(question: Question, found: Decision) -> tuple[Turn, ...]:
    """Where the choice turns when a point is worth less, and when more; nothing within a hundredfold, no turn."""
    cost_O = np.array([one.option.cost for one in found.valued])
    worth_O = np.array([one.gain for one in found.valued]) + cost_O
    moves = np.geomspace(1.0, FARTHEST, MOVES)
    nearest = (_turned(found, worth_O, cost_O, factors, question) for factors in (1 / moves, moves))
    return tuple(one for one in nearest if one is not None)


def _turned(found: Decision, worth_O: Array, cost_O: Array, factors: Array, question: Question) -> Turn | None:
    for factor in factors[1:]:
        best = int(np.argmax(factor * worth_O - cost_O))
        if best:  # the choice is the first
            value = float(factor) * question.value_per_point
            return Turn(value, float(1 / factor), found.valued[best].option)
    return None
