"""Continue, stop, or move the budget? The options' forecasts, what they are worth, and how sure one can be.

Every option is a plan that the budget pays for: a run that goes on costs its further tokens, any other model is trained
from scratch. A run that goes on is forecast from where it is: its last loss times the predictor's ratio between then
and now, so that what sets it apart from other runs is carried on.
Options are weighed by draws. Where the predictor gives draws of its own, those of one number belong together, so that
errors which options have in common cancel, and every run adds its own noise; where it gives none, options err
independently, within their intervals.
Shape suffixes: O options, M draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from e2lm.errors import UserError
from e2lm.interval import Interval, normal_quantile, percentile_interval, ratio_interval
from e2lm.scaling_predictor import Forecast, Forecaster, LossTable
from e2lm_scaling.amounts import counted, powers_of_ten
from e2lm_scaling.forecast.calibration import DRAWS
from e2lm_scaling.forecast.comparison import RECIPE_DRIFT, LossDifference, compare_recipes
from e2lm_scaling.forecast.plan import Constraints, tokens_for, worth
from e2lm_scaling.forecast.table import check_split, flops_of
from e2lm_scaling.laws.fit import fit
from e2lm_scaling.laws.law import FLOPS_PER_PARAMETER_TOKEN
from e2lm_scaling.laws.objective import Array
from e2lm_scaling.messages import say

#: A point is a hundredth of the unit of the loss.
POINT = 0.01
#: Below this probability of being best the data do not decide.
DECIDED = 0.75
#: What costs no training.
UNTRAINED = ("stop", "merge")
#: Compute of the small experiments that are offered, as shares of the budget.
EXPERIMENT_SHARES = (0.003, 0.01, 0.03, 0.1)
UNLIMITED = Constraints()
#: Shares of the budget that a run may go on for.
CONTINUED_SHARES = {"continue": 1.0, "continue-half": 0.5}
#: Standard deviation of ln L of a run that goes on, as a share of the predicted change of ln L; and what a checkpoint
#: wanders without any. Of 120 public runs replayed from half to the end: at least 90 % covered on average over the
#: families of runs and 85 % in each, at the smallest mean half-width (docs/scaling.md).
CONTINUED_DOUBT = 0.25
CONTINUED_NOISE = 0.01


@dataclass(frozen=True, slots=True)
class Option:
    """What one could do: its final model, cost, and forecast.

    ``common`` and ``own`` are standard deviations of ln L: of what all options of a table share, and of it alone.
    ``difference`` is that between recipes, of which ``own`` has the error; a small run can tell it.
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
    difference: LossDifference | None = None

    @property
    def kind(self) -> str:
        """What one does; how far it goes is left open."""
        return "continue" if self.name in CONTINUED_SHARES else self.name


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
    """All options, the best first; ``decided`` is False where the data cannot tell the first kinds apart.

    ``independent``: the predictor gives no draws, so that the errors of its forecasts were taken as independent.
    ``left_out`` are the options that could not be judged, and why.
    """

    valued: tuple[Valued, ...]
    decided: bool
    regret_probability: float
    expected_regret: float
    experiment: Experiment | None
    independent: bool
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def chosen(self) -> Valued:
        """The option of highest expected gain."""
        return self.valued[0]


@dataclass(frozen=True, slots=True)
class Question:
    """Who forecasts, which run could go on, the budget (FLOPs), its price and what a point of loss is worth.

    ``others`` are runs of other recipes (data) with the N and D of some runs of ``table``, those so far. No option
    breaks the ``limits``; tokens beyond the unique ones are worth less, and served ones are paid from the budget.
    ``averaged`` knows what the average of the current run's checkpoints comes to, where that is an option.
    """

    forecaster: Forecaster
    current: tuple[float, float]
    flops: float
    cost_per_flop: float
    value_per_point: float
    others: Mapping[str, LossTable]
    limits: Constraints = UNLIMITED
    averaged: Forecaster | None = None

    @property
    def table(self) -> LossTable:
        """The runs so far, to which the forecaster was fitted."""
        return self.forecaster.table

    @property
    def observed(self) -> float:
        """The loss that the current run has now; :class:`e2lm.UserError` where no row is that of the run."""
        return _observed(self.table, *self.current)


