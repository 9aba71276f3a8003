"""Newton's method with a trust parameter for many fits at once, each to its own optimum.

The summed loss is about 1e-3, so a tolerance on its change (the default of every general optimiser) stops far from the
optimum. Here a problem is done when the decrease that the next exact Newton step promises is a tiny share of the value.

Shape suffixes: B problems, R rows, T family parameters, P free parameters, F features of a row.

Starts: on a grid of exponents the rest of the law is linear, and solved exactly (variable projection). For fixed alpha,
beta (and, where the outer power k is free, fixed E and k) the loss is linear in A, B (and E), so one small linear
system per grid point replaces a search over three parameters (Golub & Pereyra 1973).

Shape suffixes: G grid points, I values of alpha, J of beta, R rows, T family parameters, S subsets of linear terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from e2lm_scaling.laws.law import Law
from e2lm_scaling.laws.objective import Array, Objective
from e2lm_scaling.laws.power_sum import BETA, NO_FLOOR, NO_TERM, B, K, Rows, expansion, log_loss

#: A problem is solved when the promised decrease is below this share of its value ...
PROMISE_TOLERANCE = 1e-10
#: ... or below this: 100 squared rounding errors of a residual, which noise-free data come down to.
VALUE_FLOOR = 1e-26
FIRST_TRUST = 1e-3
SHRINK, GROW = 0.2, 6.0
#: Damping up to which the promised decrease says something about the undamped problem, and where a problem is given up.
TRUSTED, MOST_TRUST = 1e-1, 1e12
#: Problems solved side by side; larger groups fall out of the processor's cache.
GROUP = 128
MOST_ITERATIONS = 200


@dataclass(frozen=True, slots=True)
class Solution:
    """Where each problem ended."""

    z_BP: Array
    value_B: Array
    converged_B: NDArray[np.bool_]


@dataclass(slots=True)
class _State:
    z_BP: Array
    value_B: Array
    gradient_BP: Array
    hessian_BPP: Array
    scale_BP: Array


@dataclass(frozen=True, slots=True)
class _Problem:
    law: Law
    rows: Rows
    features_RF: Array
    objective: Objective

    def at(self, z_BP: Array, weights_BR: Array) -> _State:
        """Value, gradient and Hessian in the free parameters."""
        embedding_TP = self.law.embedding_TP
        with np.errstate(all="ignore"):  # a trial step may overflow; its value is then not finite and it is refused
            full = expansion(self.law.theta(z_BP), self.rows, self.features_RF, weights_BR, self.objective)
            gradient_BP = full.gradient_BT @ embedding_TP
            hessian_BPP = np.einsum("tp,btu,uq->bpq", embedding_TP, full.hessian_BTT, embedding_TP, optimize=True)
            # (sum |S| sqrt d)^2 is the largest that the diagonal of S^T M S can be for M with diagonal d
            scale_BP = (np.sqrt(full.scale_BT) @ np.abs(embedding_TP)) ** 2
        return _State(z_BP, full.value_B, gradient_BP, hessian_BPP, scale_BP)


def solve(law: Law, rows: Rows, start_BP: Array, weights_BR: Array, objective: Objective) -> Solution:
    """The nearest optimum to each start; ``weights_BR`` may have one row for all problems."""
    weights_BR = np.broadcast_to(weights_BR, (len(start_BP), len(rows.x_R)))
    features_RF = rows.features_RF
    z_BP = start_BP.copy()
    value_B = np.empty(len(z_BP))
    converged_B = np.zeros(len(z_BP), dtype=bool)
    for first in range(0, len(z_BP), GROUP):
        part = slice(first, first + GROUP)
        for stage in objective.stages:
            solved = _solve_group(_Problem(law, rows, features_RF, stage), z_BP[part], weights_BR[part])
            z_BP[part], value_B[part], converged_B[part] = solved.z_BP, solved.value_B, solved.converged_B
    return Solution(z_BP, value_B, converged_B)


def _solve_group(problem: _Problem, start_BP: Array, weights_BR: Array) -> Solution:
    result = problem.at(start_BP.copy(), weights_BR)
    trust_B = np.full(len(start_BP), FIRST_TRUST)
    converged_B = np.zeros(len(start_BP), dtype=bool)
    active = np.flatnonzero(np.isfinite(result.value_B))
    for _ in range(MOST_ITERATIONS):
        step_BP, promise_B = _newton_step(result, active, trust_B[active])
        small_B = (promise_B >= 0) & (promise_B <= PROMISE_TOLERANCE * result.value_B[active] + VALUE_FLOOR)
        small_B &= trust_B[active] <= TRUSTED
        converged_B[active[small_B]] = True
        going_B = ~(small_B | (trust_B[active] > MOST_TRUST))
        active, step_BP = active[going_B], step_BP[going_B]
        if not len(active):
            break
        trial = problem.at(result.z_BP[active] + step_BP, weights_BR[active])
        better_B = trial.value_B < result.value_B[active]  # False for NaN
        done = active[better_B]
        result.z_BP[done], result.value_B[done] = trial.z_BP[better_B], trial.value_B[better_B]
        result.scale_BP[done] = trial.scale_BP[better_B]
        result.gradient_BP[done], result.hessian_BPP[done] = trial.gradient_BP[better_B], trial.hessian_BPP[better_B]
        trust_B[active] *= np.where(better_B, SHRINK, GROW)
    return Solution(result.z_BP, result.value_B, converged_B)


def _newton_step(state: _State, active: NDArray[np.int64], trust_B: Array) -> tuple[Array, Array]:
    """The damped step and the decrease that the undamped quadratic model promises (negative: no minimum near)."""
    hessian_BPP, gradient_BP = state.hessian_BPP[active], state.gradient_BP[active]
    scale_BP = state.scale_BP[active]
    scale_BP = np.maximum(scale_BP, 1e-12 * scale_BP.max(axis=1, keepdims=True) + 1e-300)
    damped_BPP = hessian_BPP.copy()
    index = np.arange(hessian_BPP.shape[1])
    damped_BPP[:, index, index] += trust_B[:, None] * scale_BP
    step_BP = -_solved(damped_BPP, gradient_BP)
    promise_B = -0.5 * np.einsum("bp,bp->b", step_BP, gradient_BP)
    return step_BP, promise_B


def _solved(matrix_BPP: Array, vector_BP: Array) -> Array:
    """Solutions of the linear systems, scaled first; a singular one gives a tiny step down the gradient."""
    scale_BP = 1.0 / np.sqrt(np.abs(np.einsum("bpp->bp", matrix_BPP)))
    scaled_BPP = matrix_BPP * scale_BP[:, :, None] * scale_BP[:, None, :]
    try:
        scaled_BP = np.linalg.solve(scaled_BPP, (vector_BP * scale_BP)[..., None])[..., 0]
    except np.linalg.LinAlgError:
        scaled_BP = np.stack(
            [np.linalg.lstsq(m, v, rcond=1e-14)[0] for m, v in zip(scaled_BPP, vector_BP * scale_BP, strict=True)]
        )
    result_BP: Array = scaled_BP * scale_BP
    return result_BP


#: Exponents of published fits lie between 0.05 and 1; twice that each way.
EXPONENTS = np.geomspace(0.02, 2.5, 40)
#: With k free the grid has two more sides and is coarser on each.
COARSE_EXPONENTS = np.geomspace(0.03, 2.5, 14)
POWERS = (0.1, 0.2, 0.35, 0.6, 1.0, 1.5)
#: E as a share of the lowest loss seen.
FLOOR_SHARES = (0.0, 0.3, 0.5, 0.65, 0.75, 0.85, 0.92, 0.97)
#: Grid points whose true objective is evaluated, per pass and per (E, k): the best by least squares.
EVALUATED = 96
#: Smallest |ln residual| used as a divisor when the second pass turns squares into absolute values.
SMALLEST_RESIDUAL = 1e-3


@dataclass(frozen=True, slots=True)
class _Grid:
    """Grid points by index into the exponents of both terms."""

    alpha_I: Array
    beta_J: Array
    i_G: NDArray[np.int64]
    j_G: NDArray[np.int64]


def starts(law: Law, rows: Rows, weights_R: Array, objective: Objective, count: int) -> Array:
    """The ``count`` best points of the grid by the objective, as family parameters, shape (count, T)."""
    first_GT = _pass(law, rows, weights_R)
    best_T = first_GT[np.argsort(_values(first_GT, rows, weights_R, objective))[0]]
    residual_R = log_loss(best_T[None], rows.x_R, rows.y_R)[0] - rows.log_loss_R
    robust_R = weights_R / np.maximum(np.abs(residual_R), SMALLEST_RESIDUAL)
    points_GT = np.concatenate([first_GT, _pass(law, rows, robust_R)])
    value_G = _values(points_GT, rows, weights_R, objective)
    order_G = np.argsort(value_G, kind="stable")
    return points_GT[order_G[:count]]


def _values(points_GT: Array, rows: Rows, weights_R: Array, objective: Objective) -> Array:
    predicted_GR = log_loss(points_GT, rows.x_R, rows.y_R)
    if objective.space == "log":
        residual_GR = predicted_GR - rows.log_loss_R
    else:
        residual_GR = np.exp(predicted_GR) - np.exp(rows.log_loss_R)
    value_G = objective.value(residual_GR) @ weights_R
    return np.where(np.isfinite(value_G), value_G, np.inf)


def _pass(law: Law, rows: Rows, weights_R: Array) -> Array:
    loss_R = np.exp(rows.log_loss_R)
    grid = _grid(law, COARSE_EXPONENTS if law.free_power else EXPONENTS)
    if not law.free_power:
        # 1/L^2 turns squares of differences into squares of relative differences.
        coefficients_G3, kept = _linear_terms(grid, rows, loss_R, weights_R / loss_R**2, law.has_floor)
        return _points(law, kept, coefficients_G3, floor=None, power=1.0)
    shares = FLOOR_SHARES if law.has_floor else (0.0,)
    found = []
    for share, power in product(shares, POWERS):
        floor = share * float(loss_R.min())
        target_R = (loss_R - floor) ** (1.0 / power)
        # d ln L = k t^(k-1)/L dt for L = E + t^k
        scale_R = power * target_R ** (power - 1.0) / loss_R
        coefficients_G3, kept = _linear_terms(grid, rows, target_R, weights_R * scale_R**2, False)
        found.append(_points(law, kept, coefficients_G3, floor, power))
    return np.concatenate(found)


def _grid(law: Law, exponents: Array) -> _Grid:
    one = np.array([0.0])
    if law.axis != "nd":
        return _grid_of(exponents, one)
    if law.tied:
        diagonal = np.arange(len(exponents))
        return _Grid(exponents, exponents, diagonal, diagonal)
    fixed_beta = law.offset_T[BETA]
    return _grid_of(exponents, np.array([fixed_beta]) if fixed_beta else exponents)


def _grid_of(alpha_I: Array, beta_J: Array) -> _Grid:
    i_G, j_G = (index.ravel() for index in np.indices((len(alpha_I), len(beta_J))))
    return _Grid(alpha_I, beta_J, i_G, j_G)


def _linear_terms(grid: _Grid, rows: Rows, target_R: Array, weights_R: Array, floor: bool) -> tuple[Array, _Grid]:
    """Non-negative (A, B, E) of weighted least squares, shape (G, 3), at the best grid points, and those points."""
    first_IR = np.exp(-np.outer(grid.alpha_I, rows.x_R))
    second_JR = np.exp(-np.outer(grid.beta_J, rows.y_R))
    gram_G33 = np.empty((len(grid.i_G), 3, 3))
    right_G3 = np.empty((len(grid.i_G), 3))
    weighted_IR, weighted_JR = first_IR * weights_R, second_JR * weights_R
    gram_G33[:, 0, 0] = (weighted_IR * first_IR).sum(axis=1)[grid.i_G]
    gram_G33[:, 1, 1] = (weighted_JR * second_JR).sum(axis=1)[grid.j_G]
    gram_G33[:, 0, 1] = gram_G33[:, 1, 0] = (weighted_IR @ second_JR.T)[grid.i_G, grid.j_G]
    gram_G33[:, 0, 2] = gram_G33[:, 2, 0] = weighted_IR.sum(axis=1)[grid.i_G]
    gram_G33[:, 1, 2] = gram_G33[:, 2, 1] = weighted_JR.sum(axis=1)[grid.j_G]
    gram_G33[:, 2, 2] = weights_R.sum()
    right_G3[:, 0] = (weighted_IR @ target_R)[grid.i_G]
    right_G3[:, 1] = (weighted_JR @ target_R)[grid.j_G]
    right_G3[:, 2] = weights_R @ target_R
    two_terms = len(grid.beta_J) > 1 or grid.beta_J[0] != 0.0
    subsets = [[0, 1, 2], [0, 1], [0, 2], [1, 2], [0], [1]]
    allowed = [s for s in subsets if (floor or 2 not in s) and (two_terms or 1 not in s)]
    best_G3, explained_G = _best_subset(gram_G33, right_G3, allowed)
    kept = np.argsort(-explained_G, kind="stable")[:EVALUATED]
    return best_G3[kept], _Grid(grid.alpha_I, grid.beta_J, grid.i_G[kept], grid.j_G[kept])


def _best_subset(gram_G33: Array, right_G3: Array, subsets: list[list[int]]) -> tuple[Array, Array]:
    """Non-negative least squares by trying every subset of the terms; and the squares that each explains."""
    best_G3 = np.zeros_like(right_G3)
    explained_G = np.full(len(right_G3), -np.inf)
    for subset in subsets:
        block = gram_G33[:, subset][:, :, subset]
        scale = 1.0 / np.sqrt(np.einsum("gss->gs", block))
        ridge = 1e-14 * np.eye(len(subset))  # keeps two equal columns solvable
        scaled = block * scale[:, :, None] * scale[:, None, :] + ridge
        solution = np.linalg.solve(scaled, (right_G3[:, subset] * scale)[..., None])[..., 0] * scale
        gain_G = np.einsum("gs,gs->g", solution, right_G3[:, subset])
        better_G = np.all(solution > 0, axis=1) & (gain_G > explained_G)
        explained_G[better_G] = gain_G[better_G]
        best_G3[better_G] = 0.0
        best_G3[np.ix_(better_G, subset)] = solution[better_G]
    return best_G3, explained_G


def _points(law: Law, grid: _Grid, coefficients_G3: Array, floor: float | None, power: float) -> Array:
    tiny = np.exp(NO_FLOOR / 2)  # a term that came out as 0 starts small, so that the polish can bring it back
    log_G3 = np.log(np.maximum(coefficients_G3, tiny))
    fixed_floor = NO_FLOOR if not floor else float(np.log(floor))
    log_e_G = log_G3[:, 2] if floor is None and law.has_floor else np.full(len(log_G3), fixed_floor)
    if law.has_floor:
        log_e_G = np.maximum(log_e_G, np.log(tiny))
    points_GT = np.stack(
        [log_G3[:, 0], log_G3[:, 1], log_e_G, grid.alpha_I[grid.i_G], grid.beta_J[grid.j_G],
         np.full(len(log_G3), power)], axis=1,
    )  # fmt: skip
    if law.axis != "nd":
        points_GT[:, B] = NO_TERM
    points_GT[:, K] = power
    return points_GT
