"""Ways to predict a loss from a table of losses: fitted laws, their average, and baselines that cost nothing.

A :class:`PointModel` learns from a table and gives a function of N and D; backtests and intervals treat all alike.
Shape suffix: R rows.

Predictors that other plugins registered, judged as the models of this package are.

Shape suffix: R rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from e2lm.errors import UserError, nearest_names
from e2lm.plugin_manager import plugin_manager
from e2lm.scaling_predictor import LossTable, ScalingPredictor
from e2lm_scaling.forecast.table import flops_of
from e2lm_scaling.laws.fit import fitted
from e2lm_scaling.laws.law import law_named
from e2lm_scaling.laws.objective import Array, Objective

#: ln loss at N and D.
LogLoss = Callable[[Array, Array], Array]
#: Starts polished inside backtests, where many fits are needed and each start is the grid's best.
BACKTEST_STARTS = 4


@dataclass(frozen=True, slots=True)
class PointModel:
    """``learn(table)`` gives ln L as a function of N and D, or None where the table does not suffice.

    ``drift`` is the error of ln L per e-folding beyond the data that its intervals allow for (see ``calibration``).
    """

    name: str
    description: str
    learn: Callable[[LossTable], LogLoss | None]
    source: str = ""
    is_baseline: bool = False
    drift: float = 0.05


#: Measured on the corpora that the intervals were chosen on; see ``calibration``.
DRIFT = {
    "average": 0.0075,
    "chinchilla": 0.016,
    "chinchilla-tied": 0.016,
    "skaling": 0.02,
    "kaplan-floor": 0.02,
    "kaplan": 0.05,
    "persistence": 0.05,
    "single-scale": 0.05,
    "log-linear": 0.05,
}


def law_model(law_name: str, objective: Objective | None = None) -> PointModel:
    """The fit of a law."""
    law = law_named(law_name)
    wanted = Objective() if objective is None else objective

    def learn(table: LossTable) -> LogLoss | None:
        if len(table.loss_R) <= law.free:
            return None
        best = fitted(law, table, wanted, np.ones(len(table.loss_R)), BACKTEST_STARTS)
        if best is None:
            return None
        theta_1T = best.theta_T[None]
        return lambda params_R, tokens_R: law.log_loss(theta_1T, params_R, tokens_R)[0]

    return PointModel(law.name, law.formula, learn, law.source, drift=DRIFT.get(law.name, 0.05))


def mean_model(name: str, members: tuple[PointModel, ...]) -> PointModel:
    """The plain mean of ln L over the members that could be fitted."""

    def learn(table: LossTable) -> LogLoss | None:
        curves = [curve for member in members if (curve := member.learn(table)) is not None]
        if not curves:
            return None
        return lambda params_R, tokens_R: np.mean([curve(params_R, tokens_R) for curve in curves], axis=0)

    described = "mean of " + " and ".join(member.name for member in members)
    source = "Claeskens & Hjort 2008, Model Selection and Model Averaging"
    return PointModel(name, described, learn, source, drift=DRIFT.get(name, 0.05))


def _persistence(table: LossTable) -> LogLoss:
    largest = np.flatnonzero(table.params_R == table.params_R.max())
    log_tokens_K, log_loss_K = np.log(table.tokens_R[largest]), np.log(table.loss_R[largest])

    def curve(params_R: Array, tokens_R: Array) -> Array:
        nearest_R = np.abs(np.log(tokens_R)[:, None] - log_tokens_K).argmin(axis=1)
        result: Array = log_loss_K[nearest_R]
        return result

    return curve


def _single_scale(table: LossTable) -> LogLoss:
    log_loss = float(np.log(table.loss_R[int(np.argmax(flops_of(table)))]))

    def curve(params_R: Array, tokens_R: Array) -> Array:
        return np.full(np.broadcast_shapes(np.shape(params_R), np.shape(tokens_R)), log_loss)

    return curve


def _log_linear(table: LossTable) -> LogLoss | None:
    log_flops_R = np.log(flops_of(table))
    if np.ptp(log_flops_R) == 0.0:
        return None
    slope, level = np.polyfit(log_flops_R - log_flops_R.mean(), np.log(table.loss_R), 1)
    centre = float(log_flops_R.mean())
    return lambda params_R, tokens_R: level + slope * (np.log(6.0 * params_R * tokens_R) - centre)


PERSISTENCE = PointModel(
    "persistence", "the loss of the largest model so far at the nearest number of tokens", _persistence,
    "baseline", is_baseline=True,
)  # fmt: skip
SINGLE_SCALE = PointModel(
    "single-scale", "the loss of the run of most compute, wherever one asks: ranks recipes as that one scale does",
    _single_scale, "Magnusson et al. 2025 (DataDecide, arXiv 2504.11393)", is_baseline=True,
)  # fmt: skip
LOG_LINEAR = PointModel(
    "log-linear", "ln L as a straight line in ln C, least squares", _log_linear,
    "Kaplan et al. 2020 (arXiv 2001.08361), eq. 1.3", is_baseline=True,
)  # fmt: skip

#: Three laws with a floor and one without: the former err high far out, the latter low. Chosen among nine sets of laws
#: and three kinds of mean on seven public corpora (docs/scaling.md).
AVERAGED = tuple(law_model(name) for name in ("chinchilla", "chinchilla-tied", "skaling", "kaplan"))
MODELS: dict[str, PointModel] = {
    model.name: model
    for model in (
        *AVERAGED,
        law_model("kaplan-floor"),
        mean_model("average", AVERAGED),
        PERSISTENCE,
        SINGLE_SCALE,
        LOG_LINEAR,
    )
}


def models_named(names: list[str], known: Mapping[str, PointModel] = MODELS) -> list[PointModel]:
    """The ``known`` models of these names, baselines always among them; :class:`UserError` for an unknown name."""
    for name in names:
        if name not in known:
            raise UserError(f"model {name!r} is unknown. {nearest_names(name, known)}")
    return [model for model in known.values() if model.name in names or model.is_baseline]


def known_models(seed: int = 0) -> dict[str, PointModel]:
    """The models of this package by name, then every registered predictor that is none of them; two of a name raise."""
    registered: list[ScalingPredictor] = plugin_manager().all(
        "e2lm_register_scaling_predictors", ScalingPredictor, "scaling predictor"
    )
    others = {one.name: registered_model(one, seed) for one in registered if one.name not in MODELS}
    return {**MODELS, **others}


def registered_model(predictor: ScalingPredictor, seed: int) -> PointModel:
    """``predictor`` as a point model: its intervals are not used, for backtests calibrate all models alike."""

    def learn(table: LossTable) -> LogLoss | None:
        try:
            fitted = predictor.fit(table, np.random.default_rng(seed))
        except UserError:  # the table does not suffice
            return None

        def curve(params_R: Array, tokens_R: Array) -> Array:
            pairs = zip(params_R, tokens_R, strict=True)
            return np.log([fitted.predict(float(params), float(tokens)).value for params, tokens in pairs])

        return curve

    return PointModel(predictor.name, predictor.description, learn, predictor.source, predictor.is_baseline)