def decide(question: Question, rng: np.random.Generator) -> Decision:
    """The decision of highest expected gain, its chance of regret, and the experiment most worth making."""
    if not question.flops > 0 or not question.cost_per_flop >= 0 or not question.value_per_point > 0:
        raise UserError("decide needs a budget above 0, a cost of at least 0 and a value per point above 0")
    options, left_out = _options(question)
    loss_MO = _losses_MO(question, options, rng)
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
    alike = sum(one.best_probability for one in valued if one.option.kind == options[chosen].kind)
    ranked = tuple(valued[index] for index in order)
    rivals = [one for one in ranked[1:] if one.option.kind != options[chosen].kind]
    experiment = _experiment(question, [ranked[0], rivals[0]]) if rivals else None
    independent = any(option.forecast.draws_S is None for option in options[1:])
    probability = valued[chosen].best_probability
    return Decision(ranked, alike >= DECIDED, 1.0 - probability, regret, experiment, independent, left_out)


def _ends(forecast: Forecast) -> Interval:
    if forecast.low is None or forecast.high is None:
        raise UserError(
            f"the forecast has no interval ({forecast.reason}), so no option can be judged; take a predictor that "
            "gives one, or add small runs (8 and more, of several sizes)"
        )
    return Interval(forecast.low, forecast.high)


def _options(question: Question) -> tuple[list[Option], dict[str, str]]:
    """What one could do within the budget, and what could not be judged."""
    options, left_out = [_stop(question)], dict[str, str]()
    for name, make in (("continue", _continued), ("move", _moved), ("merge", _merged)):
        try:
            options += make(question)
        except UserError as error:
            left_out[name] = str(error)
    for name, other in question.others.items():
        options.append(_other_data(question, name, other))
    if len(options) == 1:
        raise UserError("; ".join(left_out.values()))
    return options, left_out


def _losses_MO(question: Question, options: list[Option], rng: np.random.Generator) -> Array:
    """Losses drawn of every option; the first of them is known."""
    drawn = [_drawn(option, rng) for option in options[1:]]
    if len({len(loss_M) for loss_M in drawn}) > 1:
        raise UserError(
            f"predictor {question.forecaster.predictor.name!r}: its forecasts have different numbers of draws"
        )
    return np.stack([np.full(len(drawn[0]), options[0].forecast.value), *drawn], axis=1)


def _stop(question: Question) -> Option:
    params, tokens = question.current
    seen = question.observed
    known = Forecast(seen, seen, seen, method="observed")
    return Option("stop", say("option_stop"), params, tokens, 0.0, known, 0.0, 0.0, say("observed"))


def _merged(question: Question) -> list[Option]:
    """The average of the checkpoints that the run has, in the place of annealing: it costs no training."""
    if question.averaged is None:
        return []
    params, tokens = question.current
    forecast = question.averaged.predict(params, tokens)
    common, own = _parts(forecast)
    drawn_S = question.forecaster.predict(params, worth(tokens, question.limits)).draws_S
    # Its error is its own: as many draws as others have, all of them the forecast.
    alone = forecast if drawn_S is None else replace(forecast, draws_S=np.full(len(drawn_S), forecast.value))
    traced_to = say("merged_from", method=forecast.method or "")
    return [Option("merge", say("option_merge"), params, tokens, 0.0, alone, common, own, traced_to)]


def _continued(question: Question) -> list[Option]:
    """To go on, from the loss that the run has now, for all of the budget or a part."""
    params, tokens = question.current
    seen = question.observed
    whole = tokens_for(question.flops, params, question.limits)
    now = question.forecaster.predict(params, worth(tokens, question.limits))
    found = []
    for name, share in CONTINUED_SHARES.items():
        more = tokens + share * whole
        then = question.forecaster.predict(params, worth(more, question.limits))
        forecast = carried_on(seen, now, then)
        words = say("option_continue", params=counted(params), tokens=counted(more))
        traced_to = say("carried_on", loss=seen, predictor=question.forecaster.predictor.name)
        cost = share * question.flops * question.cost_per_flop
        found.append(Option(name, words, params, more, cost, forecast, *_parts(forecast), traced_to))
    return found


