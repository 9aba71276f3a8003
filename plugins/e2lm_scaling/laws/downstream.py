"""From N, D and loss to downstream accuracy: the OLMo ladder, and mean error after over-training.

Bhagia et al. 2024 (arXiv 2412.04403), N, D -> bits per byte of a task -> its accuracy: step 1 is the law ``chinchilla``
on task bits per byte, step 2 a sigmoid from bits per byte to accuracy. Shape suffixes: K checkpoints of one run, R
rows, B bootstrap draws.

Gadre et al. 2024 (arXiv 2403.08540), from loss to mean error of downstream tasks: their loss law L(C, M) = E + (a M^eta
+ b M^-eta) C^-eta, M = D/N, is the law ``chinchilla-tied`` with alpha = beta = 2 eta; fit it with the objective ``mse``
in the space ``loss`` to follow them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import curve_fit

from e2lm.errors import UserError
from e2lm_scaling.laws.fit import Fit
from e2lm_scaling.laws.objective import Array

#: First value of the midpoint and steepness of the sigmoid.
MIDPOINT_START, STEEPNESS_START = 0.9, 3.0
#: A perfect model needs no bits and makes no mistake: the point added to every fit.
ANCHOR = (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class AccuracyLaw:
    """accuracy(x) = height / (1 + exp(-steepness (x - midpoint))) + top, height <= 0, x in bits per byte."""

    height: float
    midpoint: float
    steepness: float
    top: float

    def accuracy(self, bits_per_byte: Array) -> Array:
        """Accuracy as a share at these bits per byte."""
        result: Array = _sigmoid(bits_per_byte, self.height, self.midpoint, self.steepness, self.top)
        return result


def _sigmoid(x: Array, height: float, midpoint: float, steepness: float, top: float) -> Array:
    result: Array = height / (1.0 + np.exp(-steepness * (x - midpoint))) + top
    return result


def fit_accuracy_law(bits_R: Array, accuracy_R: Array, chance: float) -> AccuracyLaw:
    """Least squares on the points and the anchor (0 bits, accuracy 1), bounded as in the paper's own fit."""
    if len(bits_R) < 4:
        raise UserError(f"{len(bits_R)} points cannot identify the 4 parameters of the accuracy law; give at least 5")
    start = (chance - 1.0, MIDPOINT_START, STEEPNESS_START, ANCHOR[1])
    bounds = ([-1.0, 0.0, 0.0, 0.0], [0.0, np.inf, np.inf, 1.0])
    x, y = np.append(bits_R, ANCHOR[0]), np.append(accuracy_R, ANCHOR[1])
    found, _ = curve_fit(_sigmoid, x, y, p0=start, bounds=bounds, maxfev=500000)
    return AccuracyLaw(*(float(value) for value in found))


def smoothed(values_K: Array, window: int = 5) -> Array:
    """Trailing mean over up to ``window`` checkpoints.

    >>> smoothed(np.array([1.0, 2.0, 3.0, 4.0]), 2).tolist()
    [1.0, 1.5, 2.5, 3.5]
    """
    total_K = np.cumsum(values_K)
    counts_K = np.minimum(np.arange(1, len(values_K) + 1), window)
    shifted_K = np.concatenate([np.zeros(min(window, len(values_K))), total_K[:-window]])[: len(values_K)]
    result: Array = (total_K - shifted_K) / counts_K
    return result


@dataclass(frozen=True, slots=True)
class TaskChain:
    """Both steps of one task."""

    loss_fit: Fit
    accuracy_law: AccuracyLaw

    def accuracy(self, params: float, tokens: float) -> float:
        """Predicted accuracy of a model of N parameters after D tokens."""
        return float(self.accuracy_law.accuracy(self.loss_fit.loss(params, tokens)))


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
