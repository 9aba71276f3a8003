"""Subtracting a control task: what drifts in both cancels.

The mean of the control task at each checkpoint is subtracted, times the slope with which the task's noise follows the
control's. The slope is estimated per series from the other series only, so that no series is cleaned with its own
noise.

Shape suffixes: M series, K checkpoints, I items.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from e2lm import UserError
from e2lm_signal.item_table import ItemTable
from e2lm_signal.noise_decomposition import scaled_residuals_MKI

Values = NDArray[np.float64]


def without_control(table: ItemTable, control: ItemTable) -> tuple[ItemTable, Values]:
    """``table`` with ``slope_m (control_mk - mean_k control_mk)`` subtracted from every item, and the slopes M."""
    if table.series_M != control.series_M or not np.array_equal(table.steps_K, control.steps_K):
        raise UserError(
            f"the control {control.task!r} has other series or checkpoints than {table.task!r}: "
            f"{len(control.series_M)} x {len(control.steps_K)} against {len(table.series_M)} x {len(table.steps_K)}"
        )
    positions_K = table.steps_K.astype(np.float64)
    ours_MK, theirs_MK = (
        scaled_residuals_MKI(one.values_MKI.mean(axis=2, keepdims=True), positions_K)[:, :, 0].astype(np.float64)
        for one in (table, control)
    )
    product_M, square_M = (ours_MK * theirs_MK).sum(axis=1), (theirs_MK**2).sum(axis=1)
    slope_M = (product_M.sum() - product_M) / (square_M.sum() - square_M)
    drift_MK = control.values_MKI.mean(axis=2, dtype=np.float64)
    drift_MK = slope_M[:, None] * (drift_MK - drift_MK.mean(axis=1, keepdims=True))
    cleaned_MKI = table.values_MKI - drift_MK[:, :, None].astype(np.float32)
    return replace(table, values_MKI=cleaned_MKI, metric=f"{table.metric}-minus-{control.task}"), slope_M
