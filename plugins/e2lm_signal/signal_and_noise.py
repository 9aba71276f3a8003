"""The scores of Signal and Noise (Heineman et al. 2025, arXiv 2508.13144), section 3.

With m_j the mean and s_j the standard deviation (ddof 1) of the last n checkpoints of series j, and M the mean of m::

    signal = relative dispersion = max_{j,k} |m_j - m_k| / |M|,   noise_j = s_j / |m_j|,   SNR = signal / mean_j noise_j

The paper takes n = 30, and 5 for DataDecide's runs; here n is 30 where a series has at least 60 checkpoints, else 5
(fewer in very short ones: half of the series, at least 2). Chance level and scale matter to the first two, not to the
SNR of metrics that share a mean.

Shape suffixes: M series, K checkpoints, D draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from e2lm import Curve, ScoreValue, SignalScore
from e2lm.arrays import Values
from e2lm.interval import normal_quantile, ratio_interval, redrawn_DI
from e2lm_signal.item_noise import DRAWS
from e2lm_signal.resampled_score import resampled
from e2lm_signal.signal_quality import cleaned

SOURCE = "Signal and Noise (Heineman et al. 2025, arXiv 2508.13144), section 3"
MANY_CHECKPOINTS = 60
LAST_OF_MANY = 30
LAST_OF_FEW = 5


def last_count(checkpoints: int) -> int:
    """How many last checkpoints noise is taken from.

    >>> [last_count(n) for n in (4, 14, 143)]
    [2, 5, 30]
    """
    if checkpoints >= MANY_CHECKPOINTS:
        return LAST_OF_MANY
    return max(2, min(LAST_OF_FEW, checkpoints // 2))


def relative_noise_D(values_DK: Values, positions_K: Values) -> Values:
    """Standard deviation of the last checkpoints over their mean."""
    late_DK = values_DK[:, -last_count(values_DK.shape[1]) :]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(late_DK.std(axis=1, ddof=1) / np.abs(late_DK.mean(axis=1)))


def signal_to_noise(late_means_DM: Values, noises_DM: Values) -> tuple[Values, Values]:
    """``(signal, SNR)`` of every row from the late means and relative noises of the series; NaN where undefined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        signal_D = np.ptp(late_means_DM, axis=-1) / np.abs(late_means_DM.mean(axis=-1))
        return signal_D, signal_D / noises_DM.mean(axis=-1)


def late_snr(values_MK: Values) -> float:
    """Range of the late means over the mean noise of the late checkpoints; NaN below two series or without noise.

    The SNR of the paper but for its divisions by means: the same number where all series have one mean.

    >>> round(late_snr(np.array([[0.1, 0.0, 0.2], [0.3, 0.4, 0.2]])), 3)
    1.414
    """
    late_MK = values_MK[:, -last_count(values_MK.shape[1]) :]
    noise = float(late_MK.std(axis=1, ddof=1).mean())
    return float(np.ptp(late_MK.mean(axis=1))) / noise if noise > 0 and len(late_MK) > 1 else float("nan")


def _late(curves: Sequence[Curve]) -> tuple[Values, Values]:
    means, noises = [], []
    for curve in (cleaned(one).curve for one in curves):
        if len(curve.values_K) < 4:
            continue
        means.append(float(curve.values_K[-last_count(len(curve.values_K)) :].mean()))
        noises.append(float(relative_noise_D(curve.values_K[None], curve.values_K)[0]))
    return np.asarray(means), np.asarray(noises)


def _family(curves: Sequence[Curve], rng: np.random.Generator, which: int) -> ScoreValue:
    means_M, noises_M = _late(curves)
    if len(means_M) < 2:
        return ScoreValue(None, reason=f"{len(means_M)} series of 4 or more checkpoints; at least 2 are needed")
    value = float(signal_to_noise(means_M, noises_M)[which])
    if not np.isfinite(value):
        return ScoreValue(None, reason="the mean score, or the noise, is 0")
    if len(means_M) < 4:
        return ScoreValue(value, reason=f"no interval: {len(means_M)} series; at least 4 are needed to redraw them")
    chosen_DM = redrawn_DI(len(means_M), DRAWS, rng)
    draws_D = np.stack(signal_to_noise(means_M[chosen_DM], noises_M[chosen_DM]))[which]
    draws = draws_D[np.isfinite(draws_D) & (draws_D > 0)]
    interval = ratio_interval(value, normal_quantile() * float(np.log(draws).std()))
    return ScoreValue(value, *interval, details={"noise": float(noises_M.mean())})


def relative_dispersion(curves: Sequence[Curve], rng: np.random.Generator) -> ScoreValue:
    """Largest difference of two series over the mean; interval from redrawing series, on the log scale."""
    return _family(curves, rng, 0)


def signal_and_noise_snr(curves: Sequence[Curve], rng: np.random.Generator) -> ScoreValue:
    """Signal over mean relative noise; interval from redrawing series, on the log scale."""
    return _family(curves, rng, 1)


def signal_and_noise_scores() -> list[SignalScore]:
    """Noise per curve; signal and SNR per family."""
    return [
        SignalScore(
            "sn_noise",
            "Standard deviation of the last checkpoints over their mean.",
            resampled(relative_noise_D, least=4, within=(0.0, math.inf)),
            source=SOURCE,
            unit="share of the mean",
        ),
        SignalScore(
            "sn_signal",
            "Relative dispersion: largest difference of two series' late means over the overall mean.",
            relative_dispersion,
            "family",
            SOURCE,
            "share of the mean",
        ),
        SignalScore(
            "sn_snr",
            "Signal over noise: relative dispersion over mean relative noise.",
            signal_and_noise_snr,
            "family",
            SOURCE,
        ),
    ]
