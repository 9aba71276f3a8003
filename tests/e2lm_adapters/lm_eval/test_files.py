from __future__ import annotations

import json
from pathlib import Path

import pytest

from e2lm.errors import UserError
from e2lm_adapters.lm_eval.files import _require_whole
from tests.e2lm_adapters.conftest import Run, write_task


def written(folder: Path, results: str = "{}", samples: str = "{}\n{}\n") -> Path:
    (folder / "results_2026.json").write_text(results, encoding="utf-8")
    (folder / "samples_a_2026.jsonl").write_text(samples, encoding="utf-8")
    return folder


def test_files_that_a_full_disk_cut_short_are_noticed(tmp_path: Path) -> None:
    _require_whole(written(tmp_path), 2, tmp_path / "out")
    for broken in ({"results": '{"res'}, {"results": ""}, {"samples": "{}\n"}):
        with pytest.raises(UserError, match="could not write its files"):
            _require_whole(written(tmp_path, **broken), 2, tmp_path / "out")


def test_shards_of_one_checkpoint_write_side_by_side(
    tiny_series: Path, task_folder: Path, tmp_path: Path, evaluate: Run
) -> None:
    write_task(task_folder, "second", seed=9)
    assert evaluate(tiny_series, "--quiet", "--limit", 4, "--tasks-per-unit", 1, tasks="small,second") == 0
    place = tmp_path / "out" / "tiny-run" / "checkpoint-10"
    tasks = [set(json.loads(file.read_text(encoding="utf-8"))["results"]) for file in place.glob("results_*.json")]
    assert sorted(map(sorted, tasks)) == [["second"], ["small"]]
    assert len(list(place.glob("samples_*.jsonl"))) == 2
    assert not list((tmp_path / "out").rglob(".partial-*"))
