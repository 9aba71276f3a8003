from __future__ import annotations

import math

import numpy as np
import pytest

from e2lm import E2LMError, Forecast, ScalingPredictor, UserError
from e2lm.scaling_predictor import Forecaster, LossTable, UnfinishedRun
from e2lm.signal_score import Curve

TABLE = LossTable(np.array([1e7, 1e8]), np.array([1e9, 1e10]), np.array([3.0, 2.5]), ("a", "b"))
RNG = np.random.default_rng(0)


class Says:
    def __init__(self, answer: object) -> None:
        self.answer = answer

    def predict(self, params: float, tokens: float) -> Forecast:
        return self.answer  # type: ignore[return-value]


def saying(answer: object) -> Forecaster:
    return ScalingPredictor("mine", "Mine.", lambda table, rng: Says(answer)).fitted(TABLE, RNG)


def run(tokens: list[float] | None = None) -> UnfinishedRun:
    tokens_K = np.array([1e6, 2e6] if tokens is None else tokens)
    curve = Curve(
        "r", "", "loss", np.array([1, 2]), tokens_K, np.array([3.0, 2.9]), tokens_K * math.nan, np.zeros(2, int)
    )
    return UnfinishedRun(curve, 9e6)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (2.0, "returned 2.0; expected a Forecast"),
        (Forecast(math.nan, reason="r"), "it is nan; a loss is a finite number above 0"),
        (Forecast(-1.0, reason="r"), "it is -1"),
        (Forecast(3.0, 4.0, 5.0), "4 to 5, does not hold the forecast, 3"),
        (Forecast(3.0, 2.0, 4.0, draws_S=np.array([3.0, math.inf])), "its draws are not"),
        (Forecast(3.0, 2.0, 4.0, draws_S=np.array([[3.0, 3.0]])), "its draws are not"),
        (Forecast(3.0, 2.0, 4.0, draws_S=np.array([3.0, 0.0])), "its draws are not"),
    ],
)
def test_an_impossible_forecast_comes_out_of_no_predictor_and_is_told_in_one_line(answer: object, words: str) -> None:
    with pytest.raises(UserError, match="scaling predictor 'mine'.*" + words) as found:
        saying(answer).predict(1e9, 2e10)
    assert "\n" not in str(found.value)


def test_a_forecast_without_interval_and_reason_gets_a_reason() -> None:
    forecast = saying(Forecast(3.0, low=2.0)).predict(1e9, 2e10)
    assert (forecast.low, forecast.high) == (None, None)
    assert "mine says neither" in str(forecast.reason)
    assert saying(Forecast(3.0, reason="too few")).predict(1e9, 2e10).reason == "too few"


def test_what_a_fitted_predictor_may_have_beside_predict_is_used_and_not_needed() -> None:
    plain, rich = saying(Forecast(3.0, 2.0, 4.0)), saying(Forecast(3.0, 2.0, 4.0))
    rich.own.parameters = {"E": 1.7}  # type: ignore[attr-defined]
    rich.own.losses = lambda params_R, tokens_R: params_R + tokens_R  # type: ignore[attr-defined]
    assert (dict(plain.parameters), dict(rich.parameters)) == ({}, {"E": 1.7})
    assert plain.losses(np.ones(2), np.ones(2)).tolist() == [3.0, 3.0]
    assert rich.losses(np.ones(2), np.ones(2)).tolist() == [2.0, 2.0]
    rich.own.losses = lambda params_R, tokens_R: np.ones(3)  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"'mine': losses has shape \(3,\), expected one per model"):
        rich.losses(np.ones(2), np.ones(2))


def test_a_refusal_names_where_the_table_is_from() -> None:
    def refuse(table: LossTable, rng: np.random.Generator) -> Says:
        raise UserError("table: 2 rows are too few")

    with pytest.raises(UserError, match=r"^runs\.csv: 2 rows are too few$"):
        ScalingPredictor("mine", "Mine.", refuse).fitted(TABLE, RNG, "runs.csv")


def test_a_predictor_can_what_it_declares_and_says_so() -> None:
    forecast = Forecast(2.8, 2.7, 2.9)
    both = ScalingPredictor("a", "A.", lambda table, rng: Says(forecast), end_of_run=lambda run, rng: forecast)
    of_runs = ScalingPredictor("b", "B.", None, end_of_run=lambda run, rng: forecast)
    of_tables = ScalingPredictor("c", "C.", lambda table, rng: Says(forecast), translates=True)
    assert both.capabilities == {"forecast", "curve"}
    assert of_runs.capabilities == {"curve"}
    assert of_tables.capabilities == {"forecast", "translate"}
    assert of_runs.at_end(run(), RNG) == forecast
    with pytest.raises(UserError, match="'b' follows single runs"):
        of_runs.fitted(TABLE, RNG)
    with pytest.raises(UserError, match="'c' does not follow single runs"):
        of_tables.at_end(run(), RNG)
    with pytest.raises(E2LMError, match="'d' has no fit"):
        ScalingPredictor("d", "D.", None)


def test_a_run_is_told_in_tokens_and_where_they_are_unknown_in_steps() -> None:
    assert run().at_K.tolist() == [1e6, 2e6]
    assert run([math.nan, math.nan]).at_K.tolist() == [1.0, 2.0]


def test_draws_cannot_be_written_into_and_tell_no_two_forecasts_apart() -> None:
    forecast = Forecast(3.0, 2.0, 4.0, draws_S=np.array([3.0, 3.1]))
    assert forecast == Forecast(3.0, 2.0, 4.0)
    assert forecast.draws_S is not None
    with pytest.raises(ValueError, match="read-only"):
        forecast.draws_S[0] = 1.0


def test_half_the_width_is_that_of_the_logarithm() -> None:
    assert Forecast(2.0, 1.0, 4.0).log_half_width == pytest.approx(math.log(2))
    assert math.isnan(Forecast(2.0, reason="r").log_half_width)
    assert Forecast(2.0, 0.0, 4.0).log_half_width == math.inf
