"""`e2lm results PATH` shows what was understood of results, and what of them is not used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from e2lm.command_line import main
from tests.e2lm_signal.cli.test_reading import RISING, lm_eval_folder
from tests.e2lm_signal.cli.test_stock_samples import STEPS, stock_folder


def test_every_curve_is_shown_with_what_tells_it_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lm_eval_folder(tmp_path / "0", "org/tiny-step{}", RISING)
    lm_eval_folder(tmp_path / "25", "org/tiny-step{}", RISING, **{"n-shot": {"arc": 25}})
    (tmp_path / "results_2026-02-01.json").write_text("{", encoding="utf-8")
    assert main(["results", str(tmp_path), "--json"]) == 0
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert [(one["task"], one["key"]["shots"], len(one["steps"])) for one in told["curves"]] == [
        ("arc (shots=0)", "0", 8),
        ("arc (shots=25)", "25", 8),
    ]
    assert told["curves"][0]["higher_is_better"] is True
    assert told["left_out"][0]["what"] == "results_2026-02-01.json"
    assert "differ in shots are kept apart" in printed.err
    assert main(["results", str(tmp_path), "--split-by", "model", "shots"]) == 0
    text = capsys.readouterr().out
    assert "arc (shots=25)" in text
    assert "shots: 0 (1), 25 (1)" in text
    assert "model: org/tiny" in text


def test_samples_are_shown_where_they_are_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stock = stock_folder(tmp_path, {"a": STEPS})
    assert main(["results", str(stock), "--json"]) == 0
    curves = json.loads(capsys.readouterr().out)["curves"]
    assert {one["has_samples"] for one in curves} == {True}
    assert {one["metric"]: one["higher_is_better"] for one in curves}["bits_per_byte"] is False


def test_a_table_is_shown_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text("model,step,task,mystery\na,1,arc,0.1\n", encoding="utf-8")
    assert main(["results", str(tmp_path / "t.csv")]) == 0
    text = capsys.readouterr().out
    assert "not told" in text
    assert "columns read as series = model" in text


def test_curves_beyond_forty_are_counted_and_there_on_demand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(f"a,1,task{number},acc,0.5\n" for number in range(43))
    (tmp_path / "t.csv").write_text(f"series,step,task,metric,value\n{rows}", encoding="utf-8")
    assert main(["results", str(tmp_path / "t.csv")]) == 0
    text = capsys.readouterr().out
    assert text.count("task") == 41  # with the head
    assert "... 3 more rows: --full shows all" in text
    assert main(["results", str(tmp_path / "t.csv"), "--full"]) == 0
    assert capsys.readouterr().out.count("task") == 44
