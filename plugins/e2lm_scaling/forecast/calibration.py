"""Intervals that are measured, not assumed: how far off was this very model when it had to predict larger runs?

A bootstrap knows the noise inside the data; beyond it the law itself is off, and a 90 % bootstrap interval covers 4
held-out losses in 10. So the half-width of ln L at d e-foldings beyond the data is made of three parts that add in
squares:

* ``own``: 1.125 x the own error of the model x sqrt(1 + (3.5 d)^2). On the largest runs of the same table, held out in
  turn, the own error is the 90 % quantile of |error| / sqrt(1 + (3.5 d)^2), median over the folds;
* ``least``: 1 %, for no table is so good that a run is known better;
* ``drift``: the model's drift x d, with d the largest of compute, parameters and tokens beyond the data.

The numbers but the drift (0.5 % for the average of laws) were chosen by whole families of public corpora: at least
95 % covered on average over the families, 90 % in each and 90 % at every reach, at the smallest median half-width
within 10x of near-optimal runs; each family was then judged by what the others alone would have chosen
(docs/scaling.md). The drifts are round values.
Shape suffixes: R rows, F folds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from e2lm.interval import normal_quantile, percentile_interval, ratio_interval
from e2lm.scaling_predictor import Forecast, LossTable
from e2lm_scaling.forecast.table import flops_of, subset
from e2lm_scaling.laws.objective import Array

#: Share of held-out losses that the constants below were chosen to cover.
COVERAGE = 0.90
OWN_ERROR_FACTOR = 1.125
#: How fast the own error grows with e-foldings beyond the data.
GROWTH = 3.5
LEAST_HALF_WIDTH = 0.01
#: Where folds cut the range of ln C, as shares of it.
FOLD_CUTS = (0.4, 0.55, 0.7, 0.85)
FEWEST_TRAINING_ROWS = 5
#: The least own error of a model of fewer runs than ``SMALL_TABLE``, of which too few can be held out: nine in ten of
#: the tables of 5 and of 7 runs drawn from public corpora stayed below it.
SMALL_TABLE_ERROR, SMALL_TABLE = 0.07, 8
FEWEST_ROWS = 3
#: Losses drawn with every forecast, for those who weigh options against each other.
DRAWS = 4000

#: ln loss at N and D.
LogLoss = Callable[[Array, Array], Array]
#: What a model learns from a table; None where that does not suffice.
Learn = Callable[[LossTable], LogLoss | None]


@dataclass(frozen=True, slots=True)
class Calibration:
    """How wrong a model is: residual noise, own error at no distance (both of ln L), drift; over ``folds``."""

    noise: float
    own_error: float
    drift: float
    folds: int

    def half_width(self, distance: float) -> float:
        """Half-width of ln L at ``distance`` e-foldings beyond the data.

        >>> round(Calibration(0.0, 0.01, 0.0, 5).half_width(0.0), 4)
        0.0151
        """
        reach = max(distance, 0.0)
        own = OWN_ERROR_FACTOR * self.own_error * float(growth(reach))
        return float(np.sqrt(np.sum(np.square((own, LEAST_HALF_WIDTH, self.drift * reach)))))


def growth(reach: float | Array) -> Array:
    """How many times its value at no distance an error may be, ``reach`` e-foldings beyond the data."""
    result: Array = np.hypot(1.0, GROWTH * np.asarray(reach))
    return result


def fold_masks(table: LossTable) -> list[NDArray[np.bool_]]:
    """Training masks that leave out the runs of largest compute, the smallest training set first."""
    log_flops_R = np.log(flops_of(table))
    low, high = log_flops_R.min(), log_flops_R.max()
    masks: dict[int, NDArray[np.bool_]] = {}
    for share in FOLD_CUTS:
        mask_R = log_flops_R < low + share * (high - low)
        if mask_R.sum() >= FEWEST_TRAINING_ROWS and not mask_R.all():
            masks[int(mask_R.sum())] = mask_R
    return list(masks.values())


@dataclass(frozen=True, slots=True)
class Fold:
    """Errors of ln L on held-out runs, and by how many e-foldings each lies beyond those learnt from (0 inside)."""

    error_R: Array
    distance_R: Array

    @property
    def scale(self) -> float:
        """What nine in ten errors stay below, at no distance."""
        # The upper end of the middle 80 % is what 90 % stay below.
        return percentile_interval(np.abs(self.error_R) / growth(self.distance_R), 2 * COVERAGE - 1).high


def folds_of(learn: Learn, table: LossTable) -> list[Fold]:
    """Every fold that could be fitted."""
    found = []
    for mask_R in fold_masks(table):
        kept = subset(table, mask_R)
        log_loss = learn(kept)
        if log_loss is not None:
            held = subset(table, ~mask_R)
            rows = zip(held.params_R, held.tokens_R, strict=True)
            distance_R = np.array([max(distance_beyond(kept, float(n), float(d)), 0.0) for n, d in rows])
            found.append(Fold(log_loss(held.params_R, held.tokens_R) - np.log(held.loss_R), distance_R))
    return found


def inner_error(folds: list[Fold]) -> float:
    """The root mean square of a fold's errors, median over the folds; infinite where there is none."""
    return float(np.median([np.sqrt(np.mean(one.error_R**2)) for one in folds])) if folds else float("inf")


