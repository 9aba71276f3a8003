from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from e2lm.command_line import main
from e2lm.scores import ScoreRow, Scores
from e2lm_scaling.messages import say
from tests.pseudo_language import pseudo_language, words_outside

COLUMNS = "N=params,D=tokens,L=loss"


def write_runs(path: Path, shift: float = 0.0, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    flops = np.repeat(np.geomspace(1e17, 1e20, 7), 5)
    params = np.sqrt(flops / 120) * np.tile(np.geomspace(0.3, 3, 5), 7)
    tokens = flops / 6 / params
    loss = (1.7 + 400 / params**0.34 + 1000 / tokens**0.34) * np.exp(shift + 0.002 * rng.normal(size=35))
    pd.DataFrame({"params": params, "tokens": tokens, "loss": loss}).to_csv(path, index=False)
    return path


@pytest.fixture
def runs(tmp_path) -> Path:
    return write_runs(tmp_path / "runs.csv")


def predict(capsys, *arguments: object) -> tuple[int, str, str]:
    code = main(["predict", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_backtest_reports_every_model_and_the_baselines(runs, capsys):
    code, out, _ = predict(
        capsys, "backtest", "--data", runs, "--columns", COLUMNS, "--models", "chinchilla-tied", "--json"
    )
    report = json.loads(out)
    assert code == 0
    baselines = {"persistence", "single-scale", "log-linear"}
    assert {one["model"] for one in report["models"]} == {"chinchilla-tied", *baselines}
    assert report["chosen"] == "chinchilla-tied"
    _, text, _ = predict(capsys, "backtest", "--data", runs, "--columns", COLUMNS, "--models", "chinchilla-tied")
    assert "(baseline)" in text


def test_plan_gives_intervals_and_their_method(runs, capsys):
    arguments = ("plan", "--data", runs, "--columns", COLUMNS, "--law", "chinchilla-tied", "--gpu-hours", 1000)
    code, out, _ = predict(capsys, *arguments, "--json")
    report = json.loads(out)
    assert code == 0
    assert report["N_interval"][0] < report["N"] < report["N_interval"][1]
    assert report["gpu_hours"] == pytest.approx(1000)
    assert "backtest-calibrated" in report["loss_method"]
    _, text, _ = predict(capsys, *arguments, "--max-params", 1e8)
    assert "constraints that bind: max_params" in text
    _, text, _ = predict(capsys, *arguments, "--approaches")
    assert re.search(r"2 isoFLOP +C\^0\.\d{3} \(0\.\d{3} to 0\.\d{3}\)", text)
    assert re.search(r"1 envelope +none: ", text)


def test_translate_pairs_runs_and_translates_a_loss(runs, tmp_path, capsys):
    other = write_runs(tmp_path / "other.csv", -0.1, 1)
    arguments = (
        "translate",
        "--data",
        runs,
        "--columns",
        COLUMNS,
        "--to",
        other,
        "--law",
        "chinchilla-tied",
        "--at",
        2.5,
    )
    code, out, _ = predict(capsys, *arguments, "--json")
    report = json.loads(out)
    assert code == 0
    assert report["pairs"] == 35
    assert report["translated"][0]["loss"] == pytest.approx(2.5 * np.exp(-0.1), rel=0.01)
    assert report["translated"][0]["low"] < report["translated"][0]["loss"]
    for floors in ("first", "none"):
        assert predict(capsys, *arguments, "--floors", floors)[0] == 0


def test_decide_says_what_to_do_in_plain_words(runs, tmp_path, capsys):
    other = write_runs(tmp_path / "clean.csv", -0.05, 1)
    arguments = (
        "decide", "--data", runs, "--columns", COLUMNS, "--budget-gpu-hours", 5000, "--cost-per-gpu-hour", 2,
        "--value-per-point", 5000, "--option", f"clean={other}", "--model", "chinchilla-tied",
    )  # fmt: skip
    code, out, _ = predict(capsys, *arguments, "--json")
    report = json.loads(out)
    assert code == 0
    assert {"stop", "continue", "data-clean"} < {one["name"] for one in report["options"]}
    assert sum(one["best_probability"] for one in report["options"]) == pytest.approx(1.0)
    page = tmp_path / "decide.html"
    code, text, _ = predict(capsys, *arguments, "--plot", page)
    assert code == 0
    assert "Expected gain over stopping" in text
    assert "<svg" in page.read_text()


def test_decide_needs_one_budget_and_one_cost(runs, capsys):
    code, out, err = predict(
        capsys, "decide", "--data", runs, "--columns", COLUMNS, "--budget-flops", 1e21, "--value-per-point", 1
    )
    assert (code, out) == (2, "")
    assert "one of --cost-per-flop" in err.replace("and ", "")


@pytest.mark.parametrize("action", ["fit", "backtest", "plan"])
def test_pages_load_nothing_and_are_the_same_twice(runs, tmp_path, capsys, action):
    more = {"fit": ("--bootstrap", 0), "backtest": ("--models", "chinchilla-tied"), "plan": ("--flops", 1e21)}[action]
    pages = []
    for name in ("a.html", "b.html"):
        page = tmp_path / name
        assert predict(capsys, action, "--data", runs, "--columns", COLUMNS, *more, "--plot", page)[0] == 0
        pages.append(page.read_text())
    assert pages[0] == pages[1]
    assert not re.search(r"<script|<link|<img|@import|url\(\s*['\"]?http", pages[0])
    assert not re.search(r"(?:src|href)=\"https?:", pages[0])


def test_png_is_written_and_a_dry_run_writes_nothing(runs, tmp_path, capsys):
    picture = tmp_path / "fit.png"
    arguments = ("fit", "--data", runs, "--columns", COLUMNS, "--bootstrap", 0, "--plot", picture)
    assert predict(capsys, *arguments, "--dry-run")[0] == 0
    assert not picture.exists()
    assert predict(capsys, *arguments)[0] == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert predict(capsys, "fit", "--data", runs, "--columns", COLUMNS, "--plot", tmp_path / "fit.pdf")[0] == 2


def test_curve_forecasts_a_run_and_compares_two(tmp_path, capsys):
    rng = np.random.default_rng(0)
    rows = [
        ScoreRow(name, step, "t", "acc", level + 0.02 * np.log(step) + 0.001 * rng.normal(), tokens=step * 1e6)
        for name, level in (("a", 0.3), ("b", 0.25)) for step in range(100, 1300, 100)
    ]  # fmt: skip
    Scores.from_rows(rows).write(tmp_path)
    code, out, _ = predict(
        capsys, "curve", "--data", tmp_path, "--series", "a", "--against", "b", "--to", 1e10, "--json"
    )
    assert code == 0
    assert json.loads(out)["probability_above"] > 0.9
    losses = tmp_path / "loss.csv"
    steps = np.arange(500, 5001, 250)
    pd.DataFrame({"step": steps, "loss": 3 + 5 / steps**0.4}).to_csv(losses, index=False)
    arguments = ("curve", "--data", losses, "--columns", "step,loss")
    code, out, _ = predict(capsys, *arguments, "--schedule", "cosine:peak=3e-4,steps=9000,warmup=200", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["low"] < report["value"] < report["high"] < report["last_value"] * 1.05
    code, out, err = predict(capsys, *arguments)
    assert code == 2
    assert "--schedule" in err


def test_help_of_every_action_works(capsys):
    for action in ("fit", "backtest", "plan", "translate", "curve", "decide"):
        with pytest.raises(SystemExit) as end:
            main(["predict", action, "--help"])
        assert end.value.code == 0
        assert "--json" in capsys.readouterr().out


def test_a_backtest_of_few_runs_shows_no_number_that_was_not_measured(tmp_path, capsys):
    params = np.geomspace(1e7, 1e10, 8)
    frame = pd.DataFrame({"params": params, "tokens": 20 * params, "loss": 1.7 + 400 / params**0.34})
    frame.to_csv(tmp_path / "few.csv", index=False)
    arguments = ("backtest", "--data", tmp_path / "few.csv", "--columns", COLUMNS, "--ratio", 1000)
    report = json.loads(predict(capsys, *arguments, "--json")[1])
    assert {one["inner_error"] for one in report["models"]} == {None}
    assert all(one["half_width"] > 0.05 for one in report["models"])  # that of small tables
    _, text, _ = predict(capsys, *arguments)
    assert re.search(r"^log-linear +- +\d.*\(baseline\)$", text, re.MULTILINE)
    assert "the training part alone chooses none, for it has too few runs" in text
    assert "inf" not in text
    assert "nan" not in text


def test_every_sentence_of_a_page_comes_from_the_catalogue(runs, tmp_path, capsys):
    other, page = write_runs(tmp_path / "clean.csv", -0.05, 1), tmp_path / "page.html"
    data = ("--data", runs, "--columns", COLUMNS)
    decide = (
        "decide", *data, "--budget-gpu-hours", 5000, "--cost-per-gpu-hour", 2, "--value-per-point", 5000,
        "--option", f"clean={other}", "--model", "chinchilla-tied",
    )  # fmt: skip
    translate = ("translate", *data, "--to", other, "--law", "chinchilla-tied", "--at", 2.5)
    for arguments in (decide, translate):
        with pseudo_language(say):
            code, out, _ = predict(capsys, *arguments, "--plot", page)
        assert code == 0
        assert words_outside(page.read_text(encoding="utf-8")) == set(), out


def test_the_name_of_a_run_in_a_column_may_hold_commas(tmp_path, capsys):
    steps = np.arange(0, 5001, 250)
    losses, column = tmp_path / "chart.csv", "run-a, lr=3e-4 - eval/loss"
    pd.DataFrame({"Step": steps, column: 3 + 5 / np.maximum(steps, 1) ** 0.4}).to_csv(losses, index=False)
    code, out, _ = predict(
        capsys, "curve", "--data", losses, "--columns", f"Step,{column}", "--to", 9000, "--json"
    )  # fmt: skip
    assert code == 0
    assert json.loads(out)["last"] == 5000
    code, _, err = predict(capsys, "curve", "--data", losses, "--columns", "Step,run-b", "--to", 9000)
    assert code == 2
    assert "column 'run-b' is missing" in err
