"""Scores stand beside the training's own curves, at the training's steps, each once."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from e2lm import Checkpoint, Series, UserError
from e2lm.plugin_manager import plugin_manager
from e2lm.scores import ScoreRow, Scores
from e2lm_adapters.watch.dashboard import TRAINING_STEP, dashboards, opener_of


def told(out: Path, named: list[tuple[str, Any]], *steps: int) -> None:
    """As evaluations of these steps tell it, one after the other."""
    for step in steps:
        series = Series(name="run", params=10, params_non_embedding=5, checkpoints=(Checkpoint(step=step, path="c"),))
        scores = Scores.from_rows([ScoreRow("run", step, "small", "acc", step / 100)])
        with dashboards(named, out):
            plugin_manager().notify("e2lm_after_series_scored", series=series, scores=scores)


def test_tensorboard_has_a_late_checkpoint_at_its_step_and_each_once(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    named = [opener_of(f"tensorboard:{tmp_path / 'logs'}")]
    told(tmp_path / "out", named, 10, 30, 20, 30)
    events = EventAccumulator(str(tmp_path / "logs" / "e2lm" / "run")).Reload()
    assert [(one.step, round(one.value, 2)) for one in events.Scalars("small/acc")] == [(10, 0.1), (20, 0.2), (30, 0.3)]


def test_wandb_is_the_run_of_the_training_on_its_step_axis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    run = SimpleNamespace(log=calls.append, finish=lambda: None)
    stand_in = SimpleNamespace(
        Settings=lambda **settings: settings, init=lambda **options: calls.append(options["id"]) or run, __spec__=True
    )
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    told(tmp_path, [opener_of("wandb:abc123")], 20, 10, 10)
    assert calls == [
        "abc123",
        {TRAINING_STEP: 20, "e2lm/small/acc": 0.2},
        "abc123",
        {TRAINING_STEP: 10, "e2lm/small/acc": 0.1},
    ]


def test_a_dashboard_that_fails_costs_a_line_and_is_told_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").write_text("in the way", encoding="utf-8")
    named = [opener_of(f"tensorboard:{tmp_path / 'logs'}")]
    told(tmp_path / "out", named, 10)
    assert len(capsys.readouterr().err.splitlines()) == 1
    (tmp_path / "logs").unlink()
    told(tmp_path / "out", named, 10)
    assert list((tmp_path / "logs" / "e2lm" / "run").iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tensorbord:x", "Did you mean 'tensorboard'?"),
        ("tensorboard", "expected tensorboard:DIR"),
        ("trackio:", "PROJECT"),
    ],
)
def test_what_is_no_dashboard_is_told(text: str, message: str) -> None:
    with pytest.raises(UserError, match=r"^--log-to") as error:
        opener_of(text)
    assert message in str(error.value)
