"""`e2lm signal` reads results as they are meant: runs and protocols apart, losses turned over, all else is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from e2lm.command_line import main

STEPS = tuple(range(1000, 9000, 1000))


def lm_eval_folder(folder: Path, place: str, values: list[float], task: str = "arc", **more: Any) -> None:
    """Results of lm-eval at eight steps of the model ``place``."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, (step, value) in enumerate(zip(STEPS, values, strict=True)):
        metrics = {f"{name},none": value for name in more.get("higher_is_better", {}).get(task, {"acc": True})}
        data = {
            "results": {task: metrics},
            "configs": {task: {}},
            "versions": {task: 1},
            "n-shot": {task: 0},
            "config": {"model": "hf", "model_args": f"pretrained={place.format(step)}"},
            **more,
        }
        (folder / f"results_2026-01-01T00-00-{index:02}.json").write_text(json.dumps(data), encoding="utf-8")


def report(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[dict[tuple[str, ...], float], str]:
    """signal_quality by series, task and metric, and the notes."""
    assert main(["signal", *map(str, arguments), "--json", "--scores", "signal_quality"]) == 0
    told = capsys.readouterr()
    rows = json.loads(told.out)["rows"]
    return {
        (one["series"], one["task"], one["metric"]): one["scores"]["signal_quality"]["value"] for one in rows
    }, told.err


RISING = [0.25 + 0.01 * index for index in range(len(STEPS))]
FALLING = RISING[::-1]


def test_two_runs_with_checkpoints_of_one_name_are_two_series(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lm_eval_folder(tmp_path / "a", "/ck/a/run/global_step{}", RISING)
    lm_eval_folder(tmp_path / "b", "/ck/b/run/global_step{}", FALLING)
    values, notes = report(capsys, tmp_path)
    assert values["a/run", "arc", "acc"] > 0.5
    assert values["b/run", "arc", "acc"] < -0.5
    assert "2 models of that name, kept apart" in notes


def test_shots_are_tasks_of_their_own_and_the_key_says_how_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lm_eval_folder(tmp_path / "0", "org/tiny-step{}", RISING)
    lm_eval_folder(tmp_path / "25", "org/tiny-step{}", FALLING, **{"n-shot": {"arc": 25}})
    values, _ = report(capsys, tmp_path, "--tasks", "arc", "--chance", "arc=0.2")
    assert values["tiny", "arc (shots=0)", "acc"] > 0.5
    assert values["tiny", "arc (shots=25)", "acc"] < -0.5
    assert main(["signal", str(tmp_path), "--json", "--scores", "signal_quality"]) == 0
    keys = [one["key"] for one in json.loads(capsys.readouterr().out)["rows"]]
    assert [(key["model"], key["task"], key["shots"], key["harness"]) for key in keys] == [
        ("org/tiny", "arc", "0", "lm-eval"),
        ("org/tiny", "arc", "25", "lm-eval"),
    ]


def test_an_error_rate_that_falls_is_progress_because_the_file_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lm_eval_folder(tmp_path, "org/tiny-step{}", FALLING, higher_is_better={"arc": {"mishaps": False}})
    values, notes = report(capsys, tmp_path)
    assert values["tiny", "arc", "mishaps"] > 0.5
    assert "turned over before scoring: mishaps" in notes


def table(path: Path, metric: str, values: list[float]) -> Path:
    """One curve as a Scores table."""
    frame = pd.DataFrame({"series": "r", "step": STEPS, "task": "c4", "metric": metric, "value": values})
    frame.to_csv(path, index=False)
    return path


def test_a_metric_that_falls_and_nobody_knows_is_asked_about_until_the_user_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = table(tmp_path / "t.csv", "mystery", FALLING)
    values, notes = report(capsys, path)
    assert values["r", "c4", "mystery"] < -0.5
    assert "--lower mystery if less is better" in notes
    values, notes = report(capsys, path, "--lower", "mystery")
    assert values["r", "c4", "mystery"] > 0.5
    assert "if less is better" not in notes
    values, notes = report(capsys, table(tmp_path / "u.csv", "val_loss", FALLING))
    assert values["r", "c4", "val_loss"] > 0.5
    values, _ = report(capsys, tmp_path / "u.csv", "--higher", "val_loss")
    assert values["r", "c4", "val_loss"] < -0.5
