"""How easily noise alone gives a curve that seems to rise: a p-value for its order.

Training that teaches nothing leaves a curve that is noise: independent from checkpoint to checkpoint (white), or
drifting (a random walk), or something between (AR(1)). A test for one of them errs wildly under another: a random walk
beats the white-noise threshold of any rank correlation about every second time. The statistic here takes drift off::

    T = atanh(rho) - b_K log(VR),   VR = 2 sum (r - mean r)^2 / sum (r_k - r_{k-1})^2

with r the average ranks of the values, rho their correlation with the order of checkpoints (Spearman) and VR the
inverse of von Neumann's ratio: about 1 for white noise, of order K for a random walk. The weight ``b_K`` is solved, for
every number K of checkpoints, so that white noise and a random walk have the same 95th percentile of T; AR(1) noise
between them stays below it. ``p`` is the largest of its p-values under these nulls, one-sided for a rise::

    p = max over phi in NULL_PERSISTENCE of P(T_phi >= T)

For phi = 0 the null is the permutation of the curve's own ranks, ties kept; the others are Gaussian AR(1), simulated
once per K. A curve with fewer than 6 checkpoints cannot reach .05: four rising values come once in 8 random walks.

T sees only the order of values, so it does not change when values are rescaled. Sources: von Neumann's ratio, Annals of
Mathematical Statistics 12 (1941), 367; one weight that equalises both kinds of noise, Vogelsang, Econometrica 66
(1998), 123.

Shape suffixes: K checkpoints, D draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from e2lm.arrays import Values

#: AR(1) coefficients of the nulls: white noise, two between, a random walk.
NULL_PERSISTENCE = (0.0, 0.5, 0.9, 1.0)
LEVEL = 0.95
#: The Monte Carlo error of a 5 % point is then .0015.
NULL_DRAWS = 20_000
PERMUTATIONS = 1_000
#: A perfect rise is beaten by nothing: atanh of this is 10.7, beyond any penalty.
HIGHEST_CORRELATION = 1.0 - 1e-9
#: Longer curves are thinned to this many checkpoints: more say nothing about order, and the tables stay small.
MOST_CHECKPOINTS = 256
#: Below this no weight makes both 95th percentiles equal (too few orders); its weight is used.
LEAST_SOLVED = 6
HIGHEST_WEIGHT = 8.0
SEED = 20_250_614


@dataclass(frozen=True, slots=True)
class NullTable:
    """Sorted draws of T under every null, for curves of one length."""

    weight: float
    sorted_draws: tuple[Values, ...]

    def p_value(self, statistic: float, first: int = 0) -> float:
        """Largest one-sided p over the nulls from number ``first`` on."""
        shares = [_share_at_least(draws_D, statistic) for draws_D in self.sorted_draws[first:]]
        return max(shares)


def average_ranks_DK(values_DK: Values) -> Values:
    """Ranks from 1; equal values share the mean of their ranks."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(values_DK, axis=1), dtype=np.float64)


def _untied_ranks_DK(values_DK: Values) -> Values:
    """Ranks from 1 of rows without ties: several times faster."""
    ranks_DK = np.empty_like(values_DK)
    np.put_along_axis(ranks_DK, values_DK.argsort(axis=1), np.arange(1.0, values_DK.shape[1] + 1.0)[None], axis=1)
    return ranks_DK


def rank_parts_D(ranks_DK: Values) -> tuple[Values, Values]:
    """``atanh(rho)`` and ``log(VR)`` of every row; 0 and 0 for a constant row."""
    n = ranks_DK.shape[1]
    position_K = np.arange(n) - (n - 1) / 2.0
    centred_DK = ranks_DK - (n + 1) / 2.0
    spread_D = (centred_DK**2).sum(axis=1)
    steps_D = (np.diff(ranks_DK, axis=1) ** 2).sum(axis=1)
    varies_D = spread_D > 0
    safe_D = np.where(varies_D, spread_D, 1.0)
    rho_D = np.clip(
        centred_DK @ position_K / np.sqrt(safe_D * (position_K**2).sum()), -HIGHEST_CORRELATION, HIGHEST_CORRELATION
    )
    ratio_D = np.log(2.0 * safe_D / np.where(varies_D, steps_D, 2.0))
    return np.where(varies_D, np.arctanh(rho_D), 0.0), np.where(varies_D, ratio_D, 0.0)