def carried_on(seen: float, now: Forecast, then: Forecast) -> Forecast:
    """The loss seen now times the predictor's ratio; what sets this run apart from others stays as it is."""
    _ends(then)  # a predictor that does not say how sure it is decides nothing
    ratio = then.value / now.value
    total = float(np.hypot(CONTINUED_DOUBT * np.log(ratio), CONTINUED_NOISE))
    value, drawn_S = seen * ratio, None
    if now.draws_S is not None and then.draws_S is not None and len(now.draws_S) == len(then.draws_S):
        error_S = np.log(then.draws_S / now.draws_S)
        spread = float(np.std(error_S))
        shrunk = min(1.0, total / spread) if spread > 0 else 0.0
        drawn_S = value * np.exp(shrunk * (error_S - error_S.mean()))
    method = say("carried_on_method")
    return Forecast(value, *ratio_interval(value, normal_quantile() * total), method=method, draws_S=drawn_S)


def _moved(question: Question) -> list[Option]:
    """Another size, trained from scratch on the whole budget."""
    best = _best_size(question)
    direction, size = ("N", "option_larger") if best > question.current[0] else ("D", "option_smaller")
    return [_from_scratch(question, f"move-to-{direction}", size, best)]


def _from_scratch(question: Question, name: str, words: str, params: float) -> Option:
    tokens = tokens_for(question.flops, params, question.limits)
    if not tokens > 0:
        raise UserError(f"serving a model of {params:.3g} parameters costs more than the budget")
    forecast = question.forecaster.predict(params, worth(tokens, question.limits))
    traced_to = say(
        "forecast_from", predictor=question.forecaster.predictor.name, rows=len(question.forecaster.table.loss_R)
    )
    said, cost = say(words, params=counted(params), tokens=counted(tokens)), question.flops * question.cost_per_flop
    return Option(name, said, params, tokens, cost, forecast, *_parts(forecast), traced_to)


def _parts(forecast: Forecast) -> tuple[float, float]:
    """Standard deviations of ln L: that of the predictor's draws, and what its interval allows beyond them."""
    low, high = _ends(forecast)
    total = (forecast.log_half_width if low > 0 else 0.5 * (high - low) / forecast.value) / normal_quantile()
    common = 0.0 if forecast.draws_S is None else float(np.std(np.log(forecast.draws_S)))
    return common, float(np.sqrt(max(total**2 - common**2, 0.0)))


def _drawn(option: Option, rng: np.random.Generator) -> Array:
    """Losses of one run: the predictor's draws, the noise of a run, the error of a difference; or of its interval."""
    forecast = option.forecast
    difference = option.difference
    if forecast.draws_S is not None:
        loss_M: Array = forecast.draws_S * np.exp(option.own * rng.standard_normal(len(forecast.draws_S)))
        if difference is not None:
            loss_M = loss_M * np.exp(
                difference.stderr * student.rvs(difference.degrees, size=len(loss_M), random_state=rng)
            )
        return loss_M
    low, high = _ends(forecast)
    error_M = rng.standard_normal(DRAWS) / normal_quantile()
    side_M = np.where(error_M > 0, high - forecast.value, forecast.value - low)
    return np.maximum(forecast.value + error_M * side_M, 0.0)


