"""Leave the largest runs out, predict them from the rest, and see which model was right: the test that counts.

Shape suffixes: R held-out rows, F folds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from e2lm.errors import UserError, nearest_names
from e2lm.scaling_predictor import LossTable
from e2lm_scaling.forecast.calibration import calibrated, distance_beyond, fold_errors
from e2lm_scaling.forecast.models import PointModel
from e2lm_scaling.forecast.table import flops_of, subset
from e2lm_scaling.laws.objective import Array

RunSize = Literal["flops", "N", "D"]
RUN_SIZES: tuple[RunSize, ...] = ("flops", "N", "D")


@dataclass(frozen=True, slots=True)
class Judged:
    """One model on one backtest: errors are relative, in shares; ``covered`` is the share inside the 90 % interval.

    ``inner_error`` is the model's own error on folds of the training part: what one knows before the big run.
    """

    model: str
    is_baseline: bool
    mean_error: float
    worst_error: float
    signed_R: Array
    predicted_R: Array
    half_width_R: Array
    covered: float
    inner_error: float


@dataclass(frozen=True, slots=True)
class Backtest:
    """All models on one split, best first by what the training part alone says (``inner_error``)."""

    by: RunSize
    threshold: float
    train: LossTable
    held: LossTable
    judged: tuple[Judged, ...]

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


def backtest(table: LossTable, models: Iterable[PointModel], by: RunSize = "flops", ratio: float = 10.0) -> Backtest:
    """Every model that the small runs can identify, judged on the large ones."""
    train, held, threshold = split_largest(table, by, ratio)
    judged = [one for model in models if (one := judge(model, train, held)) is not None]
    if not judged:
        raise UserError(
            f"no model can be fitted to the {len(train.loss_R)} rows below 1/{ratio:g} of the largest {by}; "
            "choose a smaller --ratio"
        )
    return Backtest(by, threshold, train, held, tuple(sorted(judged, key=lambda one: one.inner_error)))


def judge(model: PointModel, train: LossTable, held: LossTable) -> Judged | None:
    """One model learned from ``train`` and judged on ``held``; None where it cannot be fitted."""
    curve = model.learn(train)
    if curve is None:
        return None
    log_predicted_R = curve(held.params_R, held.tokens_R)
    error_R = log_predicted_R - np.log(held.loss_R)
    relative_R = np.expm1(error_R)
    calibration = calibrated(model, train, curve)
    if calibration is None:
        half_R = np.full(len(error_R), np.nan)
    else:
        rows = zip(held.params_R, held.tokens_R, strict=True)
        half_R = np.array([calibration.half_width(distance_beyond(train, float(n), float(d))) for n, d in rows])
    return Judged(
        model.name, model.is_baseline, float(np.abs(relative_R).mean()), float(np.abs(relative_R).max()), relative_R,
        np.exp(log_predicted_R), half_R, float(np.mean(np.abs(error_R) <= half_R)),
        float("inf") if calibration is None else calibration.own_error,
    )  # fmt: skip


def inner_errors(models: Iterable[PointModel], table: LossTable) -> dict[str, float]:
    """Median over folds of each model's root mean square error of ln L on runs held out of ``table``."""
    found = {}
    for model in models:
        errors = fold_errors(model, table)
        if errors:
            found[model.name] = float(np.median([np.sqrt(np.mean(error**2)) for error in errors]))
    return found
