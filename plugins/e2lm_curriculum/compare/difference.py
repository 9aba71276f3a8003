"""Difference of two arms over seeds and items, with an interval that is honest for few seeds.

Both arms are scored on the same items and paired by seed (same initial weights), so everything is computed from the
differences ``d[s, i]``. Seeds and items are both samples of larger populations and cross each other::

    d[s, i] = delta + a_s + b_i + e_si
    var(mean) = (MS_seeds + MS_items - MS_rest) / (S I)          (Cornfield and Tukey 1956; two-way random effects)

The part of seeds is known to S - 1 degrees of freedom, that of items to I - 1; the quantile of Student's t is the mean
of theirs, weighted by these parts (Cochran 1964, Biometrics 20, 191), and the degrees of freedom are its own.
(Satterthwaite's approximation would allow more, but at three seeds its 95 % intervals covered 92.8 % in simulation.)
This is what redrawing seeds and items (the pigeonhole bootstrap, Owen 2007, arXiv 0712.1111) estimates; but a bootstrap
of S seeds is short by (S - 1) / S and takes normal quantiles: at five seeds its 95 % intervals cover about 84 %.

Shape suffixes: S seeds, I items, K checkpoints, D draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from e2lm.arrays import Reals
from e2lm.interval import normal_quantile, student_quantile

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean difference with its two-sided interval (95 %), p-value against 0, standard error and degrees of freedom."""

    value: float
    low: float
    high: float
    p: float
    stderr: float
    df: float


def paired_difference(d_SI: Reals, confidence: float = CONFIDENCE) -> Difference:
    """The mean of ``d_SI`` as a :class:`Difference`; at least two seeds. One item stands for "no items".

    Differences that are all alike have no error: p is 1 where they are 0, as at step 0 with the same weights.

    >>> found = paired_difference(np.array([[1.0], [2.0], [3.0]]))
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3), found.df
    (2.0, -0.484, 4.484, 2.0)
    """
    from scipy.special import stdtr

    d_SI = np.asarray(d_SI, dtype=np.float64)
    mean = float(d_SI.mean())
    of_seeds, of_items = _variances(d_SI)
    variance = of_seeds + of_items
    if variance <= 0.0:
        return Difference(mean, mean, mean, 1.0 if mean == 0.0 else 0.0, 0.0, len(d_SI) - 1.0)
    df = _degrees_of_freedom(of_seeds / variance, *d_SI.shape)
    stderr = math.sqrt(variance)
    half = float(student_quantile(df, confidence)) * stderr
    p = 2.0 * float(stdtr(df, -abs(mean) / stderr))
    return Difference(mean, mean - half, mean + half, p, stderr, df)


def _variances(d_SI: Reals) -> tuple[float, float]:
    """The parts of seeds (with the rest) and of items in the variance of the mean."""
    seeds, items = d_SI.shape
    if seeds < 2:
        raise ValueError("one seed has no spread")
    mean = d_SI.mean()
    seed_S = d_SI.mean(axis=1) - mean
    square_seeds = items * float(seed_S @ seed_S) / (seeds - 1)
    if items == 1:
        return square_seeds / seeds, 0.0
    item_I = d_SI.mean(axis=0) - mean
    square_items = seeds * float(item_I @ item_I) / (items - 1)
    rest_SI = d_SI - mean - seed_S[:, None] - item_I
    square_rest = float((rest_SI**2).sum()) / ((seeds - 1) * (items - 1))
    # By chance items can vary less than the rest alone would make them; the variance of their effect is then 0.
    return square_seeds / (seeds * items), max(square_items - square_rest, 0.0) / (seeds * items)


@cache
def _quantiles_of_t() -> tuple[Reals, Reals]:
    """97.5 % quantiles, rising, and their degrees of freedom."""
    df = np.geomspace(1e6, 1.0, 4_000)
    return student_quantile(df, CONFIDENCE), df


def _degrees_of_freedom(share_of_seeds: float, seeds: int, items: int) -> float:
    """Degrees of freedom of the weighted mean of two quantiles.

    >>> round(_degrees_of_freedom(1.0, 5, 100), 3), round(_degrees_of_freedom(0.5, 5, 100), 1)
    (4.0, 6.8)
    """
    quantiles, df = _quantiles_of_t()
    wanted = np.interp(np.log([seeds - 1.0, max(items - 1.0, seeds - 1.0)]), np.log(df[::-1]), quantiles[::-1])
    mixed = share_of_seeds * wanted[0] + (1.0 - share_of_seeds) * wanted[1]
    return max(float(np.exp(np.interp(mixed, quantiles, np.log(df)))), seeds - 1.0)


def mean_interval(values_S: Reals, confidence: float = CONFIDENCE) -> Difference:
    """Mean over seeds with Student's t on S - 1: the band of an arm's own curve."""
    return paired_difference(np.asarray(values_S)[:, None], confidence)


def widening(seeds: int, confidence: float = CONFIDENCE) -> float:
    """Factor by which deviations of a bootstrap over ``seeds`` must be stretched to be those of Student's t.

    t / z for the quantile and sqrt(S / (S - 1)) for the shortfall of the bootstrap's variance.

    >>> round(widening(5), 3), round(widening(1000), 3)
    (1.584, 1.002)
    """
    return float(student_quantile(seeds - 1, confidence)) / normal_quantile(confidence) * math.sqrt(seeds / (seeds - 1))


def holm(p: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """p-values adjusted for their number (Holm 1979), in the given order.

    With ``weights`` (his section 4) what matters more has a larger part of the level, and all together still one level.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    >>> holm([0.01, 0.04], [1.0, 4.0])
    [0.05, 0.05]
    """
    weights = [1.0] * len(p) if weights is None else weights
    adjusted = [0.0] * len(p)
    highest, left = 0.0, float(sum(weights))
    for place in sorted(range(len(p)), key=lambda place: p[place] / weights[place]):
        highest = max(highest, min(1.0, left / weights[place] * p[place]))
        adjusted[place] = highest
        left -= weights[place]
    return adjusted
