"""Does this benchmark rise? Exact evidence from all its series together, where one curve alone cannot say.

The gain of a series is the mean of its last quarter of checkpoints minus that of its first, above chance where chance
is known, turned so that more is better. The null, in one sentence: *the gain of each series is as likely down as up,
one series not knowing of the other.* Any noise and any drift will do, so long as they have no direction. Under it all
``2^M`` ways to flip the signs of M gains are equally likely, and::

    p = share of the 2^M flips whose sum of gains is at least the measured one

exact for any M (20,000 flips by lot, seeded, above 16 series). A gain of 0 counts for neither side. The least p is
``2^-M``: four series reach 1/16, five 1/32, six 1/64. Series that share more than their items, such as one run under
two names, are no two series.

Source: Fisher, The Design of Experiments (1935), section 21.

Shape suffixes: M series, D flips.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from e2lm import Curve, ScoreValue, SignalScore
from e2lm.arrays import Values
from e2lm.interval import Interval, mean_stderr, student_quantile
from e2lm_signal.signal_quality import LEAST_CHECKPOINTS, cleaned, rising_above_chance

NAME = "benchmark_rises"
MOST_EXACT = 16
FLIPS = 20_000
#: Of the sum of all gains: what is closer is the same sum, added in another order.
ROUNDING = 1e-12


def sign_flip_p(gains_M: Values, rng: np.random.Generator) -> float:
    """Share of sign flips whose sum is at least that of ``gains_M``; 1 where all are 0.

    >>> sign_flip_p(np.array([0.1, 0.2, 0.3]), np.random.default_rng(0))
    0.125
    >>> sign_flip_p(np.array([0.1, 0.0, 0.3]), np.random.default_rng(0))
    0.25
    """
    size_M = np.abs(gains_M[gains_M != 0])
    if not len(size_M):
        return 1.0
    least = gains_M.sum() - ROUNDING * size_M.sum()
    if len(size_M) > MOST_EXACT:
        signs_DM = rng.choice((-1.0, 1.0), size=(FLIPS, len(size_M)))
        return float((1 + (signs_DM @ size_M >= least).sum()) / (1 + FLIPS))
    up_DM = np.arange(2 ** len(size_M))[:, None] >> np.arange(len(size_M)) & 1
    return float(((2.0 * up_DM - 1.0) @ size_M >= least).mean())


def gain(curve: Curve) -> float | None:
    """Mean of the last quarter of usable checkpoints minus that of the first; None below 4 of them."""
    curve = cleaned(curve).curve
    if len(curve.values_K) < LEAST_CHECKPOINTS:
        return None
    values_K, quarter = rising_above_chance(curve, curve.values_K), len(curve.values_K) // 4
    return float(values_K[-quarter:].mean() - values_K[:quarter].mean())


def benchmark_rises(curves: Sequence[Curve], rng: np.random.Generator) -> ScoreValue:
    """The mean gain with its interval over series (Student's t) and the exact p-value."""
    known = [one for one in map(gain, curves) if one is not None]
    if not known:
        return ScoreValue(None, reason=f"no series has {LEAST_CHECKPOINTS} usable checkpoints")
    gains_M = np.asarray(known)
    remarks = [f"sign-flips of {len(known)} series: p is at least 1/{2 ** len(known):,}"]
    if len(known) < len(curves):
        remarks.append(f"{len(curves) - len(known)} series of too few checkpoints left out")
    if len(known) == 1:
        remarks.append("no interval: one series cannot say how much series differ")
    low, high = (None, None) if len(known) == 1 else _interval(gains_M)
    p = sign_flip_p(gains_M, rng)
    return ScoreValue(float(gains_M.mean()), low, high, p, "; ".join(remarks), {"series": float(len(known))})


def _interval(gains_M: Values) -> Interval:
    half = float(student_quantile(len(gains_M) - 1)) * mean_stderr(gains_M)
    return Interval(float(gains_M.mean()) - half, float(gains_M.mean()) + half)


def least_p_after_correction(series: int, benchmarks: int) -> float:
    """What the least p of so many series becomes where the best of so many benchmarks is looked at (Bonferroni).

    >>> least_p_after_correction(6, 24)
    0.375
    """
    return min(1.0, benchmarks / 2.0**series)


def benchmark_rise_scores() -> list[SignalScore]:
    """``benchmark_rises``."""
    return [
        SignalScore(
            NAME,
            "Mean gain over series, last quarter of checkpoints minus first; p by exact sign-flips of the series.",
            benchmark_rises,
            scope="family",
            source="Fisher, The Design of Experiments (1935), section 21",
            unit="units of the metric",
        )
    ]
