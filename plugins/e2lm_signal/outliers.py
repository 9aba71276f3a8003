"""Checkpoints that do not fit into their series: a wrong upload, a broken evaluation, a mixed-up file.

A checkpoint is a spike where it is above both its neighbours, or below both. Its size is the smaller of the two
differences (0 on a rising or falling stretch, so fast learning is no spike)::

    s_k = minmod(y_k - y_{k-1}, y_k - y_{k+1}),   z_k = s_k / noise

with the noise of the curve: 1.4826 times the median absolute deviation of the detrended residuals of
:mod:`e2lm_signal.noise`, turned to a normal standard deviation. One spike is noise; all tasks spiking at one
checkpoint is a fault. So ``z_k``, cut at +-10, is averaged over the curves of the series, and the distance of that
average from its median is divided by its standard deviation over the other checkpoints (tasks go up and down together,
so curves are no independent witnesses), or by its standard error over curves where that is larger.

Shape suffixes: K checkpoints, C curves (task x metric) of one series.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from e2lm import Curve
from e2lm.arrays import Values
from e2lm_signal.curves import axis_K

#: Median absolute deviation of a normal variable to its standard deviation.
MAD_TO_SD = 1.4826
CUT = 10.0
#: Fewer curves cannot tell a faulty checkpoint from a noisy value.
LEAST_CURVES = 3
LEAST_CHECKPOINTS = 5
#: A score beyond this is called an outlier: less than once in 100,000 normal checkpoints.
ALARM = 4.5


@dataclass(frozen=True, slots=True)
class Outlier:
    """One checkpoint: ``score`` in standard deviations, positive where it is too good."""

    series: str
    step: int
    score: float
    mean_z: float
    curves: int

    @property
    def is_alarm(self) -> bool:
        """Whether the score is beyond what noise gives."""
        return bool(abs(self.score) >= ALARM)


def spikes_K(values_K: Values) -> Values:
    """How far each checkpoint stands out from both neighbours; 0 at the ends.

    >>> spikes_K(np.array([0.0, 3.0, 1.0, 2.0])).tolist()
    [0.0, 2.0, -1.0, 0.0]
    """
    before, after = values_K[1:-1] - values_K[:-2], values_K[1:-1] - values_K[2:]
    same = np.sign(before) == np.sign(after)
    inner = np.where(same, np.sign(before) * np.minimum(np.abs(before), np.abs(after)), 0.0)
    return np.concatenate([[0.0], inner, [0.0]])


def standardised_K(curve: Curve) -> Values | None:
    """Spikes over the noise of the curve; None for a curve that is too short, constant or not finite."""
    if len(curve.values_K) < LEAST_CHECKPOINTS or not np.isfinite(curve.values_K).all():
        return None
    positions_K, values_K = axis_K(curve, "log-tokens"), curve.values_K
    before_K = (positions_K[2:] - positions_K[1:-1]) / (positions_K[2:] - positions_K[:-2])
    error_K = before_K * values_K[:-2] + (1 - before_K) * values_K[2:] - values_K[1:-1]
    scaled_K = np.abs(error_K) / np.sqrt(before_K**2 + (1 - before_K) ** 2 + 1.0)
    noise = MAD_TO_SD * float(np.median(scaled_K))
    if noise <= 1e-12 * float(np.abs(values_K).max(initial=0.0)):
        return None
    sign = 1.0 if curve.higher_is_better else -1.0
    return np.asarray(np.clip(sign * spikes_K(values_K) / noise, -CUT, CUT))


def outliers(groups: Iterable[Sequence[Curve]]) -> list[Outlier]:
    """Every checkpoint that enough curves cover, the most suspicious first."""
    by_series: dict[str, dict[int, list[float]]] = {}
    for curves in groups:
        for curve in curves:
            z_K = standardised_K(curve)
            if z_K is None:
                continue
            for step, z in zip(curve.steps_K[1:-1].tolist(), z_K[1:-1].tolist(), strict=True):
                by_series.setdefault(curve.series, {}).setdefault(step, []).append(z)
    found = [one for series, by_step in by_series.items() for one in _of_series(series, by_step)]
    return sorted(found, key=lambda one: (-abs(one.score), one.series, one.step))


def _of_series(series: str, by_step: dict[int, list[float]]) -> list[Outlier]:
    usable = {step: np.asarray(z_C) for step, z_C in by_step.items() if len(z_C) >= LEAST_CURVES}
    if len(usable) < 3:
        return []
    means = {step: float(z_C.mean()) for step, z_C in usable.items()}
    single = float(np.concatenate(list(usable.values())).std(ddof=1))
    found = []
    for step, z_C in usable.items():
        others = np.asarray([mean for other, mean in means.items() if other != step])
        centre = float(np.median(others))
        spread = float(np.sqrt(((others - centre) ** 2).sum() / (len(others) - 1)))
        error = single / np.sqrt(len(z_C))
        scale = max(spread, error)
        score = (means[step] - centre) / scale if scale > 0 else 0.0
        found.append(Outlier(series, step, float(score), means[step], len(z_C)))
    return found
