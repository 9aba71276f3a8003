"""Continue, stop, or move the budget? The options' forecasts, what they are worth, and how sure one can be.

Shape suffixes: O options, M Monte Carlo draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm

from e2lm.errors import UserError
from e2lm.interval import Interval, normal_quantile, percentile_interval
from e2lm.scaling_predictor import LossTable
from e2lm_scaling.forecast.calibration import Calibration, calibrated, distance_beyond
from e2lm_scaling.forecast.comparison import compare_recipes
from e2lm_scaling.forecast.models import MODELS
from e2lm_scaling.forecast.table import flops_of
from e2lm_scaling.laws.fit import fit
from e2lm_scaling.laws.law import FLOPS_PER_PARAMETER_TOKEN
from e2lm_scaling.laws.objective import Array

DRAWS = 4000
#: A point is a hundredth of the unit of the loss.
POINT = 0.01
#: Below this probability of being best the data do not decide.
DECIDED = 0.75
#: Compute of the small experiments that are offered, as shares of the budget.
EXPERIMENT_SHARES = (0.003, 0.01, 0.03, 0.1)


@dataclass(frozen=True, slots=True)
class Option:
    """What one could do: its final model, cost, and ln L with two standard deviations, common to a table and own."""

    name: str
    words: str
    params: float
    tokens: float
    cost: float
    log_loss: float
    common: float
    own: float
    traced_to: str


@dataclass(frozen=True, slots=True)
class Valued:
    """An option with its gain over stopping (in money, after cost) and the probability that it is best."""

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
    """All options, the best first; ``decided`` is False where the data cannot tell the first two apart."""

    valued: tuple[Valued, ...]
    decided: bool
    regret_probability: float
    expected_regret: float
    experiment: Experiment | None

    @property
    def chosen(self) -> Valued:
        """The option of highest expected gain."""
        return self.valued[0]


@dataclass(frozen=True, slots=True)
class Question:
    """The runs so far, which of them could go on, the budget (FLOPs), its price and what a point of loss is worth.

    ``others`` are runs of other recipes (data) with the N and D of some runs of ``table``.
    """

    table: LossTable
    current: tuple[float, float]
    flops: float
    cost_per_flop: float
    value_per_point: float
    others: Mapping[str, LossTable]
    model_name: str = "average"


def decide(question: Question, rng: np.random.Generator) -> Decision:
    """The decision of highest expected gain, its chance of regret, and the experiment most worth making."""
    options = _options(question)
    gain_MO, loss_MO = _gains(question, options, rng)
    best_M = gain_MO.argmax(axis=1)
    valued = [
        Valued(
            option, float(np.exp(option.log_loss)), percentile_interval(loss_MO[:, index]),
            float(gain_MO[:, index].mean()), percentile_interval(gain_MO[:, index]), float(np.mean(best_M == index)),
        )
        for index, option in enumerate(options)
    ]  # fmt: skip
    order = sorted(range(len(options)), key=lambda index: -valued[index].gain)
    chosen = order[0]
    regret = float((gain_MO.max(axis=1) - gain_MO[:, chosen]).mean())
    probability = valued[chosen].best_probability
    experiment = _experiment(question, [valued[index] for index in order[:2]]) if len(order) > 1 else None
    ranked = tuple(valued[index] for index in order)
    return Decision(ranked, probability >= DECIDED, 1.0 - probability, regret, experiment)


def _options(question: Question) -> list[Option]:
    table, flops = question.table, question.flops
    if not flops > 0 or not question.cost_per_flop >= 0 or not question.value_per_point > 0:
        raise UserError("decide needs a budget above 0, a cost of at least 0 and a value per point above 0")
    model = MODELS[question.model_name]
    curve = model.learn(table)
    calibration = None if curve is None else calibrated(model, table, curve)
    if curve is None or calibration is None:
        raise UserError(
            f"{len(table.loss_R)} rows are too few to hold some out, so no forecast has an interval and no option can "
            "be judged; add small runs (8 and more, of several sizes)"
        )

    def forecast(params: float, tokens: float) -> tuple[float, float, float]:
        value = float(curve(np.array([params]), np.array([tokens]))[0])
        total = calibration.half_width(distance_beyond(table, params, tokens)) / normal_quantile()
        return value, *_parts(total, calibration)

    cost = flops * question.cost_per_flop
    params, tokens = question.current
    seen = _observed(table, params, tokens)
    options = [Option("stop", "stop here", params, tokens, 0.0, seen, 0.0, 0.0, "observed")]
    more = tokens + flops / FLOPS_PER_PARAMETER_TOKEN / params
    candidates = {"continue": (f"continue the run of {params:.3g} parameters to {more:.3g} tokens", params, more)}
    split = fit(table, "chinchilla-tied")
    best_params = _best_size(split.theta_T, flops)
    fresh = flops / FLOPS_PER_PARAMETER_TOKEN / best_params
    direction, size = ("N", "larger") if best_params > params else ("D", "smaller")
    words = f"start a {size} model of {best_params:.3g} parameters on {fresh:.3g} tokens"
    candidates[f"move-to-{direction}"] = (words, best_params, fresh)
    for name, (words, n, d) in candidates.items():
        value, common, own = forecast(n, d)
        options.append(Option(name, words, n, d, cost, value, common, own, f"{model.name} of {len(table.loss_R)} rows"))
    base = max(options[1:], key=lambda option: -option.log_loss)
    for name, other in question.others.items():
        found = compare_recipes(other, table, FLOPS_PER_PARAMETER_TOKEN * base.params * base.tokens)
        options.append(
            replace(
                base, name=f"data-{name}", words=f"train on {name} instead: {base.params:.3g} parameters from scratch",
                log_loss=base.log_loss + found.difference, own=float(np.hypot(base.own, found.stderr)),
                traced_to=f"{base.traced_to}; matched runs of {name}",
            )
        )  # fmt: skip
    return options


def _parts(total: float, calibration: Calibration) -> tuple[float, float]:
    own = min(calibration.noise, total)
    return float(np.sqrt(total**2 - own**2)), own


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
    return float(np.log(table.loss_R[nearest]))


def _gains(question: Question, options: list[Option], rng: np.random.Generator) -> tuple[Array, Array]:
    common_M1 = rng.standard_normal((DRAWS, 1))
    own_MO = rng.standard_normal((DRAWS, len(options)))
    mean_O = np.array([option.log_loss for option in options])
    common_O = np.array([option.common for option in options])
    own_O = np.array([option.own for option in options])
    loss_MO = np.exp(mean_O + common_M1 * common_O + own_MO * own_O)
    stop = np.exp(options[0].log_loss)
    cost_O = np.array([option.cost for option in options])
    gain_MO: Array = (stop - loss_MO) / POINT * question.value_per_point - cost_O
    return gain_MO, loss_MO


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
        words = f"a run of {flops:.3g} FLOPs ({share:.1%} of the budget) in the manner of '{two[1].option.name}'"
        if value > cost and (best is None or value - cost > best.value - best.cost):
            best = Experiment(words, flops, cost, value)
    return best
