"""Several series on common checkpoints: what comparisons between series need.

Shape suffixes: M series, K checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2lm import Curve

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CommonGrid:
    """``values_MK`` turned so that more is better; ``position_K`` in tokens, or steps where tokens are unknown."""

    series_M: tuple[str, ...]
    position_K: Values
    steps_K: NDArray[np.int64]
    values_MK: Values
    has_tokens: bool

    @property
    def share_K(self) -> Values:
        """Positions as shares of the last one."""
        return np.asarray(self.position_K / self.position_K[-1])


def common_grid(curves: Sequence[Curve], least_series: int = 2) -> CommonGrid | str:
    """The checkpoints (by step) at which every series has a finite value, or why there is no such grid."""
    if len(curves) < least_series:
        return f"{len(curves)} series; at least {least_series} are needed"
    values = [dict(zip(c.steps_K.tolist(), c.values_K.tolist(), strict=True)) for c in curves]
    finite = [{step for step, value in one.items() if np.isfinite(value)} for one in values]
    steps = sorted(set.intersection(*finite))
    if len(steps) < 2 or steps[-1] <= 0:
        return f"the {len(curves)} series share {len(steps)} checkpoints; at least 2 are needed"
    steps_K = np.asarray(steps, dtype=np.int64)
    first = curves[0]
    tokens = dict(zip(first.steps_K.tolist(), first.tokens_K.tolist(), strict=True))
    tokens_K = np.asarray([tokens[step] for step in steps])
    has_tokens = bool(np.isfinite(tokens_K).all() and tokens_K[-1] > 0)
    sign = 1.0 if first.higher_is_better else -1.0
    values_MK = sign * np.asarray([[one[step] for step in steps] for one in values])
    return CommonGrid(
        tuple(curve.series for curve in curves),
        tokens_K if has_tokens else steps_K.astype(np.float64),
        steps_K,
        values_MK,
        has_tokens,
    )