def calibrated(learn: Learn, drift: float, table: LossTable, log_loss: LogLoss) -> Calibration | None:
    """The calibration of what ``learn`` gives, on the whole table ``log_loss``; None for one or two runs.

    Where hardly a run can be held out the own error is at least that of small tables of public corpora.
    """
    if len(table.loss_R) < FEWEST_ROWS:
        return None
    folds = folds_of(learn, table)
    own = float(np.median([one.scale for one in folds])) if folds else SMALL_TABLE_ERROR
    if len(table.loss_R) < SMALL_TABLE:
        own = max(own, SMALL_TABLE_ERROR)
    residual_R = log_loss(table.params_R, table.tokens_R) - np.log(table.loss_R)
    return Calibration(float(np.sqrt(np.mean(residual_R**2))), own, drift, len(folds))


def distance_beyond(table: LossTable, params: float, tokens: float) -> float:
    """E-foldings by which the largest of compute, parameters and tokens exceeds the table; below 0 inside."""
    flops = 6.0 * params * tokens / float(flops_of(table).max())
    beyond = (flops, params / float(table.params_R.max()), tokens / float(table.tokens_R.max()))
    return float(np.log(max(beyond)))


@dataclass(frozen=True)
class CalibratedPredictor:
    """A fitted predictor whose interval comes from its own backtest, made when the first forecast is asked for.

    ``learn`` gave ``log_loss`` from ``table``; its ``drift`` is per e-folding. ``seed`` is that of its draws, which
    spread as far as the interval says, less the noise of a run.
    """

    name: str
    learn: Learn
    drift: float
    table: LossTable
    log_loss: LogLoss
    seed: int

    @cached_property
    def calibration(self) -> Calibration | None:
        """How wrong it is; None where too few runs could be held out."""
        return calibrated(self.learn, self.drift, self.table, self.log_loss)

    def losses(self, params_R: Array, tokens_R: Array) -> Array:
        """The values of many forecasts at once."""
        result: Array = np.exp(self.log_loss(params_R, tokens_R))
        return result

    def predict(self, params: float, tokens: float) -> Forecast:
        """The forecast at N and D with a 90 % interval, or a reason why there is none."""
        value = float(self.losses(np.array([float(params)]), np.array([float(tokens)]))[0])
        if self.calibration is None:
            return Forecast(value, reason="one or two runs only: no interval can be measured")
        distance = distance_beyond(self.table, params, tokens)
        half = self.calibration.half_width(distance)
        reach = f", {np.exp(distance):.3g}x beyond the data" if distance > 0 else ", inside the data"
        method = f"backtest-calibrated {COVERAGE:.0%}: {self._own_words}, grown with distance, drift{reach}"
        total = half / normal_quantile()
        common = float(np.sqrt(max(total**2 - self.calibration.noise**2, 0.0)))
        draws_S = value * np.exp(common * self._world_S)
        return Forecast(value, *ratio_interval(value, half), method=method, draws_S=draws_S)

    @property
    def _own_words(self) -> str:
        folds = self.calibration.folds if self.calibration is not None else 0
        if folds and len(self.table.loss_R) >= SMALL_TABLE:
            return f"error of {self.name} on the largest runs held out ({folds} folds)"
        return "error on small tables of public corpora, for too few runs can be held out"

    @cached_property
    def _world_S(self) -> Array:
        """Normal errors, common to all forecasts, whose spread is exactly 1."""
        drawn_S = np.random.default_rng(self.seed).standard_normal(DRAWS)
        result: Array = (drawn_S - drawn_S.mean()) / drawn_S.std()
        return result
