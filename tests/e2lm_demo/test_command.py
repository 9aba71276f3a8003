from __future__ import annotations

import json
import re

import pytest

from e2lm.command_line import main
from e2lm.series import Series


def test_a_dry_run_writes_nothing(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path / "demo"), "--dry-run", "--json"]) == 0

    assert len(json.loads(capsys.readouterr().out)["sizes"]) == 4
    assert not (tmp_path / "demo").exists()


def test_a_missing_corpus_is_one_line(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path / "demo"), "--corpus", str(tmp_path / "nothing.txt")]) == 2

    assert capsys.readouterr().err.splitlines() == [f"e2lm: error: --corpus {tmp_path / 'nothing.txt'}: no such file"]
    assert not (tmp_path / "demo").exists()


@pytest.mark.slow
def test_the_quick_demo_goes_the_whole_way_and_its_report_needs_no_network(tmp_path, capsys):
    out = tmp_path / "demo"

    assert main(["demo", "--quick", "--out", str(out), "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert len(found["models"]) == 4
    assert {"chinchilla-tied", "persistence"} <= {result["name"] for result in found["predictors"]}
    tasks = {finding["task"] for finding in found["findings"]}
    assert {"e2lm_early_continuation", "e2lm_early_shuffled", "e2lm_early_cloze", "e2lm_early_copying"} <= tasks
    report = (out / "report.html").read_text()
    assert not re.search(r"(src|href)=|https?://(?!www\.w3\.org)|@import|<script", report)
    assert report.count("<svg") >= 10
    assert (out / "picture.svg").read_text().startswith("<svg")
    for model in found["models"]:
        series = Series.read(out / "runs" / model)
        assert series.checkpoints[0].step == 0
        assert len(series.checkpoints) >= 5

    # A finished demo is not done again: the second call reads what the first one wrote.
    before = {file: file.stat().st_mtime_ns for file in (out / "runs").rglob("model.safetensors")}
    assert main(["demo", "--quick", "--out", str(out), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again == found
    assert before == {file: file.stat().st_mtime_ns for file in (out / "runs").rglob("model.safetensors")}
