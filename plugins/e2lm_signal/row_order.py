"""The order of the values in every row of many redraws, faster than ``argsort``: where a score spends its time.

Numpy sorts numbers several times as fast as it sorts their places. So the place of a value is written into the last
bits of its own, the rows are sorted, and the places are read off; a row in which that took two values that are almost
the same for equal is found, as its values are then not in order, and is sorted by places after all.

Shape suffixes: K checkpoints, D draws.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm.arrays import Values

#: Numbers worked on at once, so that they and what is made of them stay in the cache.
AT_ONCE = 25_000


def by_blocks_D(statistic: Callable[[Any], Values], values_DK: NDArray[np.floating[Any]]) -> Values:
    """``statistic`` of every row, of a few rows at a time.

    >>> by_blocks_D(lambda rows_DK: rows_DK.sum(axis=1), np.ones((3, 20_000))).tolist()
    [20000.0, 20000.0, 20000.0]
    """
    rows = max(1, AT_ONCE // values_DK.shape[1])
    if len(values_DK) <= rows:
        return statistic(values_DK)
    return np.concatenate([statistic(values_DK[at : at + rows]) for at in range(0, len(values_DK), rows)])


def order_and_sorted_DK(values_DK: NDArray[np.floating[Any]]) -> tuple[NDArray[np.int64], Values]:
    """``argsort`` of every row, places of equal values in any order, and the values in order; NaN comes last.

    >>> order_DK, sorted_DK = order_and_sorted_DK(np.array([[0.3, -0.1, 0.2]]))
    >>> order_DK.tolist(), sorted_DK.tolist()
    ([[1, 2, 0]], [[-0.1, 0.2, 0.3]])
    """
    rows_DK = np.ascontiguousarray(values_DK, dtype=np.float64)
    count = rows_DK.shape[1]
    places = (1 << (count - 1).bit_length()) - 1
    keys_DK = (rows_DK.view(np.int64) & ~places) | np.arange(count)
    keys_DK.view(np.float64).sort(axis=1)
    order_DK = keys_DK & places
    sorted_DK = rows_DK.take(order_DK + count * np.arange(len(rows_DK))[:, None])
    with np.errstate(invalid="ignore", over="ignore"):  # a place that is written into infinity is lost
        wrong_D = ~((sorted_DK[:, 1:] >= sorted_DK[:, :-1]).all(axis=1) & np.isfinite(rows_DK.sum(axis=1)))
    if wrong_D.any():
        order_DK[wrong_D] = np.argsort(rows_DK[wrong_D], axis=1)
        sorted_DK[wrong_D] = np.take_along_axis(rows_DK[wrong_D], order_DK[wrong_D], axis=1)
    return order_DK, sorted_DK
