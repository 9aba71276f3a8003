"""Where a number probably lies: intervals from standard errors, redraws and counts, and the redraws themselves.

The one home of every quantile: what is a 90 % interval here is one everywhere, to the last digit.

Shape suffixes: I items (or series, seeds: whatever is drawn again), D draws, K checkpoints.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from e2lm.arrays import Values

#: Of an interval that does not say otherwise, the share of repetitions in which it holds the true number.
CONFIDENCE = 0.9


class Interval(NamedTuple):
    """Two ends, ``low <= high``; unpacks as ``low, high``."""

    low: float
    high: float

    def within(self, lowest: float, highest: float) -> Interval:
        """Cut to the range that the number can have.

        >>> Interval(-0.1, 0.3).within(0.0, 1.0)
        Interval(low=0.0, high=0.3)
        """
        return Interval(max(lowest, self.low), min(highest, self.high))

    def holding(self, value: float) -> Interval:
        """Made wider, where it must be, until it holds ``value``."""
        return Interval(min(self.low, value), max(self.high, value))

    def stderr(self, confidence: float = CONFIDENCE) -> float:
        """The standard error of the normal error that has an interval of this width.

        >>> round(normal_interval(2.0, 0.5).stderr(), 12)
        0.5
        """
        return (self.high - self.low) / 2 / normal_quantile(confidence)


def tails(confidence: float) -> tuple[float, float]:
    """The two shares between which the central ``confidence`` lies.

    >>> tails(0.9), tails(0.95)
    ((0.05, 0.95), (0.025, 0.975))
    """
    if not 0.0 < confidence <= 1.0:
        raise ValueError(f"confidence {confidence:g}: a share above 0 and up to 1 is expected")
    return round((1.0 - confidence) / 2.0, 15), (1.0 + confidence) / 2.0


@cache
def normal_quantile(confidence: float = CONFIDENCE) -> float:
    """Half of a central interval of a normal error, in standard errors.

    >>> round(normal_quantile(), 6), round(normal_quantile(0.95), 6)
    (1.644854, 1.959964)
    """
    from scipy.special import ndtri

    return float(ndtri(tails(confidence)[1]))


def student_quantile(df: float | Values, confidence: float = CONFIDENCE) -> Values:
    """The same for Student's t with ``df`` degrees of freedom; as many as ``df`` has, 0-dimensional for one.

    >>> round(float(student_quantile(4.0, 0.95)), 3)
    2.776
    """
    from scipy.special import stdtrit

    return np.asarray(stdtrit(df, tails(confidence)[1]), dtype=np.float64)


def normal_interval(value: float, stderr: float, confidence: float = CONFIDENCE) -> Interval:
    """``value`` plus and minus its normal error.

    >>> low, high = normal_interval(0.5, 0.1)
    >>> round(low, 4), round(high, 4)
    (0.3355, 0.6645)
    """
    half = normal_quantile(confidence) * stderr
    return Interval(value - half, value + half)


def ratio_interval(value: float, log_half: float) -> Interval:
    """``value`` divided and multiplied by ``exp(log_half)``: an interval that is even on the log scale.

    >>> [round(end, 12) for end in ratio_interval(6.0, np.log(2.0))]
    [3.0, 12.0]
    """
    return Interval(value * math.exp(-log_half), value * math.exp(log_half))


def percentile_interval(
    draws_D: Values,
    confidence: float = CONFIDENCE,
    method: Literal["linear", "closest_observation"] = "linear",
) -> Interval:
    """The central ``confidence`` of redraws; NaN where there is none or one is NaN.

    Ends lie between two draws; where draws may be infinite, ``closest_observation`` takes one of them.

    >>> percentile_interval(np.arange(101.0))
    Interval(low=5.0, high=95.0)
    """
    if not len(draws_D):
        return Interval(math.nan, math.nan)
    low, high = np.quantile(draws_D, tails(confidence), method=method)
    return Interval(float(low), float(high))


def recentred_interval(value: float, draws_D: Values, confidence: float = CONFIDENCE) -> Interval:
    """The spread of redraws around their median, laid around ``value``: for redraws that lie off it.

    >>> recentred_interval(10.0, np.arange(101.0))
    Interval(low=-35.0, high=55.0)
    """
    below, above = tails(confidence)
    low, middle, high = map(float, np.quantile(draws_D, (below, 0.5, above)))
    return Interval(value + (low - middle), value + (high - middle))


def wilson_interval(share: float, count: float, confidence: float = CONFIDENCE) -> Interval:
    """Of a ``share`` of ``count`` items that are right or wrong (ties may make it no whole number), within [0, 1].

    Wilson, Journal of the American Statistical Association 22 (1927), 209.

    >>> [round(end, 4) for end in wilson_interval(0.25, 400, 0.95)]
    [0.2101, 0.2947]
    """
    square = normal_quantile(confidence) ** 2
    centre = (share + square / (2 * count)) / (1 + square / count)
    half = math.sqrt(square * (share * (1 - share) / count + square / (4 * count**2))) / (1 + square / count)
    return Interval(centre - half, centre + half).within(0.0, 1.0)


def mean_stderr(values_I: NDArray[np.floating]) -> float:
    """Standard error of the mean, ``std(ddof=1) / sqrt(I)``; of differences it is what the paired bootstrap tends to.

    NaN below two values.

    >>> mean_stderr(np.array([1.0, 3.0]))
    1.0
    """
    return float(mean_stderrs_K(values_I))


def mean_stderrs_K(values_KI: NDArray[np.floating]) -> Values:
    """The same of every row."""
    count = values_KI.shape[-1]
    if count < 2:
        return np.full(values_KI.shape[:-1], np.nan)
    return np.asarray(np.std(values_KI, axis=-1, ddof=1, dtype=np.float64) / math.sqrt(count))


def redrawn_DI(count: int, draws: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """In each draw the places of ``count`` things drawn with replacement.

    What shares items, or series, takes one redraw for all: differences are then paired.
    """
    return rng.integers(count, size=(draws, count))


def redrawn_counts_DI(count: int, draws: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How often each of ``count`` things is in each draw: enough for means and sums, and no draw is larger.

    >>> redrawn_counts_DI(3, 2, np.random.default_rng(0)).sum(axis=1).tolist()
    [3, 3]
    """
    return rng.multinomial(count, np.full(count, 1.0 / count), size=draws)
