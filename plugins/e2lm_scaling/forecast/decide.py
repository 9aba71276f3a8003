"""Continue, stop, or move the budget? The options' forecasts, what they are worth, and how sure one can be.

Options are weighed by draws. Where the predictor gives draws of its own, those of one number belong together, so that
errors which options have in common cancel, and every run adds its own noise; where it gives none, options err
independently, within their intervals.
Shape suffixes: O options, M draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm

from e2lm.errors import UserError
from e2lm.interval import Interval, normal_quantile, percentile_interval, ratio_interval
from e2lm.scaling_predictor import Forecast, Forecaster, LossTable
from e2lm_scaling.forecast.calibration import DRAWS
from e2lm_scaling.forecast.comparison import LossDifference, compare_recipes
from e2lm_scaling.forecast.table import flops_of
from e2lm_scaling.laws.fit import fit
from e2lm_scaling.laws.law import FLOPS_PER_PARAMETER_TOKEN
from e2lm_scaling.laws.objective import Array
from e2lm_scaling.messages import say

#: A point is a hundredth of the unit of the loss.
POINT = 0.01
#: Below this probability of being best the data do not decide.
DECIDED = 0.75
#: Compute of the small experiments that are offered, as shares of the budget.
EXPERIMENT_SHARES = (0.003, 0.01, 0.03, 0.1)


@dataclass(frozen=True, slots=True)
class Option:
    """What one could do: its final model, cost, and forecast.

    ``common`` and ``own`` are standard deviations of ln L: of what all options of a table share, and of it alone.
    """

    name: str
    words: str
    params: float
    tokens: float
    cost: float
    forecast: Forecast
    common: float
    own: float
    traced_to: str


@dataclass(frozen=True, slots=True)
class Valued:
    """An option with its gain over stopping (in money, after cost) and the probability that it is best.

    ``loss_interval`` is the forecast's own.
    """

    option: Option
    loss: float
    loss_interval: Interval
    gain: float
    gain_interval: Interval
    best_probability: float


@dataclass(frozen=True, slots=True)
class Experiment:
    """A small run that could change the choice: what it costs and how much better the choice is worth with it."""

    words: str
    flops: float
    cost: float
    value: float


@dataclass(frozen=True, slots=True)
class Decision:
    """All options, the best first; ``decided`` is False where the data cannot tell the first two apart.

    ``independent``: the predictor gives no draws, so that the errors of its forecasts were taken as independent.
    """

    valued: tuple[Valued, ...]
    decided: bool
    regret_probability: float
    expected_regret: float
    experiment: Experiment | None
    independent: bool

    @property
    def chosen(self) -> Valued:
        """The option of highest expected gain."""
        return self.valued[0]


@dataclass(frozen=True, slots=True)
class Question:
    """Who forecasts, which run could go on, the budget (FLOPs), its price and what a point of loss is worth.

    ``others`` are runs of other recipes (data) with the N and D of some runs of ``table``, those so far.
    """

    forecaster: Forecaster
    current: tuple[float, float]
    flops: float
    cost_per_flop: float
    value_per_point: float
    others: Mapping[str, LossTable]

    @property
    def table(self) -> LossTable:
        """The runs so far, to which the forecaster was fitted."""
        return self.forecaster.table


def decide(question: Question, rng: np.random.Generator) -> Decision:
    """The decision of highest expected gain, its chance of regret, and the experiment most worth making."""
    if not question.flops > 0 or not question.cost_per_flop >= 0 or not question.value_per_point > 0:
        raise UserError("decide needs a budget above 0, a cost of at least 0 and a value per point above 0")
    options, loss_MO = _options(question, rng)
    gain_MO = _gains(question, options, loss_MO)
    best_M = gain_MO.argmax(axis=1)
    valued = [
        Valued(
            option, option.forecast.value, _ends(option.forecast), float(gain_MO[:, index].mean()),
            percentile_interval(gain_MO[:, index]), float(np.mean(best_M == index)),
        )
        for index, option in enumerate(options)
    ]  # fmt: skip
    order = sorted(range(len(options)), key=lambda index: -valued[index].gain)
    chosen = order[0]
    regret = float((gain_MO.max(axis=1) - gain_MO[:, chosen]).mean())
    probability = valued[chosen].best_probability
    experiment = _experiment(question, [valued[index] for index in order[:2]]) if len(order) > 1 else None
    independent = any(option.forecast.draws_S is None for option in options[1:])
    ranked = tuple(valued[index] for index in order)
    return Decision(ranked, probability >= DECIDED, 1.0 - probability, regret, experiment, independent)


def _ends(forecast: Forecast) -> Interval:
    if forecast.low is None or forecast.high is None:
        raise UserError(
            f"the forecast has no interval ({forecast.reason}), so no option can be judged; take a predictor that "
            "gives one, or add small runs (8 and more, of several sizes)"
        )
    return Interval(forecast.low, forecast.high)


def _options(question: Question, rng: np.random.Generator) -> tuple[list[Option], Array]:
    """What one could do, and the losses drawn of each."""
    options = [_stop(question), *_own_options(question)]
    drawn = [_drawn(option, rng) for option in options[1:]]
    if len({len(loss_M) for loss_M in drawn}) > 1:
        raise UserError(
            f"predictor {question.forecaster.predictor.name!r}: its forecasts have different numbers of draws"
        )
    drawn.insert(0, np.full(len(drawn[0]), options[0].forecast.value))
    base = min(range(1, len(options)), key=lambda index: options[index].forecast.value)
    for name, other in question.others.items():
        target = FLOPS_PER_PARAMETER_TOKEN * options[base].params * options[base].tokens
        found = compare_recipes(other, question.table, target)
        option = _other_data(name, options[base], found)
        options.append(option)
        drawn.append(_drawn(option, rng))
    return options, np.stack(drawn, axis=1)


def _stop(question: Question) -> Option:
    params, tokens = question.current
    seen = _observed(question.table, params, tokens)
    known = Forecast(seen, seen, seen, method="observed")
    return Option("stop", say("option_stop"), params, tokens, 0.0, known, 0.0, 0.0, say("observed"))


def _own_options(question: Question) -> list[Option]:
    """To continue, and to move the budget to another size: what the predictor itself can forecast."""
    table, flops = question.table, question.flops
    params, tokens = question.current
    more = tokens + flops / FLOPS_PER_PARAMETER_TOKEN / params
    candidates = {"continue": (say("option_continue", params=params, tokens=more), params, more)}
    best_params = _best_size(fit(table, "chinchilla-tied").theta_T, flops)
    fresh = flops / FLOPS_PER_PARAMETER_TOKEN / best_params
    direction, size = ("N", "option_larger") if best_params > params else ("D", "option_smaller")
    candidates[f"move-to-{direction}"] = (say(size, params=best_params, tokens=fresh), best_params, fresh)
    cost = flops * question.cost_per_flop
    traced_to = say("forecast_from", predictor=question.forecaster.predictor.name, rows=len(table.loss_R))
    options = []
    for name, (words, n, d) in candidates.items():
        forecast = question.forecaster.predict(n, d)
        options.append(Option(name, words, n, d, cost, forecast, *_parts(forecast), traced_to))
    return options


def _parts(forecast: Forecast) -> tuple[float, float]:
    """Standard deviations of ln L: that of the predictor's draws, and what its interval allows beyond them."""
    low, high = _ends(forecast)
    total = (forecast.log_half_width if low > 0 else 0.5 * (high - low) / forecast.value) / normal_quantile()
    common = 0.0 if forecast.draws_S is None else float(np.std(np.log(forecast.draws_S)))
    return common, float(np.sqrt(max(total**2 - common**2, 0.0)))


