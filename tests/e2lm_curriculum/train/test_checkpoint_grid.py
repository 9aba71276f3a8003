from __future__ import annotations

import json
import os
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2lm.command_line import main
from e2lm_curriculum.config.training import TrainingConfig
from e2lm_curriculum.train.checkpoint_grid import babylm_words, log_steps, token_steps, word_steps
from e2lm_curriculum.train.model_run import ModelRun
from e2lm_curriculum.train.prepared import prepare
from e2lm_curriculum.train.trainer import train_model


@given(st.integers(1, 1_000_000), st.integers(1, 60))
def test_the_grid_rises_from_0_to_the_last_step_and_has_the_count_asked_for(steps: int, count: int) -> None:
    grid = log_steps(steps, count)
    assert grid[0] == 0
    assert grid[-1] == steps
    assert len(grid) == min(count, steps) + 1
    assert all(low < high for low, high in pairwise(grid))


def test_steps_grow_by_a_constant_factor() -> None:
    grid = log_steps(100_000, 9)[1:]
    ratios = [high / low for low, high in pairwise(grid)]
    assert max(ratios) / min(ratios) < 1.01


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 10**7))
def test_a_grid_of_tokens_has_every_multiple_within_half_a_step(steps: int, per_step: int, every: int) -> None:
    grid = token_steps(steps, per_step, every)
    assert (grid[0], grid[-1]) == (0, steps)
    for number in range(1, min(50, steps * per_step // every) + 1):
        assert min(abs(step * per_step - number * every) for step in grid) <= max(per_step, 2 * per_step - every)


def test_the_babylm_grid_is_the_published_one() -> None:
    words = [number // 1_000_000 for number in babylm_words(1e9)]
    assert words == [*range(1, 11), *range(20, 101, 10), *range(200, 1001, 100)]
    assert word_steps(100, 1_000_000, 0.5)[:3] == (0, 2, 4)
    assert word_steps(100, 1_000_000, 0.5)[-3:] == (60, 80, 100)


def test_checkpoints_on_the_babylm_grid_are_exported_under_its_names(
    trained: TrainingConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"checkpoint_grid": "babylm", "word_unit": 200, "sizes": ("1x16",), "tokens": 20 * 4 * 32}
    config = trained.changed(**changes, out=str(tmp_path / "out"))
    prepared = prepare(config)
    run = ModelRun(config, config.model.ladder[0])
    train_model(run, prepared, lambda step: None)
    words_per_token = prepared.words_per_token
    assert words_per_token is not None
    assert 0.2 < words_per_token < 1.0
    command = ["train", "export", str(run.folder), str(tmp_path / "chck"), "--word-unit", "200", "--json"]
    assert main([*command, "--dry-run"]) == 0
    assert not (tmp_path / "chck").exists()
    capsys.readouterr()
    assert main(command) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == [f"chck_{n}M" for n in range(1, len(rows) + 1)]
    for number, row in enumerate(rows, start=1):
        assert abs(row["tokens"] * words_per_token - 200 * number) <= 0.5 * 128 * words_per_token + 1e-9
        assert (tmp_path / "chck" / row["name"] / "model.safetensors").is_file()
    assert main(command) == 2
    assert main(["train", "export", str(run.folder), str(tmp_path / "other")]) == 2
    assert "no checkpoint at a number of words" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_damaged_checkpoint_is_named_and_never_exported(
    trained: TrainingConfig, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained.run.out_folder, tmp_path / "out")
    place = tmp_path / "out" / "1x16"
    for file in place.glob(f"checkpoint-*/{name}"):
        os.truncate(file, file.stat().st_size // 2)
    assert main(["train", "export", str(place), str(tmp_path / "chck"), "--word-unit", "50"]) == 2
    (said,) = capsys.readouterr().err.strip().split("\n")
    assert name in said
    assert not (tmp_path / "chck").exists()


@pytest.mark.parametrize("words", [["export", "RUN", "OUT"], ["compare", "RUN"]])
def test_what_is_for_one_process_is_refused_under_a_launcher(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["train", *words]) == 2
    assert "is for one process, found 2 of torchrun" in capsys.readouterr().err
