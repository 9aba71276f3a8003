"""A comparison of masked models, killed while it trains and while it scores, says what a straight one says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2lm.results import read_scores
from tests.e2lm_curriculum.conftest import comparison_settings

PATIENCE_S = 240.0
NOUNS = ("dog", "cat", "king", "queen", "river", "tree")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Minimal pairs in BLiMP's form, written for this test."""
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "blimp").mkdir()
    rows = [
        {
            "sentence_good": f"The {noun}s are there.",
            "sentence_bad": f"The {noun} are there.",
            "field": "syntax",
            "linguistics_term": "agreement",
            "UID": "there_are",
            "pairID": str(number),
        }
        for number, noun in enumerate(NOUNS)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "blimp" / "there_are.jsonl").write_text(text, encoding="utf-8")
    return folder


def study(corpus_file: Path, folder: Path) -> Path:
    data = comparison_settings(corpus_file, folder / "out")
    data |= {"family": "roberta", "checkpoints": 2, "resume_interval_s": 0.0}
    data["compare"] |= {"arms": ["vanilla", "curriculum"], "tasks": ["e2lm_blimp"], "held_out_tokens": 1_000}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    return file


def start(file: Path, pairs: Path) -> subprocess.Popen[bytes]:
    """The command in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "e2lm", "train", str(file), "--json"],
        env={**os.environ, "E2LM_DATA": str(pairs), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(file: Path, pairs: Path) -> None:
    process = start(file, pairs)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said.decode()


def kill_when(reached: Callable[[], bool], file: Path, pairs: Path) -> None:
    """SIGKILL to the command and all processes it started, as soon as ``reached``."""
    process = start(file, pairs)
    until = time.monotonic() + PATIENCE_S
    while not reached():
        assert process.poll() is None, "ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def result(folder: Path) -> Any:
    text = (folder / "out" / "comparison.json").read_text(encoding="utf-8")
    found = json.loads(text.replace(str(folder), ""))
    for arm in found["costs"]:  # seconds are those of the day
        del arm["wall_s"], arm["scoring_cpu_s"]
    return found


@pytest.mark.slow
def test_a_comparison_killed_while_training_and_while_scoring_says_the_same(
    corpus_file: Path, pairs: Path, tmp_path: Path
) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    finish(study(corpus_file, straight), pairs)
    file = study(corpus_file, killed)
    out = killed / "out"
    kill_when(lambda: len(list(out.glob("*/1x16/checkpoint-30"))) >= 2, file, pairs)
    assert not (out / "comparison.json").exists()
    kill_when(lambda: len(list(out.glob("scores/samples/*/*/*.parquet"))) >= 4, file, pairs)
    assert not (out / "comparison.json").exists()
    finish(file, pairs)
    assert result(killed) == result(straight)
    assert [measure["name"] for measure in result(killed)["measures"]] == ["held-out text", "e2lm_blimp"]
    table = read_scores(straight / "out" / "scores").scores.frame
    assert read_scores(out / "scores").scores.frame.equals(table)
    assert set(table["task"]) == {"e2lm_blimp"}
    assert len(set(table["series"])) == 6
