"""The family that holds nearly every loss law: L = E + (A / N^alpha + B / D^beta)^k, in logarithms.

ln L = ln(exp(e) + exp(v)),  v = k m,  m = ln(exp(a - alpha x) + exp(b - beta y)),  x = ln N, y = ln D.
k = 1 is Chinchilla (Hoffmann et al. 2022), beta = 1 is Kaplan et al. 2020 eq. 1.5 with a floor, all free is Skaling.

Shape suffixes: B problems at once, R rows, T = 6 parameters (a, b, e, alpha, beta, k). All problems share x and y and
differ in their row weights, so that every sum over rows is one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from e2lm_scaling.laws.objective import Array, Objective

#: Positions in a parameter vector.
A, B, E, ALPHA, BETA, K = range(6)
PARAMETERS = 6
#: ln of an irreducible loss that is none: exp(-60) is below the rounding of any loss.
NO_FLOOR = -60.0
#: ln of a term that is left out of the sum.
NO_TERM = -600.0


@dataclass(frozen=True, slots=True)
class Rows:
    """The data of a fit: x = ln N, y = ln D and ln L, with centred copies of x and y that keep the sums exact."""

    x_R: Array
    y_R: Array
    log_loss_R: Array

    @property
    def features_RF(self) -> Array:
        """Columns 1, x, x^2, y, y^2, xy."""
        x_R, y_R = self.x_R, self.y_R
        return np.stack([np.ones_like(x_R), x_R, x_R**2, y_R, y_R**2, x_R * y_R], axis=1)

    def centred(self) -> tuple[Rows, float, float]:
        """The rows with means of x and y taken off, and these means."""
        x_mean, y_mean = float(self.x_R.mean()), float(self.y_R.mean())
        return Rows(self.x_R - x_mean, self.y_R - y_mean, self.log_loss_R), x_mean, y_mean


def uncentred(theta_BT: Array, x_mean: float, y_mean: float) -> Array:
    """Parameters for plain x and y, given those for centred ones."""
    moved = theta_BT.copy()
    moved[..., A] += theta_BT[..., ALPHA] * x_mean
    moved[..., B] += theta_BT[..., BETA] * y_mean
    return moved


def recentred(theta_BT: Array, x_mean: float, y_mean: float) -> Array:
    """The inverse of :func:`uncentred`."""
    return uncentred(theta_BT, -x_mean, -y_mean)


def log_loss(theta_BT: Array, x_R: Array, y_R: Array) -> Array:
    """Logarithm of the loss of every problem at every row, shape (B, R)."""
    a, b, e, alpha, beta, k = (theta_BT[:, index, None] for index in range(PARAMETERS))
    reducible_BR = k * np.logaddexp(a - alpha * x_R, b - beta * y_R)
    result: Array = np.logaddexp(reducible_BR, e)
    return result


def gradient_log_loss(theta_T: Array, x_R: Array, y_R: Array) -> Array:
    """Derivatives of ln L by the six parameters at every row, shape (R, T)."""
    a, b, e, alpha, beta, k = theta_T
    first_R, second_R = a - alpha * x_R, b - beta * y_R
    m_R = np.logaddexp(first_R, second_R)
    share_R = np.exp(k * m_R - np.logaddexp(k * m_R, e))
    pull1_R, pull2_R = share_R * k * np.exp(first_R - m_R), share_R * k * np.exp(second_R - m_R)
    return np.stack([pull1_R, pull2_R, 1.0 - share_R, -pull1_R * x_R, -pull2_R * y_R, share_R * m_R], axis=1)


@dataclass(frozen=True, slots=True)
class Expansion:
    """Value, gradient and Hessian of the objective at one point per problem.

    ``scale_BT`` is the diagonal of the quadratic that lies above the objective everywhere (weights psi(r)/r); unlike
    the Hessian's, it does not vanish where every residual is beyond the delta of a Huber penalty.
    """

    value_B: Array
    gradient_BT: Array
    hessian_BTT: Array
    scale_BT: Array


def expansion(theta_BT: Array, rows: Rows, features_RF: Array, weights_BR: Array, objective: Objective) -> Expansion:
    """The second-order expansion of ``sum_r w_r rho(r_r)`` in all six parameters, exact (no Gauss-Newton)."""
    a, b, e, alpha, beta, k = (theta_BT[:, index, None] for index in range(PARAMETERS))
    first_BR = np.exp(a - alpha * rows.x_R)
    second_BR = np.exp(b - beta * rows.y_R)
    sum_BR = first_BR + second_BR
    unit_power = bool(np.all(k == 1.0))
    m_BR = np.log(sum_BR)
    reducible_BR = sum_BR if unit_power else np.exp(k * m_BR)
    loss_BR = reducible_BR + np.exp(e)
    predicted_BR = np.log(loss_BR)
    in_log = objective.space == "log"
    residual_BR = predicted_BR - rows.log_loss_R if in_log else loss_BR - np.exp(rows.log_loss_R)
    psi_BR, curvature_BR = objective.derivatives(residual_BR)
    psi_BR = psi_BR * weights_BR
    above_BR = psi_BR / np.where(residual_BR == 0.0, 1.0, residual_BR)
    curvature_BR = curvature_BR * weights_BR
    if not in_log:  # chain rule of L = exp(f)
        above_BR = above_BR * loss_BR**2
        psi_BR, curvature_BR = psi_BR * loss_BR, curvature_BR * loss_BR**2 + psi_BR * loss_BR
    value_B = np.einsum("br,br->b", weights_BR, objective.value(residual_BR))
    share_BR = reducible_BR / loss_BR
    p1_BR = first_BR / sum_BR
    s1_BR, s2_BR = k * p1_BR, k * (1.0 - p1_BR)
    gradient_BT = _gradient(psi_BR * share_BR, psi_BR, (s1_BR, s2_BR, m_BR), features_RF)
    scale_BT = _scale(above_BR * share_BR**2, above_BR * (1.0 - share_BR) ** 2, (s1_BR, s2_BR, m_BR), features_RF)
    # f_i f_j  has loadings share*s (and 1 - share on e); the curvature of f adds share(1-share) s s (and -1 on e).
    spread_BR = psi_BR * share_BR * (1.0 - share_BR)
    c_BR = curvature_BR * share_BR**2 + spread_BR
    d_BR = curvature_BR * share_BR * (1.0 - share_BR) - spread_BR
    e_BR = curvature_BR * (1.0 - share_BR) ** 2 + spread_BR
    bend_BR = psi_BR * share_BR
    hessian_BTT = _hessian((c_BR, d_BR, e_BR, bend_BR), (s1_BR, s2_BR, p1_BR, m_BR), k, features_RF)
    return Expansion(value_B, gradient_BT, hessian_BTT, scale_BT)


def _scale(weight_BR: Array, floor_BR: Array, loadings: tuple[Array, Array, Array], features_RF: Array) -> Array:
    s1_BR, s2_BR, m_BR = loadings
    scale_BT = np.empty((len(weight_BR), PARAMETERS))
    scale_BT[:, [A, ALPHA]] = weight_BR * s1_BR**2 @ features_RF[:, [0, 2]]
    scale_BT[:, [B, BETA]] = weight_BR * s2_BR**2 @ features_RF[:, [0, 4]]
    scale_BT[:, E] = floor_BR.sum(axis=1)
    scale_BT[:, K] = np.einsum("br,br,br->b", weight_BR, m_BR, m_BR)
    return scale_BT


def _gradient(pull_BR: Array, psi_BR: Array, loadings: tuple[Array, Array, Array], features_RF: Array) -> Array:
    s1_BR, s2_BR, m_BR = loadings
    gradient_BT = np.empty((len(pull_BR), PARAMETERS))
    one = pull_BR * s1_BR @ features_RF[:, [0, 1]]
    two = pull_BR * s2_BR @ features_RF[:, [0, 3]]
    gradient_BT[:, A], gradient_BT[:, ALPHA] = one[:, 0], -one[:, 1]
    gradient_BT[:, B], gradient_BT[:, BETA] = two[:, 0], -two[:, 1]
    gradient_BT[:, E] = (psi_BR - pull_BR).sum(axis=1)
    gradient_BT[:, K] = np.einsum("br,br->b", pull_BR, m_BR)
    return gradient_BT


def _hessian(
    coefficients: tuple[Array, Array, Array, Array],
    loadings: tuple[Array, Array, Array, Array],
    k: Array,
    features_RF: Array,
) -> Array:
    c_BR, d_BR, e_BR, bend_BR = coefficients
    s1_BR, s2_BR, p1_BR, m_BR = loadings
    h = np.empty((len(c_BR), PARAMETERS, PARAMETERS))
    inner_BR = bend_BR * k * p1_BR * (1.0 - p1_BR)
    cs1_BR, cs2_BR = c_BR * s1_BR, c_BR * s2_BR
    one_one = (cs1_BR * s1_BR + inner_BR) @ features_RF[:, :3]
    h[:, A, A], h[:, A, ALPHA], h[:, ALPHA, ALPHA] = one_one[:, 0], -one_one[:, 1], one_one[:, 2]
    two_two = (cs2_BR * s2_BR + inner_BR) @ features_RF[:, [0, 3, 4]]
    h[:, B, B], h[:, B, BETA], h[:, BETA, BETA] = two_two[:, 0], -two_two[:, 1], two_two[:, 2]
    one_two = (cs1_BR * s2_BR - inner_BR) @ features_RF[:, [0, 1, 3, 5]]
    h[:, A, B], h[:, B, ALPHA], h[:, A, BETA], h[:, ALPHA, BETA] = (
        one_two[:, 0], -one_two[:, 1], -one_two[:, 2], one_two[:, 3],
    )  # fmt: skip
    one_e, two_e = (d_BR * s1_BR) @ features_RF[:, [0, 1]], (d_BR * s2_BR) @ features_RF[:, [0, 3]]
    h[:, A, E], h[:, E, ALPHA], h[:, B, E], h[:, E, BETA] = one_e[:, 0], -one_e[:, 1], two_e[:, 0], -two_e[:, 1]
    h[:, E, E] = e_BR.sum(axis=1)
    one_k = (cs1_BR * m_BR + bend_BR * p1_BR) @ features_RF[:, [0, 1]]
    two_k = (cs2_BR * m_BR + bend_BR * (1.0 - p1_BR)) @ features_RF[:, [0, 3]]
    h[:, A, K], h[:, ALPHA, K], h[:, B, K], h[:, BETA, K] = one_k[:, 0], -one_k[:, 1], two_k[:, 0], -two_k[:, 1]
    h[:, K, K] = np.einsum("br,br,br->b", c_BR, m_BR, m_BR)
    h[:, E, K] = np.einsum("br,br->b", d_BR, m_BR)
    rows, columns = np.tril_indices(PARAMETERS, -1)
    h[:, rows, columns] = h[:, columns, rows]
    return h
