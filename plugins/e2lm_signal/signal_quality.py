"""``signal_quality``: how surely a benchmark shows that training helps, with an interval and a p-value.

The three numbers answer three questions. *value* (:mod:`e2lm_signal.concordance`, in [-1, 1]): is a later checkpoint
better? *low, high*: the central 90 % interval under redrawing the items of the benchmark. *p*
(:mod:`e2lm_signal.trend_test`): how often would noise alone, drifting or not, rise as clearly?

The interval is for the mean of the value over sets of as many items. It is taken on the scale of ``A = atanh Q``::

    low = tanh(A + q05(A*) - q50(A*)),  high = tanh(A + q95(A*) - q50(A*))

with A* those of 1,000 redraws around the de-noised curve (:func:`e2lm_signal.item_noise.denoised_K`) and q their
quantiles.

Shape suffixes: K checkpoints, D draws.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from e2lm import Curve, ScoreValue, SignalScore
from e2lm_signal.concordance import NEAREST_TO_ONE, concordance_D, pairs_of
from e2lm_signal.item_noise import UNKNOWN, denoised_K, item_noise
from e2lm_signal.token_axis import Axis, axis_K
from e2lm_signal.trend_test import trend_test

Values = NDArray[np.float64]

LEAST_CHECKPOINTS = 4
#: Normal quantile of a central 90 % interval.
Z_90 = 1.6448536269514722


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


def rising(curve: Curve, values: Values) -> Values:
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
    values_K = rising(curve, curve.values_K)
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
    redrawn_DK = rising(curve, truth_K + noise.draws_DK(rng))
    # Centred and scaled to the errors first: single precision then loses nothing, however large the values are.
    unit = float(np.sqrt(np.trace(noise.covariance_KK)))
    redrawn_DK = ((redrawn_DK - values_K.mean()) / unit).astype(np.float32)
    scaled = replace(pairs, stderr_KK=pairs.stderr_KK / unit)
    below, middle, above = np.quantile(concordance_D(redrawn_DK, scaled)[1], (0.05, 0.5, 0.95))
    low, high = (float(np.tanh(centre + end - middle)) for end in (below, above))
    return _closed(min(low, value)), _closed(max(high, value)), value


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
