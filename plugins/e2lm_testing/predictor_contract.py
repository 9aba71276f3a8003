"""What every scaling predictor keeps to.

Shape suffix: R rows, one per trained model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from e2lm.errors import UserError
from e2lm.scaling_predictor import Forecast, LossTable, ScalingPredictor
from e2lm_testing.contract import check_described, outcome, own_randomness_only, resolved

SEED = 20

#: A model larger, and trained longer, than any in the sample.
TARGET = (4e9, 8e10)


def sample_table() -> LossTable:
    """Twenty models along L = 1.7 + 400 / N^0.34 + 410 / D^0.28 (Hoffmann et al. 2022, eq. 10) with 0.5 % of noise."""
    params_R = np.repeat(np.geomspace(1e7, 1e9, 5), 4)
    tokens_R = params_R * np.tile([5.0, 10.0, 20.0, 40.0], 5)
    noise_R = np.random.default_rng(SEED).normal(scale=0.005, size=20)
    loss_R = (1.7 + 400 / params_R**0.34 + 410 / tokens_R**0.28) * np.exp(noise_R)
    return LossTable(params_R, tokens_R, loss_R, tuple(f"run-{row}" for row in range(20)))


def _rows(count: int) -> LossTable:
    table = sample_table()
    kept = slice(count)
    return LossTable(table.params_R[kept], table.tokens_R[kept], table.loss_R[kept], table.series_R[kept])


#: Tables that cannot say much, and that people have.
DEGENERATE_TABLES: dict[str, Callable[[], LossTable]] = {
    "no row": lambda: _rows(0),
    "one row": lambda: _rows(1),
    "one size": lambda: _rows(4),
    "one loss": lambda: replace(sample_table(), loss_R=np.full(20, 3.0)),
    "the same model twenty times": lambda: replace(
        sample_table(), params_R=np.full(20, 1e8), tokens_R=np.full(20, 2e9)
    ),
}


class PredictorContract:
    """Subclass it and set ``predictor`` to a :class:`ScalingPredictor`, or to the name of an installed one."""

    predictor: ClassVar[ScalingPredictor | str]

    @property
    def _predictor(self) -> ScalingPredictor:
        return resolved(self.predictor, "e2lm_register_scaling_predictors", ScalingPredictor, "scaling predictor")

    def _forecast(self, table: LossTable) -> Forecast:
        fitted = self._predictor.fit(table, np.random.default_rng(SEED))
        forecast = fitted.predict(*TARGET)
        assert isinstance(forecast, Forecast), f"returned {forecast!r}; expected a Forecast"
        assert repr(fitted.predict(*TARGET)) == repr(forecast), "asked twice, it says two things"
        return forecast

    def test_it_says_what_it_is(self) -> None:
        check_described(self._predictor.name, self._predictor.description)

    def test_it_forecasts_with_an_interval_or_a_reason_twice_the_same_and_changes_nothing(self) -> None:
        table = sample_table()
        with own_randomness_only():
            forecast = self._forecast(table)
        check_forecast(forecast)
        assert repr(self._forecast(sample_table())) == repr(forecast)
        for name in ("params_R", "tokens_R", "loss_R"):
            assert getattr(table, name).tobytes() == getattr(sample_table(), name).tobytes()

    @pytest.mark.parametrize("fault", DEGENERATE_TABLES)
    def test_a_degenerate_table_gets_a_forecast_or_a_refusal_of_one_line(self, fault: str) -> None:
        found = outcome(lambda: self._forecast(DEGENERATE_TABLES[fault]()))
        if not isinstance(found, UserError):
            check_forecast(found)


def check_forecast(forecast: Forecast) -> None:
    """A loss is a finite number above 0; its interval holds it, or there is a reason why there is none."""
    assert math.isfinite(forecast.value), f"the forecast is {forecast.value}"
    assert forecast.value > 0, f"the forecast is {forecast.value}; a loss lies above 0"
    if forecast.low is None or forecast.high is None:
        assert forecast.reason, "a forecast without an interval needs a reason"
    else:
        assert forecast.low <= forecast.value <= forecast.high, "the interval does not hold the forecast"
