from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from e2lm.command_line import main
from e2lm.scores import ScoreRow, Scores

COLUMNS = "N=Model Size,C=Training FLOP,L=loss"


@pytest.fixture
def table(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    params, flops = 10 ** rng.uniform(7.7, 10.2, 80), 10 ** rng.uniform(18.2, 22.1, 80)
    tokens = flops / 6 / params
    loss = (1.82 + 478 / params**0.347 + 2143 / tokens**0.367) * np.exp(0.004 * rng.normal(size=80))
    path = tmp_path / "runs.csv"
    pd.DataFrame({"Model Size": params, "Training FLOP": flops, "loss": loss}).to_csv(path, index=False)
    return path


def predict(*arguments: object) -> int:
    return main(["predict", *map(str, arguments)])


def test_fit_prints_the_law_its_parameters_and_their_errors_as_json(table, capsys):
    code = predict(
        "fit", "--law", "chinchilla", "--objective", "huber", "--delta", "1e-3", "--data", table, "--columns", COLUMNS,
        "--drop-largest-loss", 5, "--bootstrap", 100, "--json",
    )  # fmt: skip
    report = json.loads(capsys.readouterr().out)
    assert code == 0
    assert report["law"] == "chinchilla"
    assert set(report["params"]) == {"A", "B", "E", "alpha", "beta"} == set(report["stderr"])
    assert report["converged"] is True
    assert report["rows"] == 75
    assert report["params"]["alpha"] == pytest.approx(0.347, abs=4 * report["stderr"]["alpha"])
    assert report["floor_profile"]["determined"]


def test_same_seed_same_bytes(table, capsys):
    outputs = []
    for _ in range(2):
        predict("fit", "--data", table, "--columns", COLUMNS, "--law", "chinchilla", "--bootstrap", 20, "--json")
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


def test_a_forecast_beyond_the_data_says_that_its_interval_was_backtested(table, capsys):
    predict("fit", "--data", table, "--columns", COLUMNS, "--at", "N=7e10,D=1.4e12", "--json")
    forecast = json.loads(capsys.readouterr().out)["forecast"]
    assert forecast["low"] < forecast["loss"] < forecast["high"]
    assert "backtest-calibrated" in forecast["method"]
    assert "bootstrap" not in forecast["method"]


def test_a_forecast_inside_the_data_has_the_bootstraps_interval(table, capsys):
    at = ("--at", "N=1e9,D=2e10", "--json")
    predict("fit", "--data", table, "--columns", COLUMNS, "--law", "chinchilla", *at)
    forecast = json.loads(capsys.readouterr().out)["forecast"]
    assert forecast["low"] < forecast["loss"] < forecast["high"]
    assert "inside the data: bootstrap" in forecast["method"]
    predict("fit", "--data", table, "--columns", COLUMNS, "--law", "chinchilla", "--bootstrap", 0, *at)
    assert "backtest-calibrated" in json.loads(capsys.readouterr().out)["forecast"]["method"]


def test_text_output_names_units_and_convergence(table, capsys):
    predict("fit", "--data", table, "--columns", COLUMNS, "--law", "chinchilla-tied")
    text = capsys.readouterr().out
    assert "nats per token" in text
    assert "converged" in text


def test_scores_are_read_without_columns(tmp_path, capsys):
    rng = np.random.default_rng(0)
    rows = [
        ScoreRow(f"m{size:.0e}", step, "pile", "bits_per_byte", 0.6 + 20 / size**0.3 + 200 / (step * 1e6) ** 0.35
                 + 0.001 * rng.normal(), params=size, tokens=step * 1e6)
        for size in (1e7, 3e7, 1e8, 3e8) for step in (100, 300, 1000, 3000)
    ]  # fmt: skip
    Scores.from_rows(rows).write(tmp_path)
    assert predict("fit", "--data", tmp_path, "--law", "chinchilla", "--json", "--bootstrap", 0) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["params"]["E"] == pytest.approx(0.6, abs=0.1)
    assert "not been annealed" in captured.err


def changed(table: Path, column: str, change) -> Path:
    frame = pd.read_csv(table)
    frame[column] = change(frame[column])
    path = table.with_name("changed.csv")
    frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("column", "change", "words"),
    [
        ("loss", lambda loss: loss.where(loss.index != 3, -1.0), "L is -1 in row 4"),
        ("loss", lambda loss: loss * np.nan, "no row has all of"),
        ("loss", lambda loss: loss.astype(object).where(loss.index != 3, "x"), "a number is expected"),
        ("loss", lambda loss: np.exp(3 * loss), "is it a perplexity"),
        ("Model Size", lambda size: size * 0 + 1e9, "N has 1 distinct value"),
        ("Model Size", lambda size: size / 1e9, "looks like billions"),
        ("Training FLOP", lambda flops: flops / 8.64e19, "looks like PF-days"),
    ],
)
def test_bad_tables_get_one_line_and_exit_code_2(table, capsys, column, change, words):
    code = predict("fit", "--data", changed(table, column, change), "--columns", COLUMNS, "--json")
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    assert words in captured.err
    assert len(captured.err.strip().splitlines()) == 1


