from __future__ import annotations

import json
import re

import pytest

from e2lm.command_line import main
from e2lm.series import Series
from e2lm_demo.steps import DemoSize


def test_a_dry_run_writes_nothing(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path / "demo"), "--dry-run", "--json"]) == 0

    plan = json.loads(capsys.readouterr().out)
    assert plan["sizes"] == ["50k", "140k", "360k"]
    assert plan["runs"] == ["clean-1", "clean-2", "third", "two-thirds", "clean-140k", "clean-360k"]
    assert not (tmp_path / "demo").exists()


def test_a_missing_corpus_is_one_line(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path / "demo"), "--corpus", str(tmp_path / "nothing.txt")]) == 2

    assert capsys.readouterr().err.splitlines() == [f"e2lm: error: --corpus {tmp_path / 'nothing.txt'}: no such file"]
    assert not (tmp_path / "demo").exists()


#: The quick demo with eight steps of training, for which no order can be expected.
HASTY = DemoSize(("50k", "140k", "360k"), 8_192, 4, 100, ("numpy", "scipy"))


@pytest.mark.slow
def test_the_demo_goes_the_whole_way_and_its_report_needs_no_network(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("e2lm_demo.steps.QUICK", HASTY)
    out = tmp_path / "demo"

    assert main(["demo", "--quick", "--out", str(out), "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert len(found["models"]) == 6
    assert found["true_order"] == ["clean", "third", "two-thirds"]
    assert found["told"] == sum(pair["share"] is not None for one in found["findings"] for pair in one["pairs"])
    assert {"chinchilla-tied", "persistence"} <= {result["name"] for result in found["predictors"]}
    tasks = {finding["task"] for finding in found["findings"]}
    assert {"e2lm_early_continuation", "e2lm_early_shuffled", "e2lm_early_cloze", "e2lm_early_copying"} <= tasks
    report = (out / "report.html").read_text()
    assert not re.search(r"(src|href)=|https?://(?!www\.w3\.org)|@import|<script", report)
    assert report.count("<svg") >= 10
    assert (out / "picture.svg").read_text().startswith("<svg")
    for model in found["models"]:
        (folder,) = (one.parent for one in (out / "runs" / model).glob("*/series.json"))
        series = Series.read(folder)
        assert series.checkpoints[0].step == 0
        assert len(series.checkpoints) == 5

    # A finished demo is not done again: the second call reads what the first one wrote.
    before = {file: file.stat().st_mtime_ns for file in (out / "runs").rglob("model.safetensors")}
    assert main(["demo", "--quick", "--out", str(out), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again == found
    assert before == {file: file.stat().st_mtime_ns for file in (out / "runs").rglob("model.safetensors")}
