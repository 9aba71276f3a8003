"""The point models as scaling predictors of e2lm."""

from __future__ import annotations

import numpy as np

from e2lm.errors import UserError
from e2lm.scaling_predictor import FittedPredictor, LossTable, ScalingPredictor
from e2lm_scaling.forecast.calibration import calibrated_predictor
from e2lm_scaling.forecast.models import MODELS, PointModel
from e2lm_scaling.forecast.table import check_identifiable, checked
from e2lm_scaling.laws.law import LAWS


def scaling_predictors() -> list[ScalingPredictor]:
    """Every model of this package as a predictor."""
    return [_predictor(model) for model in MODELS.values()]


def _predictor(model: PointModel) -> ScalingPredictor:
    def fit(table: LossTable, rng: np.random.Generator) -> FittedPredictor:
        return fitted_predictor(model, table)

    return ScalingPredictor(model.name, model.description, fit, model.source, model.is_baseline)


def fitted_predictor(model: PointModel, table: LossTable) -> FittedPredictor:
    """``model`` on ``table`` with its interval; :class:`UserError` where the table cannot identify it."""
    checked(table)
    if model.name in LAWS:
        check_identifiable(table, LAWS[model.name])
    curve = model.learn(table)
    if curve is None:
        raise UserError(
            f"table: {len(table.loss_R)} rows do not determine predictor {model.name!r}; add runs of other sizes or "
            "use the predictor 'log-linear'"
        )
    return calibrated_predictor(model, table, curve)
