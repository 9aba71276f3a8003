"""Predictors that other plugins registered, judged as the models of this package are.

Shape suffix: R rows.
"""

from __future__ import annotations

import numpy as np

from e2lm.errors import UserError
from e2lm.plugin_manager import plugin_manager
from e2lm.scaling_predictor import LossTable, ScalingPredictor
from e2lm_scaling.objective import Array
from e2lm_scaling.point_model import MODELS, Curve, PointModel


def known_models(seed: int = 0) -> dict[str, PointModel]:
    """The models of this package by name, then every registered predictor that is none of them; two of a name raise."""
    registered: list[ScalingPredictor] = plugin_manager().all(
        "e2lm_register_scaling_predictors", ScalingPredictor, "scaling predictor"
    )
    others = {one.name: registered_model(one, seed) for one in registered if one.name not in MODELS}
    return {**MODELS, **others}


def registered_model(predictor: ScalingPredictor, seed: int) -> PointModel:
    """``predictor`` as a point model: its intervals are not used, for backtests calibrate all models alike."""

    def learn(table: LossTable) -> Curve | None:
        try:
            fitted = predictor.fit(table, np.random.default_rng(seed))
        except UserError:  # the table does not suffice
            return None

        def curve(params_R: Array, tokens_R: Array) -> Array:
            pairs = zip(params_R, tokens_R, strict=True)
            return np.log([fitted.predict(float(params), float(tokens)).value for params, tokens in pairs])

        return curve

    return PointModel(predictor.name, predictor.description, learn, predictor.source, predictor.is_baseline)
