"""Newton's method with a trust parameter for many fits at once, each to its own optimum.

The summed loss is about 1e-3, so a tolerance on its change (the default of every general optimiser) stops far from the
optimum. Here a problem is done when the decrease that the next exact Newton step promises is a tiny share of the value.

Shape suffixes: B problems, R rows, T family parameters, P free parameters, F features of a row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2lm_scaling.law import Law
from e2lm_scaling.objective import Array, Objective
from e2lm_scaling.power_sum import Rows, expansion

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
