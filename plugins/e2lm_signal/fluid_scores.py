"""The curve scores of Fluid Benchmarking (Hofmann et al. 2025, arXiv 2509.11106), from its text.

* ``fluid_total_variation = n/(n-1) sum_k |y_k - y_{k-1}| / |y_n - y_1|``: n/(n-1) for a monotone curve, more for a
  jagged one; undefined where the curve ends where it began.
* ``fluid_saturation = |Spearman(step, score)|``: 1 while scores keep moving one way.

Shape suffixes: K checkpoints, D draws.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from e2lm import SignalScore
from e2lm_signal.fine_tasks import monotonicity_D
from e2lm_signal.resampled_score import resampled

Values = NDArray[np.float64]

SOURCE = "Fluid Benchmarking (Hofmann et al. 2025, arXiv 2509.11106)"


def total_variation_D(values_DK: Values, positions_K: Values) -> Values:
    """Normalised total variation, at least n/(n-1); lower is smoother.

    >>> total_variation_D(np.array([[1.0, 2.0, 4.0, 5.0]]), np.arange(4.0)) * 3 / 4
    array([1.])
    """
    count = values_DK.shape[1]
    walked_D = np.abs(np.diff(values_DK, axis=1)).sum(axis=1)
    net_D = np.abs(values_DK[:, -1] - values_DK[:, 0])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(net_D > 0, count / (count - 1) * walked_D / net_D, np.nan))


def saturation_D(values_DK: Values, positions_K: Values) -> Values:
    """Absolute Spearman correlation of step and score."""
    return np.abs(monotonicity_D(values_DK, positions_K))


def fluid_scores() -> list[SignalScore]:
    """Total variation and saturation."""
    return [
        SignalScore(
            "fluid_total_variation",
            "Way walked over way gained; n/(n-1) for a monotone curve, lower is smoother.",
            resampled(total_variation_D),
            source=SOURCE,
        ),
        SignalScore(
            "fluid_saturation", "Absolute Spearman correlation of step and score.", resampled(saturation_D),
            source=SOURCE,
        ),
    ]  # fmt: skip
