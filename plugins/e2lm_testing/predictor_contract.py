"""What every scaling predictor keeps to.

Shape suffix: R rows, one per trained model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from e2lm.errors import UserError
from e2lm.scaling_predictor import Forecast, LossTable, ScalingPredictor, UnfinishedRun
from e2lm.signal_score import Curve
from e2lm_testing.contract import check_described, outcome, own_randomness_only, resolved

SEED = 20

#: A model larger, and trained longer, than any in the sample; and one inside it.
TARGET, SMALL_TARGET = (4e9, 8e10), (1e8, 2e9)


def sample_table() -> LossTable:
    """Twenty models along L = 1.7 + 400 / N^0.34 + 410 / D^0.28 (Hoffmann et al. 2022, eq. 10) with 0.5 % of noise."""
    params_R = np.repeat(np.geomspace(1e7, 1e9, 5), 4)
    tokens_R = params_R * np.tile([5.0, 10.0, 20.0, 40.0], 5)
    noise_R = np.random.default_rng(SEED).normal(scale=0.005, size=20)
    loss_R = (1.7 + 400 / params_R**0.34 + 410 / tokens_R**0.28) * np.exp(noise_R)
    return LossTable(params_R, tokens_R, loss_R, tuple(f"run-{row}" for row in range(20)))


def sample_run(with_schedule: bool) -> UnfinishedRun:
    """Twelve checkpoints of the first half of a run of 8,000 steps, whose rate falls in a straight line."""
    steps_K = np.arange(1, 13) * 330
    loss_K = (2.5 + 12 / steps_K**0.5) * np.exp(np.random.default_rng(SEED).normal(scale=0.002, size=12))
    none_K, n_items_K = np.full(12, np.nan), np.zeros(12, dtype=np.int64)
    tokens_K = np.asarray(steps_K * 1e6, dtype=np.float64)
    curve = Curve("run", "", "loss", steps_K, tokens_K, loss_K, none_K, n_items_K, higher_is_better=False)
    return UnfinishedRun(curve, 8e9, np.linspace(3e-4, 3e-5, 8001) if with_schedule else None)


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
        if self._predictor.fit is None:
            pytest.skip("it follows single runs and takes no table")
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

    def test_its_draws_are_the_same_twice_and_as_many_for_every_model(self) -> None:
        predictor = self._predictor
        if predictor.fit is None:
            pytest.skip("it follows single runs and takes no table")
        fits = [predictor.fit(sample_table(), np.random.default_rng(SEED)) for _ in range(2)]
        first, again, other = fits[0].predict(*TARGET), fits[1].predict(*TARGET), fits[0].predict(*SMALL_TARGET)
        if first.draws_S is not None:
            assert again.draws_S is not None, "fitted again, it has no draws"
            assert other.draws_S is not None, "only some of its forecasts have draws"
            assert first.draws_S.tobytes() == again.draws_S.tobytes(), "same table and seed, other draws"
            assert len(first.draws_S) == len(other.draws_S), "draws that belong together are as many"

    @pytest.mark.parametrize("known", ["schedule", "no schedule"])
    def test_the_end_of_a_run_is_forecast_or_refused_in_one_line(self, known: str) -> None:
        predictor = self._predictor
        if predictor.end_of_run is None:
            pytest.skip("it declares no end_of_run")
        end_of_run, run = predictor.end_of_run, sample_run(known == "schedule")
        found = outcome(lambda: end_of_run(run, np.random.default_rng(SEED)))
        if not isinstance(found, UserError):
            check_forecast(found)
            assert repr(end_of_run(sample_run(known == "schedule"), np.random.default_rng(SEED))) == repr(found)


def check_forecast(forecast: Forecast) -> None:
    """A loss is a finite number above 0; its interval holds it, or there is a reason why there is none."""
    assert forecast.fault is None, forecast.fault
    assert forecast.has_interval or forecast.reason, "a forecast without an interval needs a reason"
