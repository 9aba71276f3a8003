"""Forecasts of runs that repeat their data: the law of Muennighoff et al. with the interval of its own backtest.

Shape suffix: R rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from e2lm.errors import UserError
from e2lm.interval import ratio_interval, redrawn_counts_DI
from e2lm.scaling_predictor import Forecast
from e2lm_scaling.forecast.calibration import (
    FEWEST_ROWS,
    SMALL_TABLE,
    SMALL_TABLE_ERROR,
    Calibration,
    Fold,
    distance_beyond,
    fold_masks,
)
from e2lm_scaling.forecast.losses import LossSource
from e2lm_scaling.laws.objective import Array
from e2lm_scaling.laws.repeated_data import (
    RepeatedDataLaw,
    RepeatedFit,
    RepeatedTable,
    fit_repeated,
    repeated_table,
)

#: Error of ln L per e-folding beyond the data: that of the law without repetition.
DRIFT = 0.016


@dataclass(frozen=True)
class RepeatedForecaster:
    """The fitted law; :meth:`predict` backtests it when first asked."""

    fit: RepeatedFit

    def predict(self, params: float, tokens: float, unique: float) -> Forecast:
        """The loss of N parameters on D tokens of which ``unique`` are different, with a 90 % interval."""
        value = float(self.fit.law.loss(*(np.array([one]) for one in (params, tokens, unique)))[0])
        distance = _distance(self.fit.rows, params, tokens, min(unique, tokens))
        reach = f"{np.exp(distance):.3g}x beyond the data" if distance > 0 else "inside the data"
        method = (
            f"backtest-calibrated 90%: error of muennighoff on the largest runs held out "
            f"({self.calibration.folds} folds), grown with distance in compute, size, tokens and epochs, drift, {reach}"
        )
        return Forecast(value, *ratio_interval(value, self.calibration.half_width(distance)), method=method)

    @cached_property
    def calibration(self) -> Calibration:
        """How wrong it was on the largest runs of its own table, held out."""
        rows = self.fit.rows
        folds = [one for one in (_fold(self.fit, mask_R) for mask_R in fold_masks(rows.table)) if one is not None]
        own = float(np.median([one.scale for one in folds])) if folds else SMALL_TABLE_ERROR
        if len(rows.table.loss_R) < max(SMALL_TABLE, FEWEST_ROWS):
            own = max(own, SMALL_TABLE_ERROR)
        return Calibration(float(np.sqrt(np.mean(self.fit.residual_R**2))), own, DRIFT, len(folds))

    def bootstrapped(self, draws: int, rng: np.random.Generator) -> dict[str, Array]:
        """Constants of the fits of runs drawn with replacement, whole series together; those that converged."""
        names, member_R = np.unique(np.array(self.fit.rows.table.series_R), return_inverse=True)
        found: list[RepeatedDataLaw] = []
        for counts_I in redrawn_counts_DI(len(names), draws, rng):
            index_R = np.repeat(np.arange(len(member_R)), counts_I[member_R].astype(int))
            one = fit_repeated(self.fit.rows.subset(index_R), self.fit.law)
            found += [] if one is None else [one.law]
        return {name: np.array([law.constants[name] for law in found]) for name in self.fit.law.constants}


def fitted_to_repeats(source: LossSource) -> RepeatedForecaster:
    """The law on the losses of ``source``; :class:`e2lm.UserError` where these do not determine it."""
    found = fit_repeated(repeated_table(source.table, source.unique_R, source.source))
    if found is None:
        raise UserError(f"{source.source}: no start of law 'muennighoff' converged; the rows do not determine it")
    return RepeatedForecaster(found)


def _fold(fit: RepeatedFit, mask_R: NDArray[np.bool_]) -> Fold | None:
    """Errors on what the mask leaves out, by the law fitted to the rest from where the whole table's lies."""
    kept, held = fit.rows.subset(mask_R), fit.rows.subset(~mask_R)
    learned = fit_repeated(kept, fit.law)
    if learned is None:
        return None
    log_loss_R = np.log(learned.law.loss(held.table.params_R, held.table.tokens_R, held.unique_R))
    rows = zip(held.table.params_R, held.table.tokens_R, held.unique_R, strict=True)
    distance_R = np.array([max(_distance(kept, float(n), float(d), float(u)), 0.0) for n, d, u in rows])
    return Fold(log_loss_R - np.log(held.table.loss_R), distance_R)


def _distance(rows: RepeatedTable, params: float, tokens: float, unique: float) -> float:
    """E-foldings beyond the data, in compute, parameters, tokens or epochs."""
    epochs = float(np.log(tokens / unique / rows.epochs_R.max()))
    return max(distance_beyond(rows.table, params, tokens), epochs)
