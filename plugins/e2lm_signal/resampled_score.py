"""A score of one curve from a statistic of many: the value, and a 90 % interval under redrawing the items.

Shape suffixes: K checkpoints, D draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from e2lm import Curve, ScoreValue
from e2lm.arrays import Values
from e2lm.interval import recentred_interval
from e2lm_signal.curves import axis_K
from e2lm_signal.item_noise import UNKNOWN, denoised_K, item_noise
from e2lm_signal.signal_quality import cleaned

#: ``statistic(values_DK, positions_K)`` gives one number per row; NaN where undefined.
Statistic = Callable[..., Values]
CurveScore = Callable[[Curve, np.random.Generator], ScoreValue]


def resampled(
    statistic: Statistic,
    least: int = 2,
    with_chance: bool = False,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> CurveScore:
    """The score of ``statistic``; values are turned so that more is better before it sees them.

    The interval is ``value + q05 - q50`` to ``value + q95 - q50`` of redraws around the de-noised curve (quantiles, as
    ratios have wild tails). It has no p-value: the one of ``signal_quality`` tests the same curve. ``with_chance``
    passes the chance level as a third argument. ``within`` is the range of the statistic, which no interval leaves.
    """

    def score(curve: Curve, rng: np.random.Generator) -> ScoreValue:
        clean = cleaned(curve)
        curve, remarks = clean.curve, list(clean.remarks)
        if len(curve.values_K) < least:
            return ScoreValue(None, reason=f"{len(curve.values_K)} usable checkpoints; at least {least} are needed")
        sign = 1.0 if curve.higher_is_better else -1.0
        extra: tuple[float, ...] = ()
        if with_chance:
            if curve.chance is None:
                return ScoreValue(None, reason="the chance level is unknown: give --chance TASK=LEVEL")
            extra = (sign * curve.chance,)
        positions_K = axis_K(curve, "tokens")
        value = float(statistic(sign * curve.values_K[None], positions_K, *extra)[0])
        if not np.isfinite(value):
            return ScoreValue(None, reason="the curve has no noise, or does not vary")
        noise = item_noise(curve)
        if noise is None:
            return ScoreValue(value, reason="; ".join([*remarks, UNKNOWN]))
        truth_K = denoised_K(curve.values_K, positions_K, noise.covariance_KK)
        draws_D = statistic(sign * (truth_K + noise.draws_DK(rng)), positions_K, *extra)
        draws_D = draws_D[np.isfinite(draws_D)]
        if not len(draws_D):
            return ScoreValue(value, reason="; ".join([*remarks, "no interval: undefined in every redraw"]))
        interval = recentred_interval(value, draws_D).holding(value).within(*within)
        return ScoreValue(value, *interval, reason="; ".join(remarks) or None)

    return score
