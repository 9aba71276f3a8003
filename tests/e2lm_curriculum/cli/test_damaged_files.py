"""A file of a finished run or comparison that was cut short: the right answer, or one line that names what is damaged.

The same, with kills, full disks and launchers, is ``benchmarks/curriculum_failures.py``.
"""

from __future__ import annotations

import os
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from e2lm.command_line import main
from e2lm_curriculum.config.training import TrainingConfig
from tests.e2lm_curriculum.conftest import command_words


def files_of(run: Path) -> list[str]:
    found = sorted(str(file.relative_to(run)) for file in run.rglob("*") if file.is_file() and file.stat().st_size > 1)
    return [name for name in found if not name.startswith("2x16")]


def content_of(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): sha256(file.read_bytes()).hexdigest() for file in files}


def one_line_said(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert said.startswith("e2lm: error: ")
    return said


def test_export_gives_what_was_trained_or_names_what_is_damaged(
    trained: TrainingConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = trained.run.out_folder
    assert main(["train", "export", str(whole / "1x16"), str(tmp_path / "whole"), "--word-unit", "50"]) == 0
    capsys.readouterr()
    expected, refused = content_of(tmp_path / "whole"), 0
    for number, name in enumerate(files_of(whole)):
        run, out = tmp_path / f"run{number}", tmp_path / f"out{number}"
        shutil.copytree(whole, run)
        os.truncate(run / name, (run / name).stat().st_size // 2)
        code = main(["train", "export", str(run / "1x16"), str(out), "--word-unit", "50"])
        if code == 0:
            assert content_of(out) == expected, name
        else:
            assert code == 2, name
            assert Path(name).name in one_line_said(capsys), name
            assert not out.exists()
            refused += 1
        capsys.readouterr()
        shutil.rmtree(run)
    assert refused > 10


def test_a_finished_run_is_told_as_it_is_or_what_of_it_is_damaged(
    trained: TrainingConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = trained.run.out_folder
    names = [name for name in files_of(whole) if "checkpoint-" not in name]
    codes = {}
    for number, name in enumerate(names):
        run = tmp_path / f"run{number}"
        shutil.copytree(whole, run)
        os.truncate(run / name, (run / name).stat().st_size // 2)
        before = content_of(run)
        codes[name] = main([*command_words(trained.changed(out=str(run))), "--quiet"])
        if codes[name]:
            assert Path(name).name in one_line_said(capsys), name
        assert content_of(run) == before, name
        capsys.readouterr()
    assert {name for name, code in codes.items() if code} >= {
        "run.json",
        "held_out.txt",
        ".prepared/prepared.json",
        ".prepared/tokenizer.json",
        "1x16/run.json",
        "1x16/series.json",
    }
