"""Two checkpoints on the same items: difference, interval, p, the least difference that shows, and the items it takes.

Of every item i its difference ``d_i`` (second minus first) is taken, so that what makes an item hard for both cancels.
Items that come in groups (questions on one passage) are no independent evidence::

    stderr = sqrt(G / (G - 1) sum_g (sum_{i in g} (d_i - mean d))^2) / I

over G groups, or over I items that are each a group. The interval is Student's with G - 1 degrees of freedom. ``p``,
two-sided, of "no difference": by exact flips of the signs of the groups' sums where all that differ do so by as much
(McNemar's exact test for right or wrong) or where at most 16 differ, else Student's. Where one of the two has no items,
the standard errors of both are added as if the items were others, which overstates the error.

The least difference that shows: that which two-sided p < .05 finds in 80 of 100 repetitions, (1.96 + .84) stderr. The
items it takes to find the measured one as often grow with its inverse square.

Sources: Miller, Adding Error Bars to Evals (2024, arXiv 2411.00640); McNemar, Psychometrika 12 (1947), 153.

Shape suffixes: I items, G groups.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2lm.arrays import Values
from e2lm.interval import Interval, normal_quantile, student_quantile
from e2lm_signal.benchmark_rise import MOST_EXACT

#: In standard errors: two-sided p < .05 in 80 of 100 repetitions (quantiles .975 and .8 of the normal distribution).
TO_SHOW = normal_quantile(0.95) + normal_quantile(0.6)
#: Sums that are closer differ by rounding.
SAME = 1e-9


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Second minus first; ``items`` 0 and ``groups`` 0 where only standard errors were known."""

    value: float
    stderr: float
    interval: Interval
    p: float
    items: int
    groups: int

    @property
    def least_that_shows(self) -> float:
        """In units of the metric."""
        return TO_SHOW * self.stderr

    @property
    def items_needed(self) -> int | None:
        """For the measured difference to show in 80 of 100 repetitions; None where there is none or no items."""
        if self.value == 0 or not self.items:
            return None
        return math.ceil(self.items * (self.least_that_shows / self.value) ** 2)


def paired(first_I: Values, second_I: Values, group_I: NDArray[np.int64] | None = None) -> PairedDifference:
    """The difference of two on the same items; at least two groups.

    >>> found = paired(np.array([0.0, 0.0, 1.0, 0.0]), np.array([1.0, 1.0, 1.0, 0.0]))
    >>> found.value, found.p
    (0.5, 0.5)
    """
    difference_I = second_I - first_I
    items = len(difference_I)
    numbers_I = np.arange(items) if group_I is None else np.unique(group_I, return_inverse=True)[1]
    groups = int(numbers_I.max()) + 1
    mean = float(difference_I.mean())
    centred_G = np.bincount(numbers_I, weights=difference_I - mean)
    stderr = math.sqrt(groups / (groups - 1) * float((centred_G**2).sum())) / items
    half = float(student_quantile(groups - 1)) * stderr
    p = _p_of(np.asarray(np.bincount(numbers_I, weights=difference_I), dtype=np.float64), mean, stderr, groups)
    return PairedDifference(mean, stderr, Interval(mean - half, mean + half), p, items, groups)


def _p_of(sum_G: Values, mean: float, stderr: float, groups: int) -> float:
    from scipy.special import bdtr, stdtr

    size_G = np.abs(sum_G)
    apart_G = sum_G[size_G > SAME]
    if not len(apart_G):
        return 1.0
    if np.ptp(np.abs(apart_G)) < SAME:
        fewer = min(int((apart_G > 0).sum()), int((apart_G < 0).sum()))
        return float(min(1.0, 2.0 * bdtr(fewer, len(apart_G), 0.5)))
    if len(apart_G) <= MOST_EXACT:
        up_DG = np.arange(2 ** len(apart_G))[:, None] >> np.arange(len(apart_G)) & 1
        sums_D = np.abs((2.0 * up_DG - 1.0) @ np.abs(apart_G))
        return float((sums_D >= abs(apart_G.sum()) - SAME).mean())
    return float(2.0 * stdtr(groups - 1, -abs(mean) / stderr))


def unpaired(first: tuple[float, float], second: tuple[float, float]) -> PairedDifference:
    """Of two values with standard errors, their items taken as others; normal.

    >>> round(unpaired((0.5, 0.03), (0.6, 0.04)).stderr, 12)
    0.05
    """
    from scipy.special import ndtr

    value, stderr = second[0] - first[0], math.hypot(first[1], second[1])
    half = normal_quantile() * stderr
    p = float(2.0 * ndtr(-abs(value) / stderr)) if stderr > 0 else float(value == 0)
    return PairedDifference(value, stderr, Interval(value - half, value + half), p, 0, 0)
