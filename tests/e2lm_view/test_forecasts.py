"""Where a loss is going, by whichever predictor of the registry answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from e2lm.errors import UserError
from e2lm.plugin_manager import PluginManager
from e2lm.scaling_predictor import Forecast, ScalingPredictor, UnfinishedRun
from e2lm.scores import Scores
from e2lm_view.forecasts import AHEAD, fans_of
from tests.e2lm_view.evaluations import row


def refuses(run: UnfinishedRun, rng: np.random.Generator) -> Forecast:
    raise UserError("a schedule is needed")


def knows(run: UnfinishedRun, rng: np.random.Generator) -> Forecast:
    return Forecast(run.end, run.end / 2, run.end * 2)


def bare(run: UnfinishedRun, rng: np.random.Generator) -> Forecast:
    return Forecast(1.0, reason="it is a constant")


def rows(count: int = 6) -> Any:
    return Scores.from_rows([row("a", step, "t", "loss", 3.0 - step / 100) for step in range(count)]).frame


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> list[ScalingPredictor]:
    found: list[ScalingPredictor] = []
    monkeypatch.setattr("e2lm_view.forecasts.plugin_manager", PluginManager)
    monkeypatch.setattr(PluginManager, "all", lambda *_: list(found))
    return found


def test_the_first_predictor_that_gives_an_interval_draws_the_fan_baselines_last(
    registered: list[ScalingPredictor],
) -> None:
    registered.append(ScalingPredictor("base", "A baseline.", None, is_baseline=True, end_of_run=knows))
    for name, how in (("refusing", refuses), ("bare", bare), ("knowing", knows)):
        registered.append(ScalingPredictor(name, "Of ends.", None, end_of_run=how))
    last = 5 * 1e3  # tokens
    points = [{"x": x, "v": last * x, "l": last * x / 2, "h": last * x * 2} for x in AHEAD]
    assert fans_of(rows(), higher_is_better=False) == {"a": {"name": "knowing", "points": points}}


def test_no_fan_says_why(registered: list[ScalingPredictor]) -> None:
    assert fans_of(rows(), False) == {"a": {"why": "no plugin forecasts the end of a run"}}
    registered += [
        ScalingPredictor("r", "R.", None, end_of_run=refuses),
        ScalingPredictor("b", "B.", None, end_of_run=bare),
    ]
    assert fans_of(rows(), False) == {"a": {"why": "r: a schedule is needed; b: it is a constant"}}
    assert fans_of(rows(5), False) == {"a": {"why": "4 checkpoints after step 0, 5 are needed"}}


def test_what_is_no_loss_has_none(registered: list[ScalingPredictor]) -> None:
    registered.append(ScalingPredictor("k", "K.", None, end_of_run=knows))
    assert fans_of(rows(), higher_is_better=True) == {}
    assert fans_of(rows().assign(value=-1.0), higher_is_better=False) == {}
