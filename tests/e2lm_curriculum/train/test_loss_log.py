"""The log of the training loss: what is in it, after a kill too, and who can read it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from e2lm.command_line import main
from e2lm_curriculum.config.training import TrainingConfig
from e2lm_curriculum.train.loss_log import TrainingLossFile
from e2lm_curriculum.train.model_run import ModelRun
from e2lm_curriculum.train.prepared import prepare
from tests.e2lm_curriculum.conftest import minuscule_settings


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "training_loss.csv", encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_a_run_leaves_its_loss_at_every_step_for_predict_curve(
    trained: TrainingConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained.run.out_folder / "1x16"
    rows = rows_of(folder)
    assert [int(row["step"]) for row in rows] == list(range(1, 61))
    assert [int(row["tokens"]) for row in rows] == [step * 4 * 32 for step in range(1, 61)]
    losses = [float(row["loss"]) for row in rows]
    assert 5.8 < losses[0] < 6.2  # ln 400 is 5.99
    assert losses[-1] < losses[0] - 0.3
    assert float(rows[-1]["learning_rate"]) == pytest.approx(0.01)
    words = ["predict", "curve", "--data", str(folder / "training_loss.csv"), "--columns", "step,loss"]
    assert main([*words, "--to", "120", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_rows_are_means_of_the_steps_between_and_the_same_after_a_kill(
    corpus_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from e2lm_curriculum.train.trainer import train_model

    monkeypatch.setattr("e2lm_curriculum.train.callback.SAVE_SHARE", 0)
    made: dict[str, Any] = {}
    for rows, kill_at in ((1000, 0), (4, 0), (4, 8)):
        settings = {**minuscule_settings(corpus_file, tmp_path / f"{rows}-{kill_at}"), "tokens": 13 * 4 * 32}
        config = TrainingConfig.from_data({**settings, "sizes": ["1x16"], "resume_interval_s": 0}, "test")
        monkeypatch.setattr("e2lm_curriculum.train.loss_log.ROWS", rows)
        run, prepared = ModelRun(config, config.model.ladder[0]), prepare(config)

        def report(step: int, kill_at: int = kill_at) -> None:
            if step == kill_at:
                raise KeyboardInterrupt

        if kill_at:
            with pytest.raises(KeyboardInterrupt):
                train_model(run, prepared, report)
        train_model(run, prepared, lambda step: None)
        made[f"{rows}-{kill_at}"] = rows_of(run.folder)
    assert made["4-8"] == made["4-0"]
    assert [row["step"] for row in made["4-0"]] == ["3", "6", "9", "12", "13"]
    single = [float(row["loss"]) for row in made["1000-0"]]
    for row in made["4-0"][:4]:
        step = int(row["step"])
        assert float(row["loss"]) == pytest.approx(sum(single[step - 3 : step]) / 3, rel=1e-6)


def test_rows_that_are_torn_or_of_steps_made_again_are_dropped(tmp_path: Path) -> None:
    log = TrainingLossFile(tmp_path, 10, 100)
    log.begin(0)
    for step in (1, 2, 3):
        log.add(step, 1.0 / step, 0.1)
    with open(tmp_path / "training_loss.csv", "a", encoding="utf-8") as handle:
        handle.write("4,40")
    log.begin(2)
    log.add(3, 0.5, 0.1)
    assert [(row["step"], row["tokens"], row["loss"]) for row in rows_of(tmp_path)] == [
        ("1", "100", "1.0"),
        ("2", "200", "0.5"),
        ("3", "300", "0.5"),
    ]
