"""The best split of a compute budget into parameters and tokens.

Shape suffixes: B fits, T family parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from e2lm_scaling.law import FLOPS_PER_PARAMETER_TOKEN
from e2lm_scaling.objective import Array
from e2lm_scaling.power_sum import ALPHA, BETA, A, B, log_loss


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
