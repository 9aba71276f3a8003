"""Intervals that are measured, not assumed: how far off was this very model when it had to predict larger runs?

A bootstrap knows the noise inside the data; beyond it the law itself is off, and a 90 % bootstrap interval covers 4
held-out losses in 10. So the half-width of ln L is made of three parts that add in squares:

* ``noise``: the standard deviation of the model's residuals on its own data;
* ``own``: 1.5 x the error (root mean square, median over folds) of the same model on the largest runs of the same
  table, held out in turn;
* ``drift``: the model's drift per e-folding of compute, parameters or tokens beyond the data, whichever is largest.

The factor 1.5 and the drift of the average of laws are those of a grid of 1,377 that covered at least 90 % of the
losses held out of seven public corpora at the smallest mean half-width; the drift of every other model is a round value
that covers about 90 % there. They were judged on other corpora: see docs/scaling.md.
Shape suffixes: R rows, F folds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from e2lm.interval import normal_quantile, ratio_interval
from e2lm.scaling_predictor import Forecast, LossTable
from e2lm_scaling.forecast.table import flops_of, subset
from e2lm_scaling.laws.objective import Array

#: Share of held-out losses that the constants below were chosen to cover.
COVERAGE = 0.90
OWN_ERROR_FACTOR = 1.5
#: Where folds cut the range of ln C, as shares of it.
FOLD_CUTS = tuple(float(share) for share in np.linspace(0.3, 0.95, 10))
FEWEST_TRAINING_ROWS = 8
#: Losses drawn with every forecast, for those who weigh options against each other.
DRAWS = 4000

#: ln loss at N and D.
LogLoss = Callable[[Array, Array], Array]
#: What a model learns from a table; None where that does not suffice.
Learn = Callable[[LossTable], LogLoss | None]


@dataclass(frozen=True, slots=True)
class Calibration:
    """How wrong a model is: residual noise, own backtest error (both of ln L), drift per e-folding; over ``folds``."""

    noise: float
    own_error: float
    drift: float
    folds: int

    def half_width(self, distance: float) -> float:
        """Half-width of ln L at ``distance`` e-foldings beyond the data.

        >>> Calibration(0.003, 0.0, 0.004, 5).half_width(1.0)
        0.005
        """
        parts = (self.noise, OWN_ERROR_FACTOR * self.own_error, self.drift * max(distance, 0.0))
        return float(np.sqrt(np.sum(np.square(parts))))


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


def fold_errors(learn: Learn, table: LossTable) -> list[Array]:
    """Errors of ln L on the held-out runs of every fold that could be fitted."""
    found = []
    for mask_R in fold_masks(table):
        log_loss = learn(subset(table, mask_R))
        if log_loss is not None:
            held = subset(table, ~mask_R)
            found.append(log_loss(held.params_R, held.tokens_R) - np.log(held.loss_R))
    return found


def own_error(errors: list[Array]) -> float:
    """The root mean square of a fold's errors, median over the folds; infinite where there is none."""
    return float(np.median([np.sqrt(np.mean(error**2)) for error in errors])) if errors else float("inf")


def calibrated(learn: Learn, drift: float, table: LossTable, log_loss: LogLoss) -> Calibration | None:
    """The calibration of what ``learn`` gives, on the whole table ``log_loss``; None where no fold could be fitted."""
    errors = fold_errors(learn, table)
    if not errors:
        return None
    residual_R = log_loss(table.params_R, table.tokens_R) - np.log(table.loss_R)
    return Calibration(float(np.sqrt(np.mean(residual_R**2))), own_error(errors), drift, len(errors))


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
            return Forecast(value, reason="too few runs to hold some out: no interval can be measured")
        distance = distance_beyond(self.table, params, tokens)
        half = self.calibration.half_width(distance)
        reach = f", {np.exp(distance):.3g}x beyond the data" if distance > 0 else ", inside the data"
        method = (
            f"backtest-calibrated {COVERAGE:.0%}: residuals, error of {self.name} on the largest runs held out "
            f"({self.calibration.folds} folds), drift{reach}"
        )
        total = half / normal_quantile()
        common = float(np.sqrt(max(total**2 - self.calibration.noise**2, 0.0)))
        draws_S = value * np.exp(common * self._world_S)
        return Forecast(value, *ratio_interval(value, half), method=method, draws_S=draws_S)

    @cached_property
    def _world_S(self) -> Array:
        """Normal errors, common to all forecasts, whose spread is exactly 1."""
        drawn_S = np.random.default_rng(self.seed).standard_normal(DRAWS)
        result: Array = (drawn_S - drawn_S.mean()) / drawn_S.std()
        return result
