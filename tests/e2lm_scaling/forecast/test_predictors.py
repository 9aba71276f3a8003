from __future__ import annotations

import numpy as np
import pytest

from e2lm import UserError
from e2lm.plugin_manager import plugin_manager
from e2lm.scaling_predictor import LossTable, ScalingPredictor


def ladder(seed: int = 0, sizes: tuple[float, ...] = (5e4, 1.5e5, 4e5)) -> LossTable:
    """Three tiny models with eight checkpoints each."""
    rng = np.random.default_rng(seed)
    params, tokens = (grid.ravel() for grid in np.meshgrid(sizes, np.geomspace(3e4, 1e6, 8), indexing="ij"))
    loss = 1.2 + 20 / params**0.3 + 300 / tokens**0.45
    names = tuple(f"model-{size:.0f}" for size in params)
    return LossTable(params, tokens, loss * np.exp(rng.normal(0, 0.01, loss.size)), names)


def predictor(name: str) -> ScalingPredictor:
    found = plugin_manager().find("e2lm_register_scaling_predictors", ScalingPredictor, name, "scaling predictor")
    assert isinstance(found, ScalingPredictor)
    return found


TRUE_LOSS = 1.2 + 20 / 8e5**0.3 + 300 / 1e6**0.45


@pytest.mark.parametrize("name", ["chinchilla", "chinchilla-tied", "average"])
def test_a_tiny_ladder_predicts_a_model_of_twice_the_size(name):
    forecast = predictor(name).fit(ladder(), np.random.default_rng(0)).predict(8e5, 1e6)
    assert forecast.value == pytest.approx(TRUE_LOSS, rel=0.05)
    assert forecast.low is not None
    assert forecast.high is not None
    assert forecast.low < TRUE_LOSS < forecast.high
    assert forecast.method is not None
    assert "backtest-calibrated" in forecast.method


@pytest.mark.parametrize("name", ["persistence", "single-scale", "log-linear"])
def test_baselines_are_marked_and_have_intervals_too(name):
    baseline = predictor(name)
    forecast = baseline.fit(ladder(), np.random.default_rng(0)).predict(8e5, 1e6)
    assert baseline.is_baseline
    assert forecast.low is not None
    assert forecast.low < forecast.value


def test_persistence_is_the_largest_models_loss_at_the_nearest_tokens():
    table = ladder()
    forecast = predictor("persistence").fit(table, np.random.default_rng(0)).predict(8e5, 9e5)
    assert forecast.value == pytest.approx(table.loss_R[-1])


def test_single_scale_is_the_loss_of_the_run_of_most_compute_and_ranks_recipes_by_it():
    table, worse = ladder(), ladder()
    most = int(np.argmax(table.params_R * table.tokens_R))
    forecast = predictor("single-scale").fit(table, np.random.default_rng(0)).predict(8e7, 9e9)
    assert forecast.value == pytest.approx(table.loss_R[most])
    loss_R = worse.loss_R * np.where(np.arange(len(worse.loss_R)) == most, 1.01, 0.5)
    other = LossTable(worse.params_R, worse.tokens_R, loss_R, worse.series_R)
    assert predictor("single-scale").fit(other, np.random.default_rng(0)).predict(8e7, 9e9).value > forecast.value


def test_intervals_widen_with_distance():
    fitted = predictor("chinchilla").fit(ladder(), np.random.default_rng(0))
    near, far = fitted.predict(8e5, 1e6), fitted.predict(8e6, 1e7)
    assert near.high is not None
    assert far.high is not None
    assert far.high / far.value > near.high / near.value


def test_same_table_same_forecast():
    first, second = (predictor("average").fit(ladder(), np.random.default_rng(s)).predict(8e5, 1e6) for s in (0, 1))
    assert first == second


def test_one_size_of_model_is_refused_with_a_reason():
    with pytest.raises(UserError, match="N has 1 distinct value"):
        predictor("chinchilla").fit(ladder(sizes=(1e5,)), np.random.default_rng(0))
