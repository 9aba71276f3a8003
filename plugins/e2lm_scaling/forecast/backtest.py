"""Leave the largest runs out, predict them from the rest, and see which model was right: the test that counts.

Shape suffixes: R held-out rows, F folds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from e2lm.errors import UserError, nearest_names
from e2lm.plugin_call import PluginFaultError, asked
from e2lm.scaling_predictor import Forecast, LossTable, ScalingPredictor
from e2lm_scaling.forecast.calibration import Learn, LogLoss, folds_of, inner_error
from e2lm_scaling.forecast.predictors import BuiltIn
from e2lm_scaling.forecast.table import flops_of, subset
from e2lm_scaling.laws.objective import Array

RunSize = Literal["flops", "N", "D"]
RUN_SIZES: tuple[RunSize, ...] = ("flops", "N", "D")


@dataclass(frozen=True, slots=True)
class Judged:
    """One predictor on one backtest: errors are relative, in shares; the half-width is that of ln L, NaN without one.

    ``covered`` is the share of the held-out runs with an interval that lie inside it, None where there is no interval.
    ``inner_error`` is its error on folds of the training part: what one knows before the big run.
    """

    model: str
    is_baseline: bool
    mean_error: float
    worst_error: float
    signed_R: Array
    predicted_R: Array
    half_width_R: Array
    covered: float | None
    inner_error: float


@dataclass(frozen=True, slots=True)
class Backtest:
    """All predictors on one split, best first by what the training part alone says (``inner_error``).

    ``left_out`` are the names of those that could not be judged, and why.
    """

    by: RunSize
    threshold: float
    train: LossTable
    held: LossTable
    judged: tuple[Judged, ...]
    left_out: Mapping[str, str]

    @property
    def chosen(self) -> Judged:
        """The model that the training part alone would have chosen; baselines take part."""
        return self.judged[0]

    @property
    def best(self) -> Judged:
        """The model that was right, known afterwards only."""
        return min(self.judged, key=lambda one: one.mean_error)


def values_of(table: LossTable, by: RunSize) -> Array:
    """The quantity that a backtest cuts."""
    if by not in RUN_SIZES:
        raise UserError(f"--by {by!r} is unknown. {nearest_names(by, RUN_SIZES)}")
    return {"flops": flops_of(table), "N": table.params_R, "D": table.tokens_R}[by]


def split_largest(table: LossTable, by: RunSize, ratio: float) -> tuple[LossTable, LossTable, float]:
    """Training rows (at most 1/``ratio`` of the largest value), held-out rows (all above), and the threshold."""
    if not ratio > 1:
        raise UserError(f"--ratio {ratio:g}: it must be above 1 (10 holds out the last factor of ten)")
    values_R = values_of(table, by)
    threshold = float(values_R.max()) / ratio
    small_R = values_R <= threshold * (1 + 1e-9)
    if small_R.all() or not small_R.any():
        raise UserError(
            f"--ratio {ratio:g}: {int(small_R.sum())} of {len(values_R)} rows lie below 1/{ratio:g} of the largest "
            f"{by}; the table spans a factor of {values_R.max() / values_R.min():.3g}; choose a ratio inside it"
        )
    return subset(table, small_R), subset(table, ~small_R), threshold


def backtest(
    table: LossTable, predictors: Iterable[ScalingPredictor], by: RunSize = "flops", ratio: float = 10.0, seed: int = 0
) -> Backtest:
    """Every predictor that the small runs can identify, judged on the large ones; one that fails costs itself only."""
    train, held, threshold = split_largest(table, by, ratio)
    judged, left_out = [], {}
    for predictor in predictors:
        try:
            judged.append(asked(judge, predictor, train, held, seed))
        except PluginFaultError as error:
            left_out[predictor.name] = str(error)
    if not judged:
        raise UserError(
            f"no model can be fitted to the {len(train.loss_R)} rows below 1/{ratio:g} of the largest {by}; "
            "choose a smaller --ratio"
        )
    ranked = tuple(sorted(judged, key=lambda one: one.inner_error))
    return Backtest(by, threshold, train, held, ranked, left_out)


def judge(predictor: ScalingPredictor, train: LossTable, held: LossTable, seed: int = 0) -> Judged:
    """One predictor fitted to ``train`` and judged on ``held``, by its own intervals; it may refuse the table."""
    forecaster = predictor.fitted(train, np.random.default_rng(seed), "the small runs")
    rows = zip(held.params_R, held.tokens_R, strict=True)
    forecasts = [forecaster.predict(float(params), float(tokens)) for params, tokens in rows]
    predicted_R = np.array([forecast.value for forecast in forecasts])
    relative_R = predicted_R / held.loss_R - 1
    return Judged(
        predictor.name, predictor.is_baseline, float(np.abs(relative_R).mean()), float(np.abs(relative_R).max()),
        relative_R, predicted_R, np.array([forecast.log_half_width for forecast in forecasts]),
        _covered(forecasts, held.loss_R), inner_error(folds_of(_learner(predictor, seed), train)),
    )  # fmt: skip


def _covered(forecasts: list[Forecast], loss_R: Array) -> float | None:
    inside = [
        one.low <= loss <= one.high
        for one, loss in zip(forecasts, loss_R, strict=True)
        if one.low is not None and one.high is not None
    ]
    return float(np.mean(inside)) if inside else None


def _learner(predictor: ScalingPredictor, seed: int) -> Learn:
    """What ``predictor`` learns from a part of the table; None where it refuses it.

    A built-in one says so itself, so that the error on folds shown here is the one in its intervals.
    """
    if isinstance(predictor, BuiltIn):
        return predictor.learn

    def learn(table: LossTable) -> LogLoss | None:
        try:
            forecaster = predictor.fitted(table, np.random.default_rng(seed))
        except UserError:
            return None
        return lambda params_R, tokens_R: np.log(forecaster.losses(params_R, tokens_R))

    return learn
