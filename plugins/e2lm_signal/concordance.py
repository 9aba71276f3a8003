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

import numpy as np
from numpy.typing import NDArray

from e2lm_signal.token_axis import trapezoid_weights_K

Values = NDArray[np.float64]

#: Draws are scored in chunks of about this many numbers (32 MB).
CHUNK_NUMBERS = 4_000_000
#: atanh of 1 is infinite: Q is kept this far from its ends.
NEAREST_TO_ONE = 1e-12


@dataclass(frozen=True, slots=True)
class Pairs:
    """The pairs i < j of checkpoints, with their weights (summing to 1) and standard errors of their difference."""

    first_P: NDArray[np.int64]
    second_P: NDArray[np.int64]
    weight_P: Values
    stderr_P: Values


def pairs_of(positions_K: Values, covariance_KK: Values | None) -> Pairs:
    """All pairs of checkpoints at ``positions_K``; ``covariance_KK`` is that of the values' item noise, if known."""
    first_P, second_P = np.triu_indices(len(positions_K), 1)
    weights_K = trapezoid_weights_K(positions_K)
    weight_P = weights_K[first_P] * weights_K[second_P] * (positions_K[second_P] - positions_K[first_P])
    stderr_P = np.zeros(len(first_P))
    if covariance_KK is not None:
        variance_K = np.diag(covariance_KK)
        variance_P = variance_K[first_P] + variance_K[second_P] - 2.0 * covariance_KK[first_P, second_P]
        stderr_P = np.sqrt(np.maximum(variance_P, 0.0))
    return Pairs(first_P, second_P, weight_P / weight_P.sum(), stderr_P)


def concordance_D(values_DK: Values, pairs: Pairs) -> tuple[Values, Values]:
    """``Q`` and ``atanh(Q)`` of every row; the second is exact also where Q is 1 but for a hair."""
    chunk = max(1, CHUNK_NUMBERS // max(1, len(pairs.first_P)))
    parts = [_better_worse(values_DK[start : start + chunk], pairs) for start in range(0, len(values_DK), chunk)]
    better_D = np.concatenate([better for better, _ in parts])
    worse_D = np.concatenate([worse for _, worse in parts])
    floor_D = NEAREST_TO_ONE
    return better_D - worse_D, 0.5 * np.log(np.maximum(2.0 * better_D + (1 - better_D - worse_D), floor_D)) - (
        0.5 * np.log(np.maximum(2.0 * worse_D + (1 - better_D - worse_D), floor_D))
    )


def _better_worse(values_DK: Values, pairs: Pairs) -> tuple[Values, Values]:
    """Weighted probability that the later is better, and that it is worse; ties are neither."""
    from scipy.special import ndtr

    difference_DP = values_DK[:, pairs.second_P] - values_DK[:, pairs.first_P]
    known_P = pairs.stderr_P > 0
    if known_P.all():
        z_DP = difference_DP / pairs.stderr_P
        return ndtr(z_DP) @ pairs.weight_P, ndtr(-z_DP) @ pairs.weight_P
    better_DP = (difference_DP > 0).astype(np.float64)
    worse_DP = (difference_DP < 0).astype(np.float64)
    if known_P.any():
        z_DP = difference_DP[:, known_P] / pairs.stderr_P[known_P]
        better_DP[:, known_P], worse_DP[:, known_P] = ndtr(z_DP), ndtr(-z_DP)
    return better_DP @ pairs.weight_P, worse_DP @ pairs.weight_P