def _drawn(option: Option, rng: np.random.Generator) -> Array:
    """Losses of one run: the predictor's draws and the noise of a run, or the two sides of its interval."""
    forecast = option.forecast
    if forecast.draws_S is not None:
        loss_M: Array = forecast.draws_S * np.exp(option.own * rng.standard_normal(len(forecast.draws_S)))
        return loss_M
    low, high = _ends(forecast)
    error_M = rng.standard_normal(DRAWS) / normal_quantile()
    side_M = np.where(error_M > 0, high - forecast.value, forecast.value - low)
    return np.maximum(forecast.value + error_M * side_M, 0.0)


def _other_data(name: str, base: Option, found: LossDifference) -> Option:
    """``base`` on other data: its forecast moved by the difference of matched runs, whose error is added."""
    own = float(np.hypot(base.own, found.stderr))
    half = normal_quantile() * float(np.hypot(base.common, own))
    ratio, before = float(np.exp(found.difference)), base.forecast
    moved = None if before.draws_S is None else before.draws_S * ratio
    method = f"{before.method or 'own interval'}; difference of matched runs, its error added in squares"
    interval = ratio_interval(before.value * ratio, half)
    forecast = Forecast(before.value * ratio, *interval, method=method, draws_S=moved)
    words = say("option_data", name=name, params=base.params)
    traced_to = say("matched_runs", before=base.traced_to, name=name)
    return replace(base, name=f"data-{name}", words=words, forecast=forecast, own=own, traced_to=traced_to)


