"""Noise between checkpoints, freed from the trend.

Each checkpoint is compared with the straight line through its two neighbours on the axis of training (Gasser, Sroka and
Jennen-Steinmetz, Biometrika 73 (1986), 625, equation 2.1)::

    e_k = a_k y_{k-1} + b_k y_{k+1} - y_k,   a_k = (x_{k+1} - x_k) / (x_{k+1} - x_{k-1}),  b_k = 1 - a_k
    sigma^2 = mean_k e_k^2 / (a_k^2 + b_k^2 + 1)

so a trend that is locally straight does not count as noise. Shape suffixes: K checkpoints, D draws.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from e2lm import Curve, SignalScore
from e2lm_signal.resampled_score import resampled
from e2lm_signal.token_axis import axis_K

Values = NDArray[np.float64]

SOURCE = "this package, docs/signal.md"

#: Of the largest value: what a straight curve leaves, whose values are each rounded once and its errors three times.
ROUNDING = 4 * float(np.finfo(np.float64).eps)


def detrended_noise_D(values_DK: Values, positions_K: Values) -> Values:
    """Standard deviation of the noise of single checkpoints; NaN below 3 checkpoints, 0 below rounding.

    >>> detrended_noise_D(np.array([[0.1, 0.2, 0.3, 0.4]]), np.arange(4.0))
    array([0.])
    """
    if len(positions_K) < 3:
        return np.full(len(values_DK), np.nan)
    before_K = (positions_K[2:] - positions_K[1:-1]) / (positions_K[2:] - positions_K[:-2])
    after_K = 1.0 - before_K
    error_DK = before_K * values_DK[:, :-2] + after_K * values_DK[:, 2:] - values_DK[:, 1:-1]
    noise_D = np.sqrt((error_DK**2 / (before_K**2 + after_K**2 + 1.0)).mean(axis=1))
    return np.where(noise_D <= ROUNDING * np.abs(values_DK).max(axis=1), 0.0, noise_D)


def noise_of(curve: Curve) -> float | None:
    """The detrended noise of one curve; None where it is undefined."""
    if len(curve.values_K) < 3 or not np.isfinite(curve.values_K).all():
        return None
    return float(detrended_noise_D(curve.values_K[None], axis_K(curve, "tokens"))[0])


def _quarter(count: int) -> int:
    return max(1, count // 4)


def gain_over_noise_D(values_DK: Values, positions_K: Values) -> Values:
    """(mean of the last quarter - mean of the first quarter of checkpoints) / noise; 0 for a constant curve."""
    quarter = _quarter(values_DK.shape[1])
    gain_D = values_DK[:, -quarter:].mean(axis=1) - values_DK[:, :quarter].mean(axis=1)
    noise_D = detrended_noise_D(values_DK, positions_K)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(gain_D == 0, 0.0, gain_D / noise_D))


def gain_over_chance_D(values_DK: Values, positions_K: Values, chance: float) -> Values:
    """(mean of the last quarter of checkpoints - chance) / standard error of that mean from the noise between them."""
    quarter = _quarter(values_DK.shape[1])
    gain_D = values_DK[:, -quarter:].mean(axis=1) - chance
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(gain_D / (detrended_noise_D(values_DK, positions_K) / np.sqrt(quarter)))


def checkpoint_noise_scores() -> list[SignalScore]:
    """Detrended noise, and the size of the effect over it and over chance."""
    return [
        SignalScore(
            "detrended_noise",
            "Noise of single checkpoints around the local trend.",
            resampled(detrended_noise_D, least=3),
            source="Gasser, Sroka and Jennen-Steinmetz (1986), Biometrika 73, 625",
            unit="units of the metric",
        ),
        SignalScore(
            "gain_over_noise",
            "Last quarter of checkpoints minus first quarter, in units of detrended noise.",
            resampled(gain_over_noise_D, least=4),
            source=SOURCE,
            unit="sd",
        ),
        SignalScore(
            "gain_over_chance",
            "Last quarter of checkpoints minus chance, in standard errors of that mean.",
            resampled(gain_over_chance_D, least=4, with_chance=True),
            source=SOURCE,
            unit="standard errors",
        ),
    ]
