"""The table is what has been recorded, not what was asked and found just now."""

from __future__ import annotations

import fcntl
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from e2lm_adapters.eval.recorded import LOCK_FILE, table_locked
from tests.e2lm_adapters.conftest import Run, write_task

Steps = list[int]


def table(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "scores.parquet")


def steps(out: Path, task: str) -> dict[str, Steps]:
    rows = table(out)
    rows = rows[(rows["task"] == task) & (rows["metric"] == "acc")]
    return {str(name): sorted(own["step"]) for name, own in rows.groupby("series")}


def notes(out: Path) -> list[str]:
    record: dict[str, Any] = json.loads((out / "run.json").read_text(encoding="utf-8"))
    return [f"{one['what']}: {one['why']}" for one in record["notes"]]


def test_scores_of_a_deleted_checkpoint_stay_and_are_said_to(run_folder: Path, tmp_path: Path, evaluate: Run) -> None:
    assert evaluate(run_folder, "--quiet", "--limit", 4) == 0
    before = table(tmp_path / "out")
    shutil.rmtree(run_folder / "checkpoint-0")
    shutil.rmtree(run_folder / "checkpoint-20")
    for _ in range(2):  # another time, too
        assert evaluate(run_folder, "--quiet", "--limit", 4) == 0
        pd.testing.assert_frame_equal(table(tmp_path / "out"), before)
        assert notes(tmp_path / "out") == [
            "tiny-run, steps 0, 20: no longer there; what has been scored stays in the table"
        ]


def test_another_task_or_run_is_added_to_the_table(run_folder: Path, tmp_path: Path, evaluate: Run) -> None:
    assert evaluate(run_folder, "--quiet", "--limit", 4) == 0
    before = table(tmp_path / "out")
    write_task(tmp_path / "tasks", name="other", items=5)
    assert evaluate(run_folder, "--quiet", tasks="other") == 0
    assert set(table(tmp_path / "out")["task"]) == {"small", "other"}
    other_run = tmp_path / "other-run"
    shutil.copytree(run_folder, other_run)
    facts = json.loads((run_folder / "series.json").read_text(encoding="utf-8"))
    (other_run / "series.json").write_text(json.dumps({**facts, "name": "other-run"}), encoding="utf-8")
    shutil.rmtree(other_run / "checkpoint-30")
    assert evaluate(other_run, "--quiet", "--limit", 4) == 0
    after = table(tmp_path / "out")
    own = after[(after["task"] == "small") & (after["series"] == "tiny-run")].reset_index(drop=True)
    pd.testing.assert_frame_equal(own, before)
    assert steps(tmp_path / "out", "small") == {"tiny-run": [0, 10, 20, 30], "other-run": [0, 10, 20]}
    assert notes(tmp_path / "out") == []


@pytest.mark.parametrize("change", ["task", "limit", "run"])
def test_what_was_scored_by_other_things_leaves_the_table_with_a_line(
    change: str, run_folder: Path, tmp_path: Path, evaluate: Run
) -> None:
    assert evaluate(run_folder, "--quiet", "--limit", 4) == 0
    shutil.rmtree(run_folder / "checkpoint-0")
    if change == "task":
        write_task(tmp_path / "tasks", seed=6)
    if change == "run":  # trained again: the same name, steps and tensors, other numbers
        for step in (10, 20):
            shutil.copy(run_folder / "checkpoint-30" / "model.safetensors", run_folder / f"checkpoint-{step}")
    assert evaluate(run_folder, "--quiet", "--limit", 3 if change == "limit" else 4) == 0
    assert steps(tmp_path / "out", "small") == {"tiny-run": [10, 20, 30]}
    (told,) = [one for one in notes(tmp_path / "out") if one.startswith("tiny-run, steps 0: 1 older unit of small")]
    reasons = {
        "task": "kept and not used, since these differ: ",
        "limit": "kept and not used, since these differ: limit 4 instead of 3",
        "run": "kept and not used, since steps of this run hold other weights than they did",
    }
    assert reasons[change] in told


def test_a_table_that_cannot_be_read_is_written_anew(run_folder: Path, tmp_path: Path, evaluate: Run) -> None:
    assert evaluate(run_folder, "--quiet", "--limit", 4) == 0
    before = table(tmp_path / "out")
    (tmp_path / "out" / "scores.parquet").write_bytes(b"half")
    assert evaluate(run_folder, "--quiet", "--limit", 4) == 0
    pd.testing.assert_frame_equal(table(tmp_path / "out"), before)


def test_one_command_at_a_time_reads_and_writes_the_table(tmp_path: Path) -> None:
    with open(tmp_path / LOCK_FILE, "a", encoding="utf-8") as second:
        with table_locked(tmp_path), pytest.raises(BlockingIOError):
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
