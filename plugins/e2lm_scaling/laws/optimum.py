"""The best split of a compute budget into parameters and tokens: from a law, or read from curves (isoFLOP).

Approaches 1 and 2 of Hoffmann et al. 2022 (arXiv 2203.15556) read optima from curves, without a law of N and D.
Parabolas in approach 2 are biased by wide or off-centre grids and by alpha != beta, even without noise (Czech et al.
2603.22339), so that curves through the runs are read instead. Shape suffixes: B fits, T family parameters, R runs, G
budgets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2lm.errors import UserError
from e2lm.scaling_predictor import LossTable
from e2lm_scaling.forecast.table import flops_of
from e2lm_scaling.laws.law import FLOPS_PER_PARAMETER_TOKEN
from e2lm_scaling.laws.objective import Array
from e2lm_scaling.laws.power_sum import ALPHA, BETA, A, B, log_loss


@dataclass(frozen=True, slots=True)
class Optimum:
    """The compute-optimal model: parameters N*, tokens D*, and the loss there, each of shape (B,)."""

    params_B: Array
    tokens_B: Array
    loss_B: Array


def optimum(theta_BT: Array, flops: float) -> Optimum:
    """The minimum of the law over N at C = 6 N D, in closed form (the outer power k and E do not move it).

    N* = G (C/6)^(beta/(alpha+beta)), D* = (C/6)/N*, G = (alpha A / (beta B))^(1/(alpha+beta))
    (Hoffmann et al. 2022, arXiv 2203.15556, eq. 4).

    >>> hoffmann = np.array([[6.0073404, 6.0179186, 0.5267228, 0.33917084, 0.2849083, 1.0]])
    >>> best = optimum(hoffmann, 5.76e23)
    >>> f"{best.params_B[0]:.3e} {best.tokens_B[0]:.3e}"
    '4.036e+10 2.379e+12'
    """
    alpha_B, beta_B = theta_BT[:, ALPHA], theta_BT[:, BETA]
    total_B = alpha_B + beta_B
    log_g_B = (np.log(alpha_B) + theta_BT[:, A] - np.log(beta_B) - theta_BT[:, B]) / total_B
    log_budget = np.log(flops / FLOPS_PER_PARAMETER_TOKEN)
    log_params_B = log_g_B + log_budget * beta_B / total_B
    log_tokens_B = log_budget - log_params_B
    log_loss_B = np.array(
        [log_loss(theta_T[None], x, y)[0, 0] for theta_T, x, y in zip(
            theta_BT, log_params_B[:, None], log_tokens_B[:, None], strict=True
        )]
    )  # fmt: skip
    with np.errstate(over="ignore"):  # no end of parameters or tokens
        return Optimum(np.exp(log_params_B), np.exp(log_tokens_B), np.exp(log_loss_B))


def flops_for_loss(theta_T: Array, loss: float) -> float:
    """Compute at which the optimal model reaches ``loss``, in FLOPs; infinite at or below the irreducible loss."""
    low, high = 1.0, 1e40
    if float(optimum(theta_T[None], high).loss_B[0]) > loss:
        return float("inf")
    for _ in range(200):
        middle = np.sqrt(low * high)
        if float(optimum(theta_T[None], middle).loss_B[0]) > loss:
            low = middle
        else:
            high = middle
    return float(high)


#: Runs whose compute differs by less than this share belong to one budget.
SAME_BUDGET = 0.15
FEWEST_RUNS = 4
#: Sizes among which the lowest point of an isoFLOP curve is sought.
CURVE_POINTS = 1001
#: Budgets read from the lower envelope of training curves in approach 1.
ENVELOPE_POINTS = 1500


@dataclass(frozen=True, slots=True)
class PowerFit:
    """y = coefficient x^exponent by least squares of logarithms."""

    coefficient: float
    exponent: float

    def at(self, x: float) -> float:
        """Y at x."""
        return float(self.coefficient * x**self.exponent)


def power_fit(x_G: Array, y_G: Array) -> PowerFit:
    """The power law through points of positive x and y.

    >>> power_fit(np.array([1.0, 10.0]), np.array([3.0, 30.0])).exponent
    1.0
    """
    exponent, level = np.polyfit(np.log(x_G), np.log(y_G), 1)
    return PowerFit(float(np.exp(level)), round(float(exponent), 12))


@dataclass(frozen=True, slots=True)
class IsoFlop:
    """Optima of the budgets and their power laws in C (FLOPs)."""

    flops_G: Array
    params_G: Array
    tokens_G: Array
    loss_G: Array
    params_law: PowerFit
    tokens_law: PowerFit


def budgets_of(table: LossTable) -> list[tuple[float, NDArray[np.intp]]]:
    """Groups of rows with about the same compute: their geometric mean and row numbers, in order."""
    log_flops_R = np.log(flops_of(table))
    order_R = np.argsort(log_flops_R)
    breaks = np.flatnonzero(np.diff(log_flops_R[order_R]) > np.log1p(SAME_BUDGET)) + 1
    groups = np.split(order_R, breaks) if len(order_R) else []
    return [(float(np.exp(log_flops_R[group].mean())), group) for group in groups]


def isoflop_optima(table: LossTable) -> IsoFlop:
    """Approach 2: the lowest point of a curve through ln L over ln N at every budget, then power laws.

    The curve is Akima's, as that of Porian et al. 2024 (arXiv 2406.19146), through the best run of every size: over a
    wide range of sizes isoFLOP curves are no parabolas. Budgets of fewer than ``FEWEST_RUNS`` sizes, and those whose
    lowest loss is at the edge of their sizes, are left out.
    """
    found = []
    for flops, group in budgets_of(table):
        rows = _one_per_size(table, group)
        lowest = int(np.argmin(table.loss_R[rows]))
        if len(rows) < FEWEST_RUNS or not 0 < lowest < len(rows) - 1:
            continue
        params, loss = _lowest_of_curve(table.params_R[rows], table.loss_R[rows], lowest)
        found.append((flops, params, flops / FLOPS_PER_PARAMETER_TOKEN / params, loss))
    return _with_laws(found)


def _one_per_size(table: LossTable, group: NDArray[np.intp]) -> NDArray[np.intp]:
    """The best row of every size, in order of size."""
    best: dict[float, int] = {}
    for row in group[np.argsort(-table.loss_R[group], kind="stable")]:
        best[float(np.round(np.log(table.params_R[row]), 2))] = int(row)
    return np.array([best[size] for size in sorted(best)], dtype=np.intp)


def _lowest_of_curve(params_R: Array, loss_R: Array, lowest: int) -> tuple[float, float]:
    """Size and loss where the curve through the runs is lowest, between the neighbours of the best run."""
    from scipy.interpolate import Akima1DInterpolator

    curve = Akima1DInterpolator(np.log(params_R), np.log(loss_R))
    between_R = np.linspace(np.log(params_R[lowest - 1]), np.log(params_R[lowest + 1]), CURVE_POINTS)
    log_loss_R = curve(between_R)
    at = int(np.argmin(log_loss_R))
    return float(np.exp(between_R[at])), float(np.exp(log_loss_R[at]))


def envelope_optima(table: LossTable) -> IsoFlop:
    """Approach 1: the lowest of all training curves at each of 1,500 budgets, then power laws.

    The rows of one series are the checkpoints of one run; curves are interpolated in ln C.
    """
    names = np.array(table.series_R)
    log_flops_R = np.log(flops_of(table))
    grid_G = np.linspace(log_flops_R.min(), log_flops_R.max(), ENVELOPE_POINTS)
    lowest_G = np.full(ENVELOPE_POINTS, np.inf)
    params_G = np.full(ENVELOPE_POINTS, np.nan)
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        rows = rows[np.argsort(log_flops_R[rows])]
        if len(rows) < 2:
            continue
        inside_G = (grid_G >= log_flops_R[rows[0]]) & (grid_G <= log_flops_R[rows[-1]])
        curve_G = np.interp(grid_G, log_flops_R[rows], table.loss_R[rows])
        better_G = inside_G & (curve_G < lowest_G)
        lowest_G[better_G] = curve_G[better_G]
        params_G[better_G] = table.params_R[rows[0]]
    seen = np.flatnonzero(np.isfinite(lowest_G))
    flops_G = np.exp(grid_G)
    return _with_laws(
        [(flops_G[g], params_G[g], flops_G[g] / FLOPS_PER_PARAMETER_TOKEN / params_G[g], lowest_G[g]) for g in seen]
    )


def _with_laws(found: list[tuple[float, float, float, float]]) -> IsoFlop:
    if len(found) < 2:
        raise UserError(
            f"{len(found)} compute budgets have an optimum inside their sizes; isoFLOP fits need 2 budgets with at "
            f"least {FEWEST_RUNS} sizes each, on both sides of the best"
        )
    flops_G, params_G, tokens_G, loss_G = (np.array(column, dtype=np.float64) for column in zip(*found, strict=True))
    return IsoFlop(flops_G, params_G, tokens_G, loss_G, power_fit(flops_G, params_G), power_fit(flops_G, tokens_G))
