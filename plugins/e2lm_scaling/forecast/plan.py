"""The best model for a budget, with intervals and under constraints.

Shape suffixes: B bootstrap draws, M sizes tried.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from e2lm.errors import UserError
from e2lm.interval import Interval, percentile_interval
from e2lm.scaling_predictor import Forecast
from e2lm_scaling.forecast.calibration import calibrated_predictor
from e2lm_scaling.forecast.models import law_model
from e2lm_scaling.laws.fit import Bootstrap, Fit
from e2lm_scaling.laws.law import FLOPS_PER_PARAMETER_TOKEN
from e2lm_scaling.laws.objective import Array
from e2lm_scaling.laws.optimum import optimum
from e2lm_scaling.laws.repeated_data import MUENNIGHOFF

#: Sizes tried when constraints leave no closed form, per e-folding of N.
SIZES = 2000
#: Forward pass only: FLOPs per parameter and token of inference (Kaplan et al. 2020, section 2.1).
INFERENCE_FLOPS_PER_PARAMETER_TOKEN = 2.0
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


def plan(fit: Fit, flops: float, draws: Bootstrap, constraints: Constraints, coverage: float = 0.8) -> ComputePlan:
    """The plan of a fitted law for ``flops`` of training (and inference) compute.

    The interval of N* and D* is the bootstrap's, widened by the sizes that are as good as the best: a bootstrap alone
    is too sure far from the data. The interval of the loss is backtest-calibrated.
    """
    if not flops > 0:
        raise UserError(f"compute {flops:g}: a budget above 0 FLOPs is needed")
    if not 0 < coverage <= 1:
        raise UserError(f"--coverage: found {coverage:g}; a share above 0 and up to 1 is expected, such as 0.8")
    if fit.law.axis != "nd":
        raise UserError(f"law {fit.law.name!r} has no N and D to plan with; use chinchilla, chinchilla-tied or skaling")
    if ("E" in fit.at_bound and len(fit.at_bound) > 1) or (fit.at_bound and "E" not in fit.at_bound):
        raise UserError(
            f"the fit lies at its bound in {', '.join(fit.at_bound)}, so the data do not say how to split compute; add "
            "runs of other N at equal compute"
        )
    sizes_M = np.exp(np.linspace(np.log(1e4), np.log(1e14), SIZES * 5))
    params, tokens, losses_M = _best(fit.theta_T, fit, flops, constraints, sizes_M)
    drawn = np.array([_best(theta_T, fit, flops, constraints, sizes_M)[:2] for theta_T in draws.theta_BT[:400]])
    if constraints == Constraints():  # exact, not to the grid
        free = optimum(fit.theta_T[None], flops)
        params, tokens = float(free.params_B[0]), float(free.tokens_B[0])
    drawn_n = percentile_interval(drawn[:, 0], coverage) if len(drawn) else Interval(params, params)
    good_M = sizes_M[losses_M <= losses_M.min() * (1 + EQUALLY_GOOD)]
    equally_good = (float(good_M.min()), float(good_M.max()))
    low_n, high_n = drawn_n.holding(equally_good[0]).holding(equally_good[1])
    theta_1T = fit.theta_T[None]
    predictor = calibrated_predictor(
        law_model(fit.law.name, fit.objective), fit.table, lambda n, d: fit.law.log_loss(theta_1T, n, d)[0]
    )
    worth = _worth(params, tokens, constraints)
    forecast = predictor.predict(params, worth)
    epochs = tokens / constraints.unique_tokens if constraints.unique_tokens else 1.0
    return ComputePlan(
        flops, params, tokens, forecast, (low_n, high_n),
        (_tokens(flops, high_n, constraints), _tokens(flops, low_n, constraints)), equally_good,
        f"{coverage:.0%} bootstrap of {len(drawn)} draws, widened by sizes whose loss is within {EQUALLY_GOOD:.1%}",
        _binding(params, flops, fit.theta_T, constraints), max(epochs, 1.0),
        flops / float((FLOPS_PER_PARAMETER_TOKEN * fit.table.params_R * fit.table.tokens_R).max()),
    )  # fmt: skip


def isoflop_curve(fit: Fit, flops: float, sizes_M: Array) -> Array:
    """Loss of the law along one budget."""
    return fit.loss(sizes_M, flops / FLOPS_PER_PARAMETER_TOKEN / sizes_M)


def _tokens(flops: float, params: float, constraints: Constraints) -> float:
    served = INFERENCE_FLOPS_PER_PARAMETER_TOKEN * params * constraints.inference_tokens
    return max(flops - served, 0.0) / FLOPS_PER_PARAMETER_TOKEN / params


def _worth(params: float, tokens: float, constraints: Constraints) -> float:
    """Fresh tokens that the (repeated) ones are worth."""
    if constraints.unique_tokens is None or tokens <= constraints.unique_tokens:
        return tokens
    return float(MUENNIGHOFF.effective_tokens(np.array([tokens]), np.array([constraints.unique_tokens]))[0])


def _best(
    theta_T: Array, fit: Fit, flops: float, constraints: Constraints, sizes_M: Array
) -> tuple[float, float, Array]:
    served_M = INFERENCE_FLOPS_PER_PARAMETER_TOKEN * sizes_M * constraints.inference_tokens
    tokens_M = np.maximum(flops - served_M, 0.0) / FLOPS_PER_PARAMETER_TOKEN / sizes_M
    allowed_M = tokens_M > 0
    if constraints.max_params is not None:
        allowed_M &= sizes_M <= constraints.max_params
    if constraints.min_tokens_per_param is not None:
        allowed_M &= tokens_M >= constraints.min_tokens_per_param * sizes_M
    if not allowed_M.any():
        raise UserError("no model meets the constraints within this budget; relax one, or raise the budget")
    worth_M = tokens_M.copy()
    if constraints.unique_tokens is not None:
        unique_M = np.full(len(sizes_M), constraints.unique_tokens)
        repeated_M = tokens_M > constraints.unique_tokens
        worth_M[repeated_M] = MUENNIGHOFF.effective_tokens(tokens_M[repeated_M], unique_M[repeated_M])
    losses_M = np.full(len(sizes_M), np.inf)
    losses_M[allowed_M] = np.exp(fit.law.log_loss(theta_T[None], sizes_M[allowed_M], worth_M[allowed_M])[0])
    best = int(np.argmin(losses_M))
    return float(sizes_M[best]), float(tokens_M[best]), losses_M


def _binding(params: float, flops: float, theta_T: Array, constraints: Constraints) -> tuple[str, ...]:
    """Constraints that moved the plan away from the free optimum by more than 2 %."""
    free = float(optimum(theta_T[None], flops).params_B[0])
    if abs(np.log(params / free)) < 0.02:
        return ()
    found = []
    if constraints.max_params is not None and params > 0.98 * constraints.max_params:
        found.append("max_params")
    if constraints.min_tokens_per_param is not None:
        ratio = _tokens(flops, params, constraints) / params
        if ratio < 1.02 * constraints.min_tokens_per_param:
            found.append("min_tokens_per_param")
    if constraints.unique_tokens is not None and _tokens(flops, params, constraints) > constraints.unique_tokens:
        found.append("unique_tokens")
    if constraints.inference_tokens > 0:
        found.append("inference_tokens")
    return tuple(found)
