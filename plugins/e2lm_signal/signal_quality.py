"""``signal_quality``: how surely a benchmark shows that training helps, with an interval and a p-value.

The three numbers answer three questions. *value* (in [-1, 1]): is a later checkpoint
better? *low, high*: the central 90 % interval under redrawing the items of the benchmark. *p*
(:mod:`e2lm_signal.trend_p_value`): how often would noise alone, drifting or not, rise as clearly?

The interval is for the mean of the value over sets of as many items. It is taken on the scale of ``A = atanh Q``::

    low = tanh(A + q05(A*) - q50(A*)),  high = tanh(A + q95(A*) - q50(A*))

with A* those of 1,000 redraws around the de-noised curve (:func:`e2lm_signal.item_noise.denoised_K`) and q their
quantiles.

The value in words: take two checkpoints of the run, far-apart ones more often than close ones; how much more probable
is it that the later one is better than that it is worse? 1 means always better, 0 a coin toss, -1 always worse. ::

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

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm import Curve, ScoreValue, SignalScore
from e2lm.arrays import Values
from e2lm.interval import Interval, recentred_interval
from e2lm_signal.curves import Axis, axis_K, trapezoid_weights_K
from e2lm_signal.item_noise import UNKNOWN, denoised_K, item_noise
from e2lm_signal.trend_p_value import trend_test

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
    test = trend_test(curve.values_K if curve.higher_is_better else -curve.values_K, rng)
    details: dict[str, float | str | None] = {"p_randomised": test.p_randomised, "chance": curve.chance}
    values_K = rising_above_chance(curve, curve.values_K)
    if np.ptp(values_K) == 0:
        constant = np.ptp(curve.values_K) == 0
        remarks.append("all values are equal" if constant else "no value is above chance")
        return ScoreValue(0.0, p=test.p, reason="; ".join(remarks), details=details)
    low, high, value = _interval(curve, values_K, axis, rng)
    if value < 0:
        remarks.append("falls more than it rises")
    noise = item_noise(curve)
    if noise is None:
        remarks.append(UNKNOWN)
    else:
        details["interval"] = noise.label
    return ScoreValue(value, low, high, test.p, "; ".join(remarks) or None, details)


def _interval(
    curve: Curve, values_K: Values, axis: Axis, rng: np.random.Generator
) -> tuple[float | None, float | None, float]:
    """``(low, high, value)``."""
    positions_K = axis_K(curve, axis)
    noise = item_noise(curve)
    pairs = pairs_of(positions_K, None if noise is None else noise.covariance_KK)
    value_D, atanh_D = concordance_D(values_K[None], pairs)
    value, centre = float(value_D[0]), float(atanh_D[0])
    if noise is None:
        return None, None, value
    truth_K = denoised_K(curve.values_K, positions_K, noise.covariance_KK)
    redrawn_DK = rising_above_chance(curve, truth_K + noise.draws_DK(rng))
    # Centred and scaled to the errors first: single precision then loses nothing, however large the values are.
    unit = float(np.sqrt(np.trace(noise.covariance_KK)))
    redrawn_DK = ((redrawn_DK - values_K.mean()) / unit).astype(np.float32)
    scaled = replace(pairs, stderr_KK=pairs.stderr_KK / unit)
    ends = recentred_interval(centre, concordance_D(redrawn_DK, scaled)[1])
    low, high = Interval(*(float(np.tanh(end)) for end in ends)).holding(value)
    return _closed(low), _closed(high), value


def _closed(end: float) -> float:
    """An end of the interval; 1 or -1 where it is nearer to it than what is told apart."""
    return float(np.sign(end)) if abs(end) >= 1.0 - NEAREST_TO_ONE else end


def signal_quality_scores() -> list[SignalScore]:
    """``signal_quality`` on the token axis, and on the log-token axis."""
    return [
        SignalScore(
            "signal_quality",
            "How much more often a later checkpoint is better than worse; pairs weighted by tokens between them.",
            signal_quality,
            source="this package, docs/signal.md",
            unit="in [-1, 1]",
        ),
        SignalScore(
            "signal_quality_log",
            "signal_quality on the axis of log tokens: early training weighs more.",
            lambda curve, rng: signal_quality(curve, rng, "log-tokens"),
            source="this package, docs/signal.md",
            unit="in [-1, 1]",
        ),
    ]
