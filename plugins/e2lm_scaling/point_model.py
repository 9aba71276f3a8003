"""Ways to predict a loss from a table of losses: fitted laws, their average, and baselines that cost nothing.

A :class:`PointModel` learns from a table and gives a function of N and D; backtests and intervals treat all alike.
Shape suffix: R rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from e2lm.scaling_predictor import LossTable
from e2lm_scaling.fit import fitted
from e2lm_scaling.law import law_named
from e2lm_scaling.loss_rows import flops_of
from e2lm_scaling.objective import Array, Objective

#: ln loss at N and D.
Curve = Callable[[Array, Array], Array]
#: Starts polished inside backtests, where many fits are needed and each start is the grid's best.
BACKTEST_STARTS = 4


@dataclass(frozen=True, slots=True)
class PointModel:
    """``learn(table)`` gives ln L as a function of N and D, or None where the table does not suffice."""

    name: str
    description: str
    learn: Callable[[LossTable], Curve | None]
    source: str = ""
    is_baseline: bool = False


def law_model(law_name: str, objective: Objective | None = None) -> PointModel:
    """The fit of a law."""
    law = law_named(law_name)
    wanted = Objective() if objective is None else objective

    def learn(table: LossTable) -> Curve | None:
        if len(table.loss_R) <= law.free:
            return None
        best = fitted(law, table, wanted, np.ones(len(table.loss_R)), BACKTEST_STARTS)
        if best is None:
            return None
        theta_1T = best.theta_T[None]
        return lambda params_R, tokens_R: law.log_loss(theta_1T, params_R, tokens_R)[0]

    return PointModel(law.name, law.formula, learn, law.source)


def mean_model(name: str, members: tuple[PointModel, ...]) -> PointModel:
    """The plain mean of ln L over the members that could be fitted."""

    def learn(table: LossTable) -> Curve | None:
        curves = [curve for member in members if (curve := member.learn(table)) is not None]
        if not curves:
            return None
        return lambda params_R, tokens_R: np.mean([curve(params_R, tokens_R) for curve in curves], axis=0)

    described = "mean of " + " and ".join(member.name for member in members)
    return PointModel(name, described, learn, "Claeskens & Hjort 2008, Model Selection and Model Averaging")


def _persistence(table: LossTable) -> Curve:
    largest = np.flatnonzero(table.params_R == table.params_R.max())
    log_tokens_K, log_loss_K = np.log(table.tokens_R[largest]), np.log(table.loss_R[largest])

    def curve(params_R: Array, tokens_R: Array) -> Array:
        nearest_R = np.abs(np.log(tokens_R)[:, None] - log_tokens_K).argmin(axis=1)
        result: Array = log_loss_K[nearest_R]
        return result

    return curve


def _log_linear(table: LossTable) -> Curve | None:
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
LOG_LINEAR = PointModel(
    "log-linear", "ln L as a straight line in ln C, least squares", _log_linear,
    "Kaplan et al. 2020 (arXiv 2001.08361), eq. 1.3", is_baseline=True,
)  # fmt: skip

CHINCHILLA_MODEL = law_model("chinchilla")
TIED_MODEL = law_model("chinchilla-tied")
MODELS: dict[str, PointModel] = {
    model.name: model
    for model in (
        CHINCHILLA_MODEL,
        TIED_MODEL,
        law_model("kaplan-floor"),
        law_model("kaplan"),
        law_model("skaling"),
        mean_model("average", (CHINCHILLA_MODEL, TIED_MODEL)),
        PERSISTENCE,
        LOG_LINEAR,
    )
}
