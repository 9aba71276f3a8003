"""Where checkpoints lie on the axis of training, and how much of it each stands for.

Shape suffixes: K checkpoints.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from e2lm import Curve

Values = NDArray[np.float64]
Axis = Literal["tokens", "log-tokens"]

#: The log axis is linear in the first percent of the run, so that step 0 has a place on it.
LINEAR_SHARE = 100.0


def axis_K(curve: Curve, axis: Axis) -> Values:
    """Positions in [0, 1], the last checkpoint at 1: share of the run's tokens, or of their logarithm.

    Steps stand in where tokens are unknown for some checkpoint. A curve of one checkpoint, or with all at 0, lies at
    its index.

    >>> from e2lm_signal.curves import curve_of_values
    >>> axis_K(curve_of_values([0.1, 0.2, 0.3]), "tokens").tolist()
    [0.0, 0.5, 1.0]
    """
    tokens_K = curve.tokens_K if np.isfinite(curve.tokens_K).all() else curve.steps_K.astype(np.float64)
    if tokens_K[-1] <= 0 or (np.diff(tokens_K) <= 0).any():
        return np.linspace(0.0, 1.0, len(tokens_K)) if len(tokens_K) > 1 else np.ones(1)
    share_K = tokens_K / tokens_K[-1]
    if axis == "tokens":
        return np.asarray(share_K, dtype=np.float64)
    return np.asarray(np.log1p(LINEAR_SHARE * share_K) / np.log1p(LINEAR_SHARE))


def trapezoid_weights_K(positions_K: Values) -> Values:
    """The length of axis that each checkpoint stands for: half the way to each neighbour."""
    gaps = np.diff(positions_K)
    weights_K = np.zeros(len(positions_K))
    weights_K[:-1] += gaps / 2.0
    weights_K[1:] += gaps / 2.0
    return weights_K
