"""The run record comes back as it was written."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path

import pytest

from e2lm import UserError
from e2lm.run_record import RECORD_FILE, RunRecord, recorded_versions


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    record = RunRecord(
        command="e2lm eval",
        config={"tasks": ["a", "b"], "limit": None, "nested": {"rate": 0.1}},
        versions=recorded_versions(),
        hashes={"weights": "00ff"},
        seeds={"numpy": 1234},
        wall_s=1.5,
        flops=6e12,
        finished=True,
    )
    record.write(tmp_path)
    assert RunRecord.from_json_file(tmp_path / RECORD_FILE) == record


def test_the_versions_are_those_of_what_can_change_a_number() -> None:
    versions = recorded_versions()
    assert versions["python"] == platform.python_version()
    assert {name: versions[name] for name in ("torch", "numpy", "transformers", "lm_eval")} == {
        name: version(name) for name in ("torch", "numpy", "transformers", "lm_eval")
    }


def test_a_record_of_a_later_format_is_refused(tmp_path: Path) -> None:
    RunRecord(command="c", config={}, versions={}).write(tmp_path)
    data = json.loads((tmp_path / RECORD_FILE).read_text(encoding="utf-8"))
    with pytest.raises(UserError, match="field 'schema_version': found 2"):
        RunRecord.from_data(data | {"schema_version": 2}, "run.json")


def test_a_number_that_is_not_finite_is_written_as_null(tmp_path: Path) -> None:
    RunRecord(command="c", config={"rate": float("nan")}, versions={}).write(tmp_path)
    data = json.loads((tmp_path / RECORD_FILE).read_text(encoding="utf-8"))
    assert data["config"] == {"rate": None}