def _statistic_D(ranks_DK: Values, weight: float) -> Values:
    order_D, persistence_D = rank_parts_D(ranks_DK)
    return np.asarray(order_D - weight * persistence_D)


def autoregressive_DK(phi: float, draws: int, n: int, rng: np.random.Generator) -> Values:
    """Stationary Gaussian AR(1) rows; a random walk for ``phi = 1``."""
    values_DK = rng.normal(size=(draws, n))
    if phi < 1.0:
        values_DK[:, 0] /= np.sqrt(1.0 - phi**2)
    for k in range(1, n):
        values_DK[:, k] += phi * values_DK[:, k - 1]
    return values_DK


@lru_cache(maxsize=64)
def null_table(n: int) -> NullTable:
    """The null distributions of T for curves of ``n`` checkpoints, the same in every process."""
    rng = np.random.default_rng([SEED, n])
    parts = [rank_parts_D(_untied_ranks_DK(autoregressive_DK(phi, NULL_DRAWS, n, rng))) for phi in NULL_PERSISTENCE]
    weight = _equalising_weight(parts[0], parts[-1]) if n >= LEAST_SOLVED else null_table(LEAST_SOLVED).weight
    return NullTable(weight, tuple(np.sort(order_D - weight * ratio_D) for order_D, ratio_D in parts))


def _equalising_weight(white: tuple[Values, Values], walk: tuple[Values, Values]) -> float:
    from scipy.optimize import brentq

    def difference(weight: float) -> float:
        quantiles = [np.quantile(order_D - weight * ratio_D, LEVEL) for order_D, ratio_D in (white, walk)]
        return float(quantiles[0] - quantiles[1])

    return float(brentq(difference, 0.0, HIGHEST_WEIGHT, xtol=1e-6))


def _share_at_least(sorted_D: Values, statistic: float) -> float:
    """``(1 + number of draws >= statistic) / (1 + draws)``; a hair of tolerance, as equal ranks may round apart."""
    beyond = len(sorted_D) - int(np.searchsorted(sorted_D, statistic - 1e-9, side="left"))
    return (1 + beyond) / (1 + len(sorted_D))


@dataclass(frozen=True, slots=True)
class TrendTest:
    """``p``: see the module. ``p_randomised`` breaks ties with the permutations by lot (seeded): it is exactly uniform
    under exchangeability even for constant curves, for which ``p`` is 1.
    """

    p: float
    p_randomised: float


def trend_test(values_K: Values, rng: np.random.Generator) -> TrendTest:
    """Test of "this curve does not rise" against white and drifting noise.

    >>> rising = trend_test(np.arange(14.0), np.random.default_rng(0))
    >>> rising.p < 0.001
    True
    >>> trend_test(np.full(14, 0.25), np.random.default_rng(0)).p
    1.0
    """
    if len(values_K) > MOST_CHECKPOINTS:
        values_K = values_K[np.linspace(0, len(values_K) - 1, MOST_CHECKPOINTS).round().astype(int)]
    table = null_table(len(values_K))
    ranks_1K = average_ranks_DK(values_K[None])
    statistic = float(_statistic_D(ranks_1K, table.weight)[0])
    lot = float(rng.uniform())
    if len(np.unique(ranks_1K)) == 1:
        return TrendTest(1.0, lot)
    drifting = table.p_value(statistic, first=1)
    if len(np.unique(ranks_1K)) == ranks_1K.shape[1]:  # without ties the white null is the permutation null
        p = max(_share_at_least(table.sorted_draws[0], statistic), drifting)
        return TrendTest(p, p)
    shuffled_DK = rng.permuted(np.repeat(ranks_1K, PERMUTATIONS, axis=0), axis=1)
    draws_D = _statistic_D(shuffled_DK, table.weight)
    above, equal = int((draws_D > statistic + 1e-9).sum()), int((np.abs(draws_D - statistic) <= 1e-9).sum())
    exact = (1 + above + equal) / (1 + PERMUTATIONS)
    by_lot = (above + lot * (1 + equal)) / (1 + PERMUTATIONS)
    return TrendTest(max(exact, drifting), max(by_lot, drifting))
