"""``signal_quality``: how surely training is seen to help, with an interval; its p-value is that of the trend.

The three numbers answer three questions. *value* (in [-1, 1]): does a later checkpoint score higher? *low, high*: the
central 90 % interval under redrawing the items of the benchmark and the shaking of checkpoints. *p*
(:mod:`e2lm_signal.trend_p_value`): how often would a skill that goes nowhere rise as clearly?

The estimand in one sentence: *measured on as many items, how much more often does a later checkpoint score higher than
lower, far-apart pairs of checkpoints counting more?* 1 means always higher, 0 a coin toss, -1 always lower. ::

    Q = sum_{i<j} w_i w_j (x_j - x_i) sign(y_j - y_i) / sum_{i<j} w_i w_j (x_j - x_i)

``x`` is the axis of training (tokens), ``w_k`` the length of it that checkpoint k stands for (trapezoid rule), ``y``
the values, with anything below chance set to chance (what is worse than guessing is no progress). Ties count nothing.
The mean of ``sign(y_j - y_i)`` over sets of items is ``2 Phi(true difference / its standard error) - 1``: a rise that
the items cannot resolve is worth little because its signs are a toss. So nothing but the curve itself goes into the
value, and it is the same with Samples, with standard errors and with neither; only the interval knows more or less.

The interval is for the mean of the value over such sets. It is ``Q + q05 - q50`` to ``Q + q95 - q50``, with q the
quantiles of 1,000 redraws around a de-noised curve, half way between one drawn to its line and one in segments
(:func:`e2lm_signal.item_noise.denoised_K`, ``in_segments_K``), within [-1, 1].

Why Q does not depend on how many checkpoints there are: numerator and denominator are quadratures of integrals over
the run, and the weight ``x_j - x_i`` takes from close pairs, of which more checkpoints bring more, their say.

With all weights equal it is Kendall's tau-a (Biometrika 30 (1938), 81).

Shape suffixes: K checkpoints, D draws.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm import Curve, ScoreValue, SignalScore
from e2lm.arrays import Values
from e2lm.interval import recentred_interval
from e2lm_signal.curves import Axis, axis_K, trapezoid_weights_K
from e2lm_signal.item_noise import UNKNOWN, ItemNoise, curve_noise, denoised_K, in_segments_K
from e2lm_signal.row_order import by_blocks_D, order_and_sorted_DK
from e2lm_signal.trend_p_value import TrendTest, trend_test


def concordance_D(values_DK: NDArray[np.floating[Any]], positions_K: Values) -> Values:
    """``Q`` of every row at ``positions_K``; NaN where a value is.

    In order of value, each checkpoint is held against all lower ones at once, by running sums of ``w`` and ``w x``.

    >>> concordance_D(np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 2.0]]), np.arange(3.0)).round(3).tolist()
    [1.0, -0.667]
    """
    weights_K = trapezoid_weights_K(positions_K)
    moments_K = weights_K * positions_K
    whole = float(_risen_D(weights_K[None], moments_K[None], None)[0])

    def quality_D(rows_DK: NDArray[np.floating[Any]]) -> Values:
        order_DK, sorted_DK = order_and_sorted_DK(rows_DK)
        tied_DK = sorted_DK[:, 1:] == sorted_DK[:, :-1]
        first_DK = _first_of_ties_DK(tied_DK) if tied_DK.any() else None
        risen_D = _risen_D(weights_K.take(order_DK), moments_K.take(order_DK), first_DK)
        return np.where(np.isnan(sorted_DK[:, -1]), np.nan, risen_D / whole)

    return np.clip(by_blocks_D(quality_D, values_DK), -1.0, 1.0)  # 1 up to rounding


def _first_of_ties_DK(tied_DK: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Where the run of equal values begins that each sorted value is in."""
    begins_DK = np.where(tied_DK, 0, np.arange(1, tied_DK.shape[1] + 1))
    return np.maximum.accumulate(np.pad(begins_DK, ((0, 0), (1, 0))), axis=1)


def _risen_D(weights_DK: Values, moments_DK: Values, first_DK: NDArray[np.int64] | None) -> Values:
    """The sum over pairs of ``w_i w_j (x_j - x_i)``, i lower in value than j, of rows in order of value."""
    below_DK = np.cumsum(weights_DK, axis=1)
    if first_DK is None:  # both orders of a pair together are the product of the sums, so that one of them is enough
        both_D = below_DK[:, -1] * moments_DK.sum(axis=1) + np.einsum("dk,dk->d", moments_DK, weights_DK)
        return np.asarray(2.0 * np.einsum("dk,dk->d", moments_DK, below_DK) - both_D)
    moments_below_DK = np.cumsum(moments_DK, axis=1) - moments_DK
    below_DK = np.take_along_axis(below_DK - weights_DK, first_DK, axis=1)
    moments_below_DK = np.take_along_axis(moments_below_DK, first_DK, axis=1)
    up_D = np.einsum("dk,dk->d", moments_DK, below_DK)
    return np.asarray(up_D - np.einsum("dk,dk->d", weights_DK, moments_below_DK))


