"""Intervals that are measured, not assumed: how far off was this very model when it had to predict larger runs?

The table's own largest runs are held out, several times, and predicted from the rest. The errors, scaled to the
distance of the prediction, give the interval. A bootstrap knows only the noise
inside the data; beyond it the law itself is off.

Shape suffixes: R rows, F folds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from e2lm.scaling_predictor import Forecast, LossTable
from e2lm_scaling.loss_rows import flops_of, subset
from e2lm_scaling.point_model import Curve, PointModel

#: Share of the held-out losses that the interval is to cover.
COVERAGE = 0.90
#: Most folds of one backtest: each is a whole fit.
MOST_FOLDS = 6
FEWEST_TRAINING_ROWS = 6
#: Errors grow with distance; this many e-foldings of compute double them.
DOUBLING_DISTANCE = 2.3


@dataclass(frozen=True, slots=True)
class Calibration:
    """How wrong a model was beyond its data: ``scale`` is the relative error per unit of growth, over ``folds``."""

    scale: float
    folds: int

    def half_width(self, distance: float) -> float:
        """Half-width in ln L at ``distance`` (e-foldings of compute beyond the data)."""
        quantile = float(student_t.ppf(0.5 + COVERAGE / 2, max(self.folds - 1, 1)))
        return quantile * self.scale * growth(distance)


def growth(distance: float) -> float:
    """How much larger an error is at ``distance`` than at the edge of the data."""
    return 1.0 + max(distance, 0.0) / DOUBLING_DISTANCE


def fold_masks(table: LossTable) -> list[NDArray[np.bool_]]:
    """Training masks that leave out the largest runs, by compute and by N, the smallest training set first."""
    masks: dict[bytes, NDArray[np.bool_]] = {}
    for values_R in (flops_of(table), table.params_R):
        levels = np.unique(values_R)
        cuts = (
            levels[1:] if len(levels) <= MOST_FOLDS + 1 else np.quantile(values_R, np.linspace(0.4, 0.95, MOST_FOLDS))
        )
        for cut in cuts:
            mask_R = values_R < cut
            if mask_R.sum() >= FEWEST_TRAINING_ROWS and (~mask_R).any():
                masks[mask_R.tobytes()] = mask_R
    return sorted(masks.values(), key=lambda mask_R: int(mask_R.sum()))


def calibrated(model: PointModel, table: LossTable) -> Calibration | None:
    """The calibration of ``model`` on folds of ``table``; None where no fold could be fitted."""
    flops_R = flops_of(table)
    squares = []
    for mask_R in fold_masks(table):
        curve = model.learn(subset(table, mask_R))
        if curve is None:
            continue
        held = subset(table, ~mask_R)
        error_R = np.log(held.loss_R) - curve(held.params_R, held.tokens_R)
        distance_R = np.log(flops_R[~mask_R] / flops_R[mask_R].max())
        growth_R = np.array([growth(float(distance)) for distance in distance_R])
        squares.append(float(np.mean((error_R / growth_R) ** 2)))
    if not squares:
        return None
    return Calibration(float(np.sqrt(np.mean(squares))), len(squares))


@dataclass(frozen=True, slots=True)
class CalibratedPredictor:
    """A fitted model whose interval comes from its own backtest."""

    curve: Curve
    calibration: Calibration | None
    largest_flops: float
    model_name: str

    def predict(self, params: float, tokens: float) -> Forecast:
        """The forecast at N and D; its interval covers 90 % of such forecasts in backtests."""
        log_loss = float(self.curve(np.array([float(params)]), np.array([float(tokens)]))[0])
        value = float(np.exp(log_loss))
        if self.calibration is None:
            return Forecast(value, reason="too few runs to hold some out: no interval can be measured")
        distance = float(np.log(6.0 * params * tokens / self.largest_flops))
        half = self.calibration.half_width(distance)
        method = (
            f"backtest-calibrated {COVERAGE:.0%}: error of {self.model_name} on the largest runs held out, "
            f"{self.calibration.folds} folds, grown to {np.exp(max(distance, 0.0)):.3g}x the compute"
        )
        return Forecast(value, value * float(np.exp(-half)), value * float(np.exp(half)), method=method)


def calibrated_predictor(model: PointModel, table: LossTable, curve: Curve) -> CalibratedPredictor:
    """``curve``, learned by ``model`` from ``table``, with the interval of its backtest."""
    return CalibratedPredictor(curve, calibrated(model, table), float(flops_of(table).max()), model.name)
