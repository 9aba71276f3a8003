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

Shape suffixes: R rows, each a difference of its own; S seeds, I items.
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
    return paired_differences(np.asarray(d_SI)[None], confidence)[0]


def paired_differences(d_RSI: Reals, confidence: float = CONFIDENCE) -> tuple[Difference, ...]:
    """:func:`paired_difference` of each row, such as a checkpoint, at once."""
    from scipy.special import stdtr

    d_RSI = np.asarray(d_RSI, dtype=np.float64)
    mean_R = d_RSI.mean(axis=(1, 2))
    of_seeds_R, of_items_R = _variances_R(d_RSI)
    variance_R = of_seeds_R + of_items_R
    is_certain_R = variance_R <= 0.0
    share_R = of_seeds_R / np.where(is_certain_R, 1.0, variance_R)
    df_R = np.where(is_certain_R, d_RSI.shape[1] - 1.0, _degrees_of_freedom(share_R, *d_RSI.shape[1:]))
    stderr_R = np.where(is_certain_R, 0.0, np.sqrt(variance_R))
    half_R = student_quantile(df_R, confidence) * stderr_R
    p_R = 2.0 * stdtr(df_R, -np.abs(mean_R) / np.where(is_certain_R, 1.0, stderr_R))
    p_R = np.where(is_certain_R, mean_R == 0.0, p_R)
    columns = (mean_R, mean_R - half_R, mean_R + half_R, p_R, stderr_R, df_R)
    return tuple(Difference(*row) for row in np.stack(columns, axis=1).tolist())


def _variances_R(d_RSI: Reals) -> tuple[Reals, Reals]:
    """The parts of seeds (with the rest) and of items in the variance of the mean."""
    _, seeds, items = d_RSI.shape
    if seeds < 2:
        raise ValueError("one seed has no spread")
    mean_R = d_RSI.mean(axis=(1, 2))
    seed_RS = d_RSI.mean(axis=2) - mean_R[:, None]
    square_seeds_R = items * (seed_RS**2).sum(axis=1) / (seeds - 1)
    if items == 1:
        return square_seeds_R / seeds, np.zeros(len(d_RSI))
    item_RI = d_RSI.mean(axis=1) - mean_R[:, None]
    square_items_R = seeds * (item_RI**2).sum(axis=1) / (items - 1)
    rest_RSI = d_RSI - mean_R[:, None, None] - seed_RS[:, :, None] - item_RI[:, None]
    square_rest_R = (rest_RSI**2).sum(axis=(1, 2)) / ((seeds - 1) * (items - 1))
    # By chance items can vary less than the rest alone would make them; the variance of their effect is then 0.
    of_items_R = np.maximum(square_items_R - square_rest_R, 0.0)
    return square_seeds_R / (seeds * items), of_items_R / (seeds * items)


@cache
def _quantiles_of_t() -> tuple[Reals, Reals]:
    """97.5 % quantiles, rising, and the logarithms of their degrees of freedom."""
    df = np.geomspace(1e6, 1.0, 4_000)
    return student_quantile(df, CONFIDENCE), np.log(df)


def _degrees_of_freedom(share_of_seeds_R: Reals, seeds: int, items: int) -> Reals:
    """Degrees of freedom of the weighted mean of two quantiles.

    >>> _degrees_of_freedom(np.array([1.0, 0.5]), 5, 100).round(1).tolist()
    [4.0, 6.8]
    """
    quantiles, log_df = _quantiles_of_t()
    wanted = np.interp(np.log([seeds - 1.0, max(items - 1.0, seeds - 1.0)]), log_df[::-1], quantiles[::-1])
    mixed_R = share_of_seeds_R * wanted[0] + (1.0 - share_of_seeds_R) * wanted[1]
    return np.asarray(np.maximum(np.exp(np.interp(mixed_R, quantiles, log_df)), seeds - 1.0))


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
