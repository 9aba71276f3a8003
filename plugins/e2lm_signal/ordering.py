"""Kendall's tau of series at two checkpoints: the brick of every score about ordering.

Shape suffixes: M series, K checkpoints.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def pair_signs_KP(values_MK: Values) -> Values:
    """The sign of every pair of series at every checkpoint."""
    first, second = np.triu_indices(values_MK.shape[0], 1)
    return np.sign(values_MK[first] - values_MK[second]).T


def tau_b_K(signs_KP: Values, reference_P: Values) -> Values:
    """Kendall's tau-b with the reference order at every checkpoint; NaN where all series tie.

    >>> tau_b_K(np.array([[1.0, 1.0, -1.0]]), np.array([1.0, 1.0, 1.0])).round(3)
    array([0.333])
    """
    untied_K = (signs_KP != 0).sum(axis=1)
    scale_K = np.sqrt(untied_K * (reference_P != 0).sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(scale_K > 0, signs_KP @ reference_P / scale_K, np.nan))
