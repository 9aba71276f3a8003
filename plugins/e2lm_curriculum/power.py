"""What a comparison could have found: the smallest true difference that is seen in 80 of 100 such experiments."""

from __future__ import annotations

import math
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

#: Two-sided level and power throughout.
ALPHA = 0.05
POWER = 0.8

#: 2 (z_.975 + z_.8)^2: seeds per arm times (difference / sd)^2, normal approximation.
SEEDS_FACTOR = 15.7


def power_of(difference: float, stderr: float, df: float, alpha: float = ALPHA) -> float:
    """Chance that a two-sided t test on ``df`` degrees of freedom sees a true ``difference`` with this error.

    The non-central t distribution as a mean over the chi-square variate W below the fraction: with the difference
    c in standard errors, P(T > t) = E Phi(c - t sqrt(W / df)).

    >>> round(power_of(0.0, 1.0, 4.0), 3)
    0.05
    """
    from scipy.special import ndtr, stdtrit

    if stderr <= 0.0:
        return 1.0 if difference else alpha
    centre = abs(difference) / stderr
    root_Q, weight_Q = _chi_nodes(df)
    edge_Q = float(stdtrit(df, 1 - alpha / 2)) * root_Q
    return float(weight_Q @ (ndtr(centre - edge_Q) + ndtr(-centre - edge_Q)))


@lru_cache(maxsize=64)
def _chi_nodes(df: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values of sqrt(W / df) and their weights, by Gauss-Legendre over the quantiles of W."""
    from scipy.special import gammaincinv

    node_Q, weight_Q = _nodes()
    return np.sqrt(2.0 * gammaincinv(df / 2, (node_Q + 1) / 2) / df), weight_Q / 2


@cache
def _nodes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    node_Q, weight_Q = np.polynomial.legendre.leggauss(NODES)
    return node_Q, weight_Q


#: The error is below 1e-6 from two degrees of freedom on.
NODES = 400

#: Standard errors from 0 beyond which nobody asks for an effect.
FAR = 1e4


def detectable_difference(stderr: float, df: float, alpha: float = ALPHA, power: float = POWER) -> float:
    """The true difference that a t test with this standard error sees with probability ``power``.

    >>> round(detectable_difference(1.0, 1e6), 2)  # z_.975 + z_.8
    2.8
    """
    from scipy.optimize import brentq

    if stderr <= 0.0:
        return 0.0
    high = 1.0
    while power_of(high, 1.0, df, alpha) < power:
        high *= 2.0
        if high > FAR:
            return math.inf
    return stderr * float(brentq(lambda centre: power_of(centre, 1.0, df, alpha) - power, 0.0, high, xtol=1e-6))


def median_unbiased(stderr: float, df: float) -> float:
    """``stderr`` made larger so that it is as often above the true one as below.

    Standard errors from few seeds are mostly too small: with 5 seeds the median one is 0.92 of the true.

    >>> round(median_unbiased(1.0, 4.0), 3)
    1.092
    """
    from scipy.special import gammaincinv

    return stderr * math.sqrt(df / (2.0 * float(gammaincinv(df / 2, 0.5))))


def detectable_in_sd(seeds: int, alpha: float = ALPHA, power: float = POWER) -> float:
    """Detectable difference of two unpaired arms of ``seeds`` each, in standard deviations between seeds.

    >>> [round(detectable_in_sd(seeds), 2) for seeds in (3, 5, 8, 10)]
    [3.07, 2.02, 1.51, 1.32]
    """
    return detectable_difference(math.sqrt(2 / seeds), 2 * (seeds - 1), alpha, power)


def seeds_needed(sd: float, difference: float) -> int:
    """Seeds per arm that see ``difference`` where seeds differ by ``sd``; unpaired, normal approximation.

    >>> seeds_needed(0.8, 1.0), seeds_needed(0.5, 1.0), seeds_needed(0.8, 0.5)
    (11, 4, 41)
    """
    return math.ceil(SEEDS_FACTOR * (sd / difference) ** 2)
