"""The value of ``signal_quality``: does a later checkpoint score better than an earlier one?

In words: take two checkpoints of the run, far-apart ones more often than close ones; how much more probable is it that
the later one is better than that it is worse? 1 means always better, 0 a coin toss, -1 always worse. ::

    Q = sum_{i<j} w_i w_j (x_j - x_i) c_ij / sum_{i<j} w_i w_j (x_j - x_i)
    c_ij = 2 Phi((y_j - y_i) / s_ij) - 1,  or sign(y_j - y_i) where s_ij is unknown or 0

``x`` is the axis of training (tokens), ``w_k`` the length of it that checkpoint k stands for (trapezoid rule), ``y``
the values, with anything below chance set to chance (what is worse than guessing is no progress), and ``s_ij`` the
standard error of ``y_j - y_i`` that comes from having finitely many items. So a rise of .0001 that the items cannot
resolve counts nothing, and ties count nothing.

Why it does not depend on how many checkpoints there are: numerator and denominator are quadratures of integrals over
the run, and the weight ``x_j - x_i`` takes from close pairs, of which more checkpoints bring more, their say.

With all weights equal and no ``s`` it is Kendall's tau-a (Biometrika 30 (1938), 81).

Shape suffixes: K checkpoints, P pairs of them, D draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm_signal.token_axis import trapezoid_weights_K

Values = NDArray[np.float64]

#: 2 Phi(z) - 1 = erf(z / sqrt 2)
ROOT_2 = float(np.sqrt(2.0))
#: atanh of 1 is infinite: Q is kept this far from its ends. What is closer to them is no difference worth a name.
NEAREST_TO_ONE = 1e-4


@dataclass(frozen=True, slots=True)
class Pairs:
    """For every pair i < j of checkpoints its weight (all sum to 1) and the standard error of ``y_j - y_i``.

    0 elsewhere, and where no error is known.
    """

    weight_KK: Values
    stderr_KK: Values


def pairs_of(positions_K: Values, covariance_KK: Values | None) -> Pairs:
    """All pairs of checkpoints at ``positions_K``; ``covariance_KK`` is that of the values' item noise, if known."""
    weights_K = trapezoid_weights_K(positions_K)
    distance_KK = np.triu(positions_K[None, :] - positions_K[:, None], 1)
    weight_KK = weights_K[:, None] * weights_K[None, :] * distance_KK
    stderr_KK = np.zeros_like(weight_KK)
    if covariance_KK is not None:
        variance_K = np.diag(covariance_KK)
        variance_KK = variance_K[:, None] + variance_K[None, :] - 2.0 * covariance_KK
        stderr_KK = np.triu(np.sqrt(np.maximum(variance_KK, 0.0)), 1)
    return Pairs(weight_KK / weight_KK.sum(), stderr_KK)


def concordance_D(values_DK: NDArray[np.floating[Any]], pairs: Pairs) -> tuple[Values, Values]:
    """``Q`` and ``atanh(Q)`` of every row; Q is kept .0001 from its ends for the second.

    Rows of single precision are worked out in it, with an approximation of erf that is within .0004 of it: ten times
    faster, and good enough for a spread over draws.
    """
    quality_D = np.zeros(len(values_DK))
    for lag in range(1, values_DK.shape[1]):
        difference_DP = values_DK[:, lag:] - values_DK[:, :-lag]
        weight_P = np.diagonal(pairs.weight_KK, lag).astype(values_DK.dtype)
        quality_D += _sureness_DP(difference_DP, np.diagonal(pairs.stderr_KK, lag)) @ weight_P
    return quality_D, np.arctanh(np.clip(quality_D, NEAREST_TO_ONE - 1.0, 1.0 - NEAREST_TO_ONE))


def _sureness_DP(difference_DP: NDArray[Any], stderr_P: Values) -> NDArray[Any]:
    """``c_ij`` of pairs with the same lag: 1 surely better, 0 tied, -1 surely worse."""
    from scipy.special import erf

    known_P = stderr_P > 0
    if known_P.all():
        scale_P = (1.0 / (ROOT_2 * stderr_P)).astype(difference_DP.dtype)
        difference_DP *= scale_P
        return np.asarray(_quick_erf(difference_DP) if difference_DP.dtype == np.float32 else erf(difference_DP))
    sign_DP = np.sign(difference_DP)
    if known_P.any():
        sign_DP[:, known_P] = erf(difference_DP[:, known_P] / (ROOT_2 * stderr_P[known_P]))
    return np.asarray(sign_DP)


def _quick_erf(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """``tanh(2/sqrt(pi) (x + 11/123 x^3))``, within .0004 of erf.

    Source: Vedder, American Journal of Physics 55 (1987), 762.
    """
    with np.errstate(over="ignore"):  # far outside, where the tanh of infinity is the 1 that is meant
        squared = x * x
        squared *= np.float32(2.0 / np.sqrt(np.pi) * 11.0 / 123.0)
        squared += np.float32(2.0 / np.sqrt(np.pi))
        squared *= x
    return np.asarray(np.tanh(squared, out=squared))