def _other_data(question: Question, name: str, other: LossTable) -> Option:
    """Other data, from scratch within the budget, at the current size or the best one, whichever is forecast better.

    Its forecast is that of the same model on the data so far, moved by the difference of matched runs, whose error is
    added.
    """
    bases = [_from_scratch(question, name, "option_smaller", question.current[0])]
    with suppress(UserError):
        bases.append(_from_scratch(question, name, "option_smaller", _best_size(question)))
    base = min(bases, key=lambda one: one.forecast.value)
    found = compare_recipes(other, question.table, FLOPS_PER_PARAMETER_TOKEN * base.params * base.tokens)
    of_recipes = found.interval[1] - found.difference  # by Student's t
    half = float(np.hypot(normal_quantile() * np.hypot(base.common, base.own), of_recipes))
    ratio, before = float(np.exp(found.difference)), base.forecast
    moved = None if before.draws_S is None else before.draws_S * ratio
    method = f"{before.method or 'own interval'}; difference of matched runs, its error added in squares"
    interval = ratio_interval(before.value * ratio, half)
    forecast = Forecast(before.value * ratio, *interval, method=method, draws_S=moved)
    words = say("option_data", name=name, params=counted(base.params), tokens=counted(base.tokens))
    traced_to = say("matched_runs", before=base.traced_to, name=name)
    return replace(base, name=f"data-{name}", words=words, forecast=forecast, traced_to=traced_to, difference=found)


def _best_size(question: Question) -> float:
    """The best size for the budget by a law with a closed form, no larger than allowed."""
    from e2lm_scaling.laws.optimum import optimum

    check_split(question.table)
    best = float(optimum(fit(question.table, "chinchilla-tied").theta_T[None], question.flops).params_B[0])
    allowed = question.limits.max_params
    return best if allowed is None else min(best, allowed)


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
    """The small run whose information is worth most after its cost, for the choice between two options.

    Value of information of a normal difference: s (phi(m/s) - (m/s)(1 - Phi(m/s))), with m the difference of gains and
    s^2 the variance that the experiment is expected to remove. A run of more compute than any so far shortens the
    distance that forecasts reach and with it their common error, in proportion; a pair of matched runs more makes the
    difference between two recipes more certain; a run that goes on for a while shows its slope. The noise of the run
    that is then made stays.
    """
    mean = two[0].gain - two[1].gain
    best: Experiment | None = None
    for share in EXPERIMENT_SHARES:
        flops = share * question.flops
        removed = _removed(question, [one.option for one in two], flops)
        if removed <= 0.0:
            continue
        ratio = mean / removed
        value = removed * float(norm.pdf(ratio) - ratio * norm.sf(ratio))
        cost = flops * question.cost_per_flop
        words = say("experiment", flops=powers_of_ten(flops), share=share, option=two[1].option.name)
        if value > cost and (best is None or value - cost > best.value - best.cost):
            best = Experiment(words, flops, cost, value)
    return best


def _removed(question: Question, two: list[Option], flops: float) -> float:
    """Standard deviation of the difference of two gains that a run of ``flops`` is expected to remove."""
    scale = question.value_per_point / POINT
    first, second = two
    common = scale * (first.forecast.value * first.common - second.forecast.value * second.common)
    target = max(FLOPS_PER_PARAMETER_TOKEN * option.params * option.tokens for option in two)
    reach = float(np.log(target / flops_of(question.table).max()))
    shorter = min(max(float(np.log(target / flops)) / reach, 0.0), 1.0) if reach > 0 else 1.0
    variance = common**2 * (1 - shorter**2)
    for option in two:
        squared = (scale * option.forecast.value) ** 2
        if option.difference is not None:
            variance += squared * _told(option.difference, target, flops)
        if option.kind == "continue":
            variance += squared * option.own**2 * _shown(question, option, flops)
    return float(np.sqrt(variance))


def _shown(question: Question, option: Option, flops: float) -> float:
    """Share of the variance of a run that goes on which its first steps show: what is left is that of the rest."""
    tokens = question.current[1]
    whole = float(np.log(option.tokens / tokens))
    part = float(np.log1p(flops / FLOPS_PER_PARAMETER_TOKEN / option.params / tokens))
    return 1 - (1 - min(part / whole, 1.0)) ** 2


def _told(difference: LossDifference, target: float, flops: float) -> float:
    """Variance of a difference between recipes that one more matched pair of ``flops`` takes away."""
    before = difference.stderr**2
    again = before + (RECIPE_DRIFT * max(float(np.log(target / flops)), 0.0)) ** 2
    return before - 1 / (1 / before + 1 / again)
