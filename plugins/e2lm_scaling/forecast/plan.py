"""The best model for a budget, with intervals and under constraints.

A law has its optimum in closed form and, with bootstrap draws, an interval of it; of any other predictor the sizes of a
grid are asked, and its interval is that of the sizes which are as good as the best.
Shape suffixes: B bootstrap draws, M sizes tried.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np

from e2lm.errors import UserError
from e2lm.interval import Interval, percentile_interval
from e2lm.scaling_predictor import Forecast, Forecaster
from e2lm_scaling.forecast.predictors import FittedAverage, FittedLaw
from e2lm_scaling.forecast.table import check_split, flops_of
from e2lm_scaling.laws.fit import Bootstrap, Fit, redrawn_weights, refitted
from e2lm_scaling.laws.law import FLOPS_PER_PARAMETER_TOKEN, Law
from e2lm_scaling.laws.objective import Array
from e2lm_scaling.laws.optimum import optimum
from e2lm_scaling.laws.repeated_data import MUENNIGHOFF

#: Sizes tried where no closed form gives the best one.
SMALLEST_SIZE, LARGEST_SIZE = 1e4, 1e14
SIZES = 10_000
#: The same for a predictor that is asked size by size, and how many are then tried between the best one's neighbours.
SIZES_ASKED = 401
SIZES_REFINED = 41
#: Sizes among which the best of every draw of an average is sought: 1 % apart.
SIZES_DRAWN = 2_301
#: Forward pass only: FLOPs per parameter and token of inference (Kaplan et al. 2020, section 2.1).
INFERENCE_FLOPS_PER_PARAMETER_TOKEN = 2.0
#: Tokens per parameter of a best model without constraints; about 20 is usual, and nothing near these was ever best.
BEST_TOKENS_PER_PARAM = (0.1, 1e5)
#: An interval of N* that spans more than this factor says nothing.
WIDEST_INTERVAL = 1000.0
#: Loss given up for the sizes that count as equally good.
EQUALLY_GOOD = 0.001


@dataclass(frozen=True, slots=True)
class Constraints:
    """What a plan must respect; ``unique_tokens`` may be repeated, at a loss (Muennighoff et al. 2023).

    ``min_tokens_per_param`` is over-training (20 is about compute-optimal); ``inference_tokens`` are served over the
    model's life and paid from the same budget.
    """

    max_params: float | None = None
    unique_tokens: float | None = None
    min_tokens_per_param: float | None = None
    inference_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class ComputePlan:
    """N*, D* and the loss there, with intervals; ``equally_good`` are the sizes whose loss is within 0.1 %."""

    flops: float
    params: float
    tokens: float
    loss: Forecast
    params_interval: tuple[float, float]
    tokens_interval: tuple[float, float]
    equally_good: tuple[float, float]
    interval_method: str
    binding: tuple[str, ...]
    epochs: float
    beyond_data: float


@dataclass(frozen=True, slots=True)
class _Split:
    """The best split, and the sizes between which it lies; ``free_params`` is the best size without constraints."""

    params: float
    tokens: float
    free_params: float
    params_interval: Interval
    equally_good: Interval
    method: str


def plan(
    forecaster: Forecaster,
    flops: float,
    constraints: Constraints,
    draws: Bootstrap | AverageDraws | None = None,
    coverage: float = 0.8,
) -> ComputePlan:
    """The plan of a fitted predictor for ``flops`` of training (and inference) compute.

    The interval of N* and D* is that of the sizes as good as the best; of a law with ``draws`` it is the bootstrap's,
    widened by them: a bootstrap alone is too sure far from the data. That of the loss is the forecast's own.
    """
    if not flops > 0:
        raise UserError(f"compute {flops:g}: a budget above 0 FLOPs is needed")
    if not 0 < coverage <= 1:
        raise UserError(f"--coverage: found {coverage:g}; a share above 0 and up to 1 is expected, such as 0.8")
    check_split(forecaster.table, "the runs")
    if isinstance(forecaster.own, FittedLaw):
        of_law = draws if isinstance(draws, Bootstrap) else None
        split = _law_split(forecaster.own.fit, flops, constraints, of_law, coverage)
    else:
        split = _asked_split(forecaster, flops, constraints)
        if isinstance(draws, AverageDraws):
            split = _with_draws(split, draws, flops, constraints, coverage)
    _check_determined(split, forecaster, flops)
    low_n, high_n = split.params_interval
    epochs = split.tokens / constraints.unique_tokens if constraints.unique_tokens else 1.0
    return ComputePlan(
        flops, split.params, split.tokens, forecaster.predict(split.params, worth(split.tokens, constraints)),
        split.params_interval, (tokens_for(flops, high_n, constraints), tokens_for(flops, low_n, constraints)),
        split.equally_good, split.method, _binding(split, flops, constraints), max(epochs, 1.0),
        flops / float(flops_of(forecaster.table).max()),
    )  # fmt: skip


def _check_determined(split: _Split, forecaster: Forecaster, flops: float) -> None:
    """Raise a :class:`UserError` where the answer is none: a size nobody could mean, or any of a thousandfold range."""
    low, high = split.params_interval
    free = split.free_params
    with np.errstate(all="ignore"):  # a size of nothing, or of no end
        ratio = float(np.float64(flops) / FLOPS_PER_PARAMETER_TOKEN / free / free)
    possible = BEST_TOKENS_PER_PARAM[0] <= ratio <= BEST_TOKENS_PER_PARAM[1]
    if possible and SMALLEST_SIZE < free < LARGEST_SIZE and high / low <= WIDEST_INTERVAL:
        return
    table = forecaster.table
    largest = int(np.argmax(flops_of(table)))
    params, tokens = float(table.params_R[largest]), float(table.tokens_R[largest])
    raise UserError(
        f"the runs do not tell how to split {flops:.3g} FLOPs: N* would be {split.params:.3g} ({low:.3g} to "
        f"{high:.3g}) on {split.tokens:.3g} tokens; what would settle it: runs of one budget near the largest and "
        f"several sizes, such as N={params / 3:.2g} on D={3 * tokens:.2g} and N={3 * params:.2g} on D={tokens / 3:.2g}"
    )


def isoflop_curve(forecaster: Forecaster, flops: float, sizes_M: Array) -> Array:
    """Forecast losses along one budget; NaN where the predictor gives none."""
    losses_M = _losses_M(forecaster, sizes_M, flops / FLOPS_PER_PARAMETER_TOKEN / sizes_M)
    result: Array = np.where(np.isfinite(losses_M), losses_M, np.nan)
    return result


def tokens_for(flops: float, params: float, constraints: Constraints) -> float:
    """Training tokens that a budget of FLOPs leaves a model, after what it serves; 0 where nothing is left."""
    served = INFERENCE_FLOPS_PER_PARAMETER_TOKEN * params * constraints.inference_tokens
    return max(flops - served, 0.0) / FLOPS_PER_PARAMETER_TOKEN / params


def worth(tokens: float, constraints: Constraints) -> float:
    """Fresh tokens that the (repeated) ones are worth."""
    if constraints.unique_tokens is None or tokens <= constraints.unique_tokens:
        return tokens
    return float(MUENNIGHOFF.effective_tokens(np.array([tokens]), np.array([constraints.unique_tokens]))[0])


def _affordable(flops: float, constraints: Constraints, sizes_M: Array) -> tuple[Array, Array, Array]:
    """The sizes that meet the constraints, their tokens, and what those are worth as fresh ones."""
    served_M = INFERENCE_FLOPS_PER_PARAMETER_TOKEN * sizes_M * constraints.inference_tokens
    tokens_M = np.maximum(flops - served_M, 0.0) / FLOPS_PER_PARAMETER_TOKEN / sizes_M
    allowed_M = tokens_M > 0
    if constraints.max_params is not None:
        allowed_M &= sizes_M <= constraints.max_params
    if constraints.min_tokens_per_param is not None:
        allowed_M &= tokens_M >= constraints.min_tokens_per_param * sizes_M
    if not allowed_M.any():
        raise UserError("no model meets the constraints within this budget; relax one, or raise the budget")
    sizes_M, tokens_M = sizes_M[allowed_M], tokens_M[allowed_M]
    worth_M = tokens_M.copy()
    if constraints.unique_tokens is not None:
        repeated_M = tokens_M > constraints.unique_tokens
        unique_M = np.full(int(repeated_M.sum()), constraints.unique_tokens)
        worth_M[repeated_M] = MUENNIGHOFF.effective_tokens(tokens_M[repeated_M], unique_M)
    return sizes_M, tokens_M, worth_M


def _equally_good(sizes_M: Array, losses_M: Array) -> Interval:
    good_M = sizes_M[losses_M <= losses_M.min() * (1 + EQUALLY_GOOD)]
    return Interval(float(good_M.min()), float(good_M.max()))


def _law_split(fit: Fit, flops: float, constraints: Constraints, draws: Bootstrap | None, coverage: float) -> _Split:
    if fit.law.axis != "nd":
        raise UserError(f"law {fit.law.name!r} has no N and D to plan with; use chinchilla, chinchilla-tied or skaling")
    if ("E" in fit.at_bound and len(fit.at_bound) > 1) or (fit.at_bound and "E" not in fit.at_bound):
        raise UserError(
            f"the fit lies at its bound in {', '.join(fit.at_bound)}, so the data do not say how to split compute; add "
            "runs of other N at equal compute"
        )
    whole_M = np.exp(np.linspace(np.log(SMALLEST_SIZE), np.log(LARGEST_SIZE), SIZES))
    sizes_M, tokens_M, worth_M = _affordable(flops, constraints, whole_M)

    def losses_M(theta_T: Array) -> Array:
        result: Array = np.exp(fit.law.log_loss(theta_T[None], sizes_M, worth_M)[0])
        return result

    point_M = losses_M(fit.theta_T)
    best, free = int(np.argmin(point_M)), optimum(fit.theta_T[None], flops)
    params, tokens = float(sizes_M[best]), float(tokens_M[best])
    if constraints == Constraints():  # exact, not to the grid
        params, tokens = float(free.params_B[0]), float(free.tokens_B[0])
    good = _equally_good(sizes_M, point_M)
    theta_BT = fit.theta_T[None][:0] if draws is None else draws.theta_BT[:400]
    drawn_B = np.array([sizes_M[int(np.argmin(losses_M(theta_T)))] for theta_T in theta_BT])
    drawn_n = percentile_interval(drawn_B, coverage) if len(drawn_B) else Interval(params, params)
    interval = drawn_n.holding(good.low).holding(good.high).holding(params)
    method = (
        f"{coverage:.0%} bootstrap of {len(drawn_B)} draws, widened by sizes whose loss is within {EQUALLY_GOOD:.1%}"
    )
    return _Split(params, tokens, float(free.params_B[0]), interval, good, method)


def _asked_split(forecaster: Forecaster, flops: float, constraints: Constraints) -> _Split:
    """The best of the sizes asked; :class:`UserError` where those as good as the best have no end."""
    name = forecaster.predictor.name
    free = _asked(forecaster, flops, Constraints())
    low, high = _equally_good(free[0], free[2])
    if low <= free[0][0] or high >= free[0][-1]:
        raise UserError(
            f"predictor {name!r} does not say how to split {flops:.3g} FLOPs: every size from {low:.3g} to {high:.3g} "
            f"is as good to it, within {EQUALLY_GOOD:.1%}, and it forecasts none beyond; plan with another one"
        )
    sizes_M, tokens_M, losses_M = free if constraints == Constraints() else _asked(forecaster, flops, constraints)
    best, good = int(np.argmin(losses_M)), _equally_good(sizes_M, losses_M)
    method = f"sizes whose loss is within {EQUALLY_GOOD:.1%}; the error of {name} itself is not in them"
    free_params = float(free[0][int(np.argmin(free[2]))])
    return _Split(float(sizes_M[best]), float(tokens_M[best]), free_params, good, good, method)


@dataclass(frozen=True, slots=True)
class AverageDraws:
    """Fits of resampled runs by every law of an average, law by law; NaN where a law ended at no optimum.

    All laws of one number saw the same runs.
    """

    laws: tuple[Law, ...]
    theta_LBT: Array

    def best_sizes(self, sizes_M: Array, worth_M: Array) -> tuple[Array, Array]:
        """The best size of every draw: of the mean of ln L over the laws, and of each law with a floor by itself."""
        laws = zip(self.laws, self.theta_LBT, strict=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a draw that no law, or not every law, could be fitted to
            found = [law.log_loss(theta_BT, sizes_M, worth_M) for law, theta_BT in laws]
            mean_BM: Array = np.nanmean(found, axis=0)
        own = [log_loss_BM for law, log_loss_BM in zip(self.laws, found, strict=True) if law.has_floor]
        return _lowest(sizes_M, mean_BM), np.concatenate([_lowest(sizes_M, one) for one in own] or [sizes_M[:0]])


def _lowest(sizes_M: Array, log_loss_BM: Array) -> Array:
    """The size of lowest loss of every draw that has a loss at all of them."""
    known_BM = log_loss_BM[np.isfinite(log_loss_BM).all(axis=1)]
    lowest: Array = sizes_M[known_BM.argmin(axis=1)]
    return lowest


def average_draws(own: FittedAverage, draws: int, rng: np.random.Generator) -> AverageDraws:
    """``draws`` fits of every law to runs drawn with replacement, whole series together."""
    weights_BR = redrawn_weights(own.table.series_R, draws, rng)
    theta_LBT = []
    for fit in own.fits:
        found = refitted(fit, weights_BR)
        theta_LBT.append(np.where(found.usable_B[:, None], found.theta_BT, np.nan))
    return AverageDraws(tuple(fit.law for fit in own.fits), np.array(theta_LBT))


def _with_draws(split: _Split, draws: AverageDraws, flops: float, constraints: Constraints, coverage: float) -> _Split:
    whole_M = np.geomspace(SMALLEST_SIZE, LARGEST_SIZE, SIZES_DRAWN)
    sizes_M, _, worth_M = _affordable(flops, constraints, whole_M)
    drawn, of_laws = draws.best_sizes(sizes_M, worth_M)
    if not len(drawn):
        return split
    interval = percentile_interval(drawn, coverage)
    if len(of_laws):  # which law is right is not known either
        interval = interval.holding(percentile_interval(of_laws, coverage).low)
        interval = interval.holding(percentile_interval(of_laws, coverage).high)
    low, high = split.equally_good
    method = (
        f"{coverage:.0%} bootstrap of {len(drawn)} draws of the average and of its laws with a floor, widened by sizes "
        f"whose loss is within {EQUALLY_GOOD:.1%}"
    )
    return replace(split, params_interval=interval.holding(low).holding(high).holding(split.params), method=method)


def _asked(forecaster: Forecaster, flops: float, constraints: Constraints) -> tuple[Array, Array, Array]:
    """Sizes in order, more of them around the best, their tokens, and the losses forecast."""

    def asked(low: float, high: float, count: int) -> tuple[Array, Array, Array]:
        sizes_M, tokens_M, worth_M = _affordable(flops, constraints, np.geomspace(low, high, count))
        return sizes_M, tokens_M, _losses_M(forecaster, sizes_M, worth_M)

    found = asked(SMALLEST_SIZE, LARGEST_SIZE, SIZES_ASKED)
    for _ in range(2):
        sizes_M, best = found[0], int(np.argmin(found[2]))
        more = asked(sizes_M[max(best - 1, 0)], sizes_M[min(best + 1, len(sizes_M) - 1)], SIZES_REFINED)
        sizes_M, first_M = np.unique(np.concatenate([found[0], more[0]]), return_index=True)
        tokens_M, losses_M = (np.concatenate(both)[first_M] for both in zip(found[1:], more[1:], strict=True))
        found = sizes_M, tokens_M, losses_M
    known_M = np.isfinite(found[2])
    if not known_M.any():
        raise UserError(f"predictor {forecaster.predictor.name!r} forecasts no loss at any size of {flops:.3g} FLOPs")
    return found[0][known_M], found[1][known_M], found[2][known_M]


def _losses_M(forecaster: Forecaster, sizes_M: Array, tokens_M: Array) -> Array:
    """Losses forecast for models up to any size; infinite where the predictor gives none."""

    def loss(params: float, tokens: float) -> float:
        try:
            return float(forecaster.losses(np.array([params]), np.array([tokens]))[0])
        except UserError:
            return np.inf

    with np.errstate(all="ignore"):  # far from the data formulas overflow
        losses_M = np.array([loss(params, tokens) for params, tokens in zip(sizes_M, tokens_M, strict=True)])
    result: Array = np.where(np.isfinite(losses_M) & (losses_M > 0), losses_M, np.inf)
    return result


def _binding(split: _Split, flops: float, constraints: Constraints) -> tuple[str, ...]:
    """Constraints that moved the plan away from the free optimum by more than 2 %."""
    params = split.params
    if split.free_params > 0 and abs(np.log(params / split.free_params)) < 0.02:
        return ()
    found = []
    if constraints.max_params is not None and params > 0.98 * constraints.max_params:
        found.append("max_params")
    if constraints.min_tokens_per_param is not None:
        ratio = tokens_for(flops, params, constraints) / params
        if ratio < 1.02 * constraints.min_tokens_per_param:
            found.append("min_tokens_per_param")
    if constraints.unique_tokens is not None and tokens_for(flops, params, constraints) > constraints.unique_tokens:
        found.append("unique_tokens")
    if constraints.inference_tokens > 0:
        found.append("inference_tokens")
    return tuple(found)