def _best_size(theta_T: Array, flops: float) -> float:
    from e2lm_scaling.laws.optimum import optimum

    return float(optimum(theta_T[None], flops).params_B[0])


def _observed(table: LossTable, params: float, tokens: float) -> float:
    away_R = np.maximum(np.abs(np.log(table.params_R / params)), np.abs(np.log(table.tokens_R / tokens)))
    nearest = int(np.argmin(away_R))
    if away_R[nearest] > 0.01:
        raise UserError(
            f"--current N={params:g},D={tokens:g}: no row of the table has that N and D; name one that does"
        )
    return float(table.loss_R[nearest])


def _gains(question: Question, options: list[Option], loss_MO: Array) -> Array:
    """Worth of every option over stopping, after cost, in every draw."""
    cost_O = np.array([option.cost for option in options])
    gain_MO: Array = (loss_MO[:, :1] - loss_MO) / POINT * question.value_per_point - cost_O
    return gain_MO


def _experiment(question: Question, two: list[Valued]) -> Experiment | None:
    """The small run whose information is worth most after its cost, for the choice between the first two options.

    Value of information of a normal difference: s (phi(m/s) - (m/s)(1 - Phi(m/s))), with m the difference of gains and
    s^2 the variance that the experiment is expected to remove. A run of more compute shortens the distance that
    forecasts reach and with it their common error, in proportion; its own result shows the noise.
    """
    first, second = two
    mean = first.gain - second.gain
    scale = question.value_per_point / POINT
    one, other = first.option, second.option
    common = scale * (first.loss * one.common - second.loss * other.common)
    own = scale * float(np.hypot(first.loss * one.own, second.loss * other.own))
    before = float(np.hypot(common, own))
    target = max(FLOPS_PER_PARAMETER_TOKEN * option.params * option.tokens for option in (one, other))
    reach = float(np.log(target / flops_of(question.table).max()))
    best: Experiment | None = None
    for share in EXPERIMENT_SHARES:
        flops = share * question.flops
        shorter = float(np.log(target / flops)) / reach if reach > 0 else 1.0
        if not 0 < shorter < 1:
            continue
        after = float(np.hypot(common * shorter, own * np.sqrt(0.5)))
        removed = float(np.sqrt(max(before**2 - after**2, 0.0)))
        if removed == 0.0:
            continue
        ratio = mean / removed
        value = removed * float(norm.pdf(ratio) - ratio * norm.sf(ratio))
        cost = flops * question.cost_per_flop
        words = say("experiment", flops=flops, share=share, option=other.name)
        if value > cost and (best is None or value - cost > best.value - best.cost):
            best = Experiment(words, flops, cost, value)
    return best
