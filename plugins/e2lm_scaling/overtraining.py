"""From loss to mean error of downstream tasks: Gadre et al. 2024 (arXiv 2403.08540).

Their loss law L(C, M) = E + (a M^eta + b M^-eta) C^-eta, M = D/N, is the law ``chinchilla-tied`` with
alpha = beta = 2 eta; fit it with the objective ``mse`` in the space ``loss`` to follow them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import curve_fit

from e2lm.errors import UserError
from e2lm_scaling.objective import Array


@dataclass(frozen=True, slots=True)
class ErrorLaw:
    """Err(L) = epsilon - k exp(-gamma L): mean top-1 error as a share."""

    epsilon: float
    k: float
    gamma: float

    def error(self, loss: Array) -> Array:
        """Mean error at these losses.

        >>> float(ErrorLaw(0.857, 2.2, 0.71).error(np.array(100.0)))
        0.857
        """
        result: Array = self.epsilon - self.k * np.exp(-self.gamma * loss)
        return result


def fit_error_law(loss_R: Array, error_R: Array) -> ErrorLaw:
    """Least squares; :class:`UserError` for fewer than four points or where it does not converge."""
    if len(loss_R) < 4:
        raise UserError(f"{len(loss_R)} points cannot identify the 3 parameters of the error law; give at least 4")

    def law(loss: Array, k: float, gamma: float, epsilon: float) -> Array:
        return epsilon - k * np.exp(-gamma * loss)

    try:
        (k, gamma, epsilon), _ = curve_fit(law, loss_R, error_R, maxfev=10000)
    except RuntimeError as error:
        raise UserError("the error law does not converge on these points; are the errors shares in 0..1?") from error
    return ErrorLaw(float(epsilon), float(k), float(gamma))