LEAST_CHECKPOINTS = 4


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A curve without unusable checkpoints, turned so that progress rises, and what was done to it."""

    curve: Curve
    remarks: tuple[str, ...]


def cleaned(curve: Curve) -> Cleaned:
    """Checkpoints whose value is not finite are dropped, and values turned over where lower is better."""
    remarks = []
    finite_K = np.isfinite(curve.values_K)
    if not finite_K.all():
        remarks.append(f"{int((~finite_K).sum())} of {len(finite_K)} checkpoints without a finite value left out")
        curve = replace(
            curve,
            steps_K=curve.steps_K[finite_K],
            tokens_K=curve.tokens_K[finite_K],
            values_K=curve.values_K[finite_K],
            stderr_K=curve.stderr_K[finite_K],
            n_items_K=curve.n_items_K[finite_K],
            items_KI=None if curve.items_KI is None else curve.items_KI[finite_K],
        )
    return Cleaned(curve, tuple(remarks))


def rising_above_chance(curve: Curve, values: Values) -> Values:
    """``values`` of this curve's metric turned so that more is better, and not below chance where chance is known."""
    turned = values if curve.higher_is_better else -values
    if curve.chance is None:
        return turned
    return np.maximum(turned, curve.chance if curve.higher_is_better else -curve.chance)


def signal_quality(curve: Curve, rng: np.random.Generator, axis: Axis = "tokens") -> ScoreValue:
    """Concordance of value and tokens with its interval and p-value; see the module.

    Undefined (None, with the reason) below 4 usable checkpoints. A constant curve has value 0 and p = 1.
    """
    clean = cleaned(curve)
    curve, remarks = clean.curve, list(clean.remarks)
    count = len(curve.values_K)
    if count < LEAST_CHECKPOINTS:
        remarks.append(f"{count} usable checkpoints; at least {LEAST_CHECKPOINTS} are needed")
        return ScoreValue(None, reason="; ".join(remarks))
    values_K = rising_above_chance(curve, curve.values_K)
    test = _trend_above_chance(curve, values_K, rng)
    details: dict[str, float | str | None] = {"p_randomised": test.p_randomised, "chance": curve.chance}
    if np.ptp(values_K) == 0:
        constant = np.ptp(curve.values_K) == 0
        remarks.append("all values are equal" if constant else "no value is above chance")
        return ScoreValue(0.0, p=test.p, reason="; ".join(remarks), details=details)
    positions_K = axis_K(curve, axis)
    value = float(concordance_D(values_K[None], positions_K)[0])
    if value < 0:
        remarks.append("falls more than it rises")
    noise = curve_noise(curve, positions_K)
    if noise is None:
        remarks.append(UNKNOWN)
        return ScoreValue(value, p=test.p, reason="; ".join(remarks), details=details)
    details["interval"] = noise.label
    low, high = _interval(curve, value, positions_K, noise, rng)
    return ScoreValue(value, low, high, test.p, "; ".join(remarks) or None, details)


def value_alone(curve: Curve, axis: Axis = "tokens") -> float | None:
    """The value of :func:`signal_quality`, for whoever needs neither interval nor p-value; None where undefined."""
    curve = cleaned(curve).curve
    if len(curve.values_K) < LEAST_CHECKPOINTS:
        return None
    values_K = rising_above_chance(curve, curve.values_K)
    return 0.0 if np.ptp(values_K) == 0 else float(concordance_D(values_K[None], axis_K(curve, axis))[0])


def _trend_above_chance(curve: Curve, values_K: Values, rng: np.random.Generator) -> TrendTest:
    """The larger p of the curve and of what of it lies above chance: reaching chance from below is no progress."""
    positions_K = axis_K(curve, "tokens")
    rising_K = curve.values_K if curve.higher_is_better else -curve.values_K
    test = trend_test(rising_K, rng, positions_K)
    if np.array_equal(rising_K, values_K):
        return test
    return max(test, trend_test(values_K, rng, positions_K), key=lambda one: one.p)


def _interval(
    curve: Curve, value: float, positions_K: Values, noise: ItemNoise, rng: np.random.Generator
) -> tuple[float, float]:
    covariance_KK = noise.covariance_KK + noise.shaking**2 * np.eye(len(positions_K))
    in_line_K = denoised_K(curve.values_K, positions_K, covariance_KK)
    truth_K = (in_line_K + in_segments_K(curve.values_K, noise.variance_K)) / 2.0
    redrawn_DK = rising_above_chance(curve, truth_K + noise.draws_DK(rng))
    quality_D = concordance_D(redrawn_DK, positions_K)
    return recentred_interval(value, quality_D).holding(value).within(-1.0, 1.0)


def signal_quality_scores() -> list[SignalScore]:
    """``signal_quality`` on the token axis, and on the log-token axis."""
    return [
        SignalScore(
            "signal_quality",
            "How much more often a later checkpoint is better than worse; pairs weighted by tokens between them.",
            signal_quality,
            source="this package, docs/signal.md",
            unit="in [-1, 1]",
            value=value_alone,
        ),
        SignalScore(
            "signal_quality_log",
            "signal_quality on the axis of log tokens: early training weighs more.",
            lambda curve, rng: signal_quality(curve, rng, "log-tokens"),
            source="this package, docs/signal.md",
            unit="in [-1, 1]",
            value=lambda curve: value_alone(curve, "log-tokens"),
        ),
    ]