def test_tokens_in_billions_are_named(table, capsys):
    frame = pd.read_csv(table)
    frame["D"] = frame["Training FLOP"] / 6 / frame["Model Size"] / 1e9
    frame.to_csv(table, index=False)
    assert predict("fit", "--data", table, "--columns", "N=Model Size,D=D,L=loss") == 2
    assert "give D in tokens" in capsys.readouterr().err


def test_fewer_rows_than_parameters_is_refused(table, capsys):
    pd.read_csv(table).head(4).to_csv(table, index=False)
    assert predict("fit", "--data", table, "--columns", COLUMNS, "--law", "chinchilla") == 2
    assert "4 rows cannot identify the 5 parameters" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--columns", "N=Model Size,L=loss"), "two of N, D and C"),
        (("--columns", "N=Model Size,C=Training FLOP"), "L (the loss) is missing"),
        (("--columns", "N=Model Siz,C=Training FLOP,L=loss"), "Did you mean 'Model Size'"),
        (("--columns", COLUMNS, "--law", "chinchila"), "Did you mean 'chinchilla'"),
        (("--columns", COLUMNS, "--law", "chinchilla", "--objective", "hubr"), "Did you mean 'huber'"),
        (("--columns", COLUMNS, "--law", "chinchilla", "--delta", "0"), "delta"),
        (("--columns", COLUMNS, "--at", "N=1"), "needs both"),
        (("--columns", COLUMNS, "--drop-largest-loss", "500"), "drop fewer"),
    ],
)
def test_mistaken_options_are_explained(table, capsys, arguments, words):
    assert predict("fit", "--data", table, *arguments) == 2
    assert words in capsys.readouterr().err


def test_mixed_parameter_counts_and_repeated_data_are_warned_about(table, capsys):
    frame = pd.read_csv(table)
    frame["D"] = frame["Training FLOP"] / 6 / frame["Model Size"]
    frame.loc[:20, "Training FLOP"] *= 2
    frame["U"] = frame["D"] / 10
    frame["tokenizer"] = np.where(frame.index % 2, "a", "b")
    frame.to_csv(table, index=False)
    columns = "N=Model Size,D=D,C=Training FLOP,L=loss,U=U"
    assert predict("fit", "--data", table, "--columns", columns, "--bootstrap", 0) == 0
    warnings = capsys.readouterr().err
    assert "counted with embeddings in some rows" in warnings
    assert "epochs" in warnings
    assert "bits per byte" in warnings


def test_the_average_is_the_default_and_shows_the_parameters_of_its_laws(table, capsys):
    assert predict("fit", "--data", table, "--columns", COLUMNS, "--at", "N=7B,D=1.4T", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["law"] == "average"
    assert report["params"]["chinchilla.alpha"] == pytest.approx(0.347, abs=0.1)
    assert report["forecast"]["N"] == 7e9
    assert report["forecast"]["low"] < report["forecast"]["loss"] < report["forecast"]["high"]


def test_a_known_floor_is_fixed_and_three_runs_get_an_interval(tmp_path, capsys):
    flops = np.array([2e19, 1.3e20, 7e20])
    frame = pd.DataFrame({"N": [2e7, 5e7, 1.4e8], "C": flops, "loss": 1.4 + 80 / flops**0.085})
    frame.to_csv(tmp_path / "anchors.csv", index=False)
    data = ("--data", tmp_path / "anchors.csv", "--columns", "N=N,C=C,L=loss", "--at", "N=2e9,D=1e13", "--json")
    assert predict("fit", *data, "--law", "power-c-floor", "--fix", "E=1.4", "--bootstrap", 0) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["params"]["E"], report["params"]["alpha"]) == pytest.approx((1.4, 0.085))
    assert report["forecast"]["high"] / report["forecast"]["low"] > 1.2
    assert predict("fit", *data, "--law", "power-c", "--fix", "E=1.4") == 2
    assert "law 'power-c' can fix alpha" in capsys.readouterr().err


def test_an_average_says_which_parameters_its_runs_leave_open(tmp_path, capsys):
    """Six runs at 20 tokens per parameter: the forecast along that line stands, exponents and N* do not."""
    params = np.geomspace(3e7, 1e9, 6)
    loss = 1.7 + 400 / params**0.34 + 2000 / (20 * params) ** 0.36
    pd.DataFrame({"N": params, "D": 20 * params, "L": loss}).to_csv(tmp_path / "six.csv", index=False)
    arguments = ("fit", "--data", tmp_path / "six.csv", "--columns", "N=N,D=D,L=L", "--at", "N=2e9,D=4e10")
    assert predict(*arguments) == 0
    text = capsys.readouterr().out
    assert "N and D move together" in text
    assert "at its bound, so not determined by the data: chinchilla." in text
    assert predict(*arguments, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["identifiable"] is False
    assert report["split_known"] is False
