"""A predictor that somebody else wrote, in every action of ``e2lm predict``, through the command."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from e2lm.command_line import main
from tests.e2lm_scaling.cli.test_actions import write_runs

#: Half to double around a power of compute: no built-in makes such an interval.
HALF_TO_DOUBLE = """
from e2lm import Forecast, ScalingPredictor, hookimpl

class Wide:
    def __init__(self, table):
        self.table = table
    def predict(self, params, tokens):
        value = float(self.table.loss_R.min()) * (1e21 / (6 * params * tokens)) ** 0.05{shape}
        return Forecast(value, value / 2, value * 2, method="my own interval"{draws})
"""
PLAIN = """
@hookimpl
def e2lm_register_scaling_predictors():
    return [ScalingPredictor("wide", "Half to double.", lambda table, rng: Wide(table){more})]
"""
#: A best size for a budget, ten tokens per parameter.
BOWL = " * (1 + 0.01 * __import__('math').log(tokens / params / 10) ** 2)"
DECLARED = ', translates=True, end_of_run=lambda run, rng: Forecast(2.5, 2.0, 3.0, method=f"mine at {run.end:g}")'
COLUMNS = ("--columns", "N=params,D=tokens,L=loss")
DECIDE = ("--budget-flops", "1e21", "--cost-per-flop", "1e-19", "--value-per-point", "1000")


def plugin(folder: Path, shape: str = BOWL, draws: str = "", more: str = "") -> Path:
    path = folder / "wide.py"
    path.write_text(HALF_TO_DOUBLE.format(shape=shape, draws=draws) + PLAIN.format(more=more), encoding="utf-8")
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return write_runs(tmp_path / "runs.csv")


class Command:
    def __init__(self, capsys: pytest.CaptureFixture[str], wide: Path) -> None:
        self.capsys, self.wide = capsys, wide

    def __call__(self, *arguments: object) -> str:
        assert self.run(*arguments) == 0
        self.captured = self.capsys.readouterr()
        return self.captured.out

    def run(self, *arguments: object) -> int:
        return main(["--plugin", str(self.wide), "predict", *map(str, arguments)])

    def report(self, *arguments: object) -> dict:
        found: dict = json.loads(self(*arguments, "--json"))
        return found

    def refusal(self, *arguments: object) -> str:
        assert self.run(*arguments) == 2
        captured = self.capsys.readouterr()
        assert captured.out == ""
        (line,) = captured.err.strip().splitlines()
        return line


@pytest.fixture
def predict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys, plugin(tmp_path))


def own(value: float) -> list[float]:
    return [pytest.approx(value / 2), pytest.approx(value * 2)]


def test_fit_prints_its_own_interval_and_no_parameters_for_it_has_none(predict, runs):
    arguments = ("fit", "--data", runs, *COLUMNS, "--law", "wide", "--at", "N=1e10,D=2e11")
    report = predict.report(*arguments)
    assert (report["law"], report["params"], report["stderr"]) == ("wide", {}, None)
    forecast = report["forecast"]
    assert [forecast["low"], forecast["high"]] == own(forecast["loss"])
    assert forecast["method"] == "my own interval"
    assert re.search(r"loss at N=1e\+10, D=2e\+11: .*; my own interval$", predict(*arguments).strip())
    assert "--at N=...,D=... gives" in predict(*arguments[:-2])


def test_fit_prints_parameters_where_it_has_some(predict, runs):
    text = predict.wide.read_text(encoding="utf-8")
    predict.wide.write_text(
        text.replace("        self.table", "        self.parameters = {'gamma': 0.05}\n        self.table")
    )
    assert "  gamma  0.05\n" in predict("fit", "--data", runs, *COLUMNS, "--law", "wide")


def test_plan_takes_its_best_size_and_its_own_interval(predict, runs):
    arguments = ("plan", "--data", runs, *COLUMNS, "--model", "wide", "--flops", "6e21")
    report = predict.report(*arguments)
    assert report["tokens_per_param"] == pytest.approx(10, rel=0.01)
    assert report["N_interval"][0] < report["N"] < report["N_interval"][1]
    assert report["loss_interval"] == own(report["loss"])
    assert report["loss_method"] == "my own interval"
    text = predict(*arguments, "--max-params", "1e9")
    assert "my own interval" in text
    assert "constraints that bind: max_params" in text


def test_plan_is_refused_where_every_size_is_as_good(tmp_path, capsys, runs):
    flat = Command(capsys, plugin(tmp_path, shape=""))
    line = flat.refusal("plan", "--data", runs, *COLUMNS, "--model", "wide", "--flops", "6e21")
    assert "'wide' does not say how to split 6e+21 FLOPs" in line


def test_backtest_judges_its_own_interval(predict, runs):
    report = predict.report("backtest", "--data", runs, *COLUMNS, "--models", "wide")
    (wide,) = [one for one in report["models"] if one["model"] == "wide"]
    assert wide["half_width"] == pytest.approx(np.log(2))
    assert wide["coverage_90"] == 1.0
    assert report["left_out"] == []


def test_backtest_prints_a_dash_where_it_has_no_interval(tmp_path, capsys, runs):
    path = plugin(tmp_path)
    path.write_text(re.sub(r"value / 2.*\)", 'reason="none")', path.read_text(encoding="utf-8")), encoding="utf-8")
    bare = Command(capsys, path)
    arguments = ("backtest", "--data", runs, *COLUMNS, "--models", "wide")
    (wide,) = [one for one in bare.report(*arguments)["models"] if one["model"] == "wide"]
    assert (wide["half_width"], wide["coverage_90"]) == (None, None)
    assert re.search(r"^wide +\d.* - +-$", bare(*arguments), re.MULTILINE)


def test_backtest_goes_on_without_one_that_raises_and_says_so(predict, runs):
    text = predict.wide.read_text(encoding="utf-8")
    predict.wide.write_text(text.replace("value = float", "1 / 0; value = float"), encoding="utf-8")
    report = predict.report("backtest", "--data", runs, *COLUMNS, "--models", "wide")
    assert {one["model"] for one in report["models"]} == {"persistence", "single-scale", "log-linear"}
    (left_out,) = report["left_out"]
    assert left_out["what"] == "wide"
    assert "ZeroDivisionError" in left_out["why"]
    assert "e2lm: wide is left out: it raised ZeroDivisionError" in predict.captured.err


def test_decide_prints_its_own_intervals_and_says_that_errors_are_independent(predict, runs):
    arguments = ("decide", "--data", runs, *COLUMNS, "--model", "wide", *DECIDE)
    report = predict.report(*arguments)
    options = {one["name"]: one for one in report["options"]}
    moved = next(one for name, one in options.items() if name.startswith("move"))
    assert moved["loss_interval"] == own(moved["loss"])
    assert moved["loss_method"] == "my own interval"
    assert options["continue"]["loss_method"].startswith("the loss now times the forecast ratio")
    assert report["errors"] == "independent"
    text = predict(*arguments)
    assert "my own interval" in text
    assert "taken as independent, for wide gives no draws" in text


def test_decide_lets_errors_cancel_that_its_draws_have_in_common(tmp_path, capsys, runs):
    shared = ", draws_S=value * __import__('numpy').geomspace(0.45, 2.2, 9999)"
    arguments = ("decide", "--data", runs, *COLUMNS, "--model", "wide", *DECIDE)
    alone = Command(capsys, plugin(tmp_path)).report(*arguments)
    together = Command(capsys, plugin(tmp_path, draws=shared)).report(*arguments)
    assert together["errors"] == "shared"
    for report in (alone, together):
        assert sum(one["best_probability"] for one in report["options"]) == pytest.approx(1.0)
    # What the draws have in common is the same now and then, so a run that goes on is as sure as without them.
    going_on = [next(one for one in report["options"] if one["name"] == "continue") for report in (alone, together)]
    assert going_on[0]["loss_interval"] == pytest.approx(going_on[1]["loss_interval"])
    assert going_on[1]["gain_interval"] == pytest.approx(going_on[0]["gain_interval"], rel=0.2)


def test_decide_is_refused_where_it_has_no_interval(tmp_path, capsys, runs):
    path = plugin(tmp_path)
    path.write_text(re.sub(r"value / 2.*\)", 'reason="no idea")', path.read_text(encoding="utf-8")), encoding="utf-8")
    line = Command(capsys, path).refusal("decide", "--data", runs, *COLUMNS, "--model", "wide", *DECIDE)
    assert "the forecast has no interval (no idea), so no option can be judged" in line


@pytest.fixture
def losses(tmp_path: Path) -> Path:
    steps = np.arange(500, 5001, 250)
    path = tmp_path / "loss.csv"
    pd.DataFrame({"step": steps, "loss": 3 + 5 / steps**0.4}).to_csv(path, index=False)
    return path


def test_curve_and_translate_take_it_only_if_it_declares_that_and_name_those_that_do(predict, runs, losses):
    curve = ("curve", "--data", losses, "--columns", "step,loss", "--to", "9000", "--model", "wide")
    assert "declares no end_of_run; those that can: multi-power, token-power" in predict.refusal(*curve)
    translate = ("translate", "--data", runs, *COLUMNS, "--to", runs, "--at-model", "N=1e9,D=3e10", "--model", "wide")
    line = predict.refusal(*translate)
    assert "'wide' cannot do this: it does not declare that its intervals may be sent through a link" in line
    assert "average" in line


def test_curve_and_translate_print_its_own_interval_where_it_declares_them(tmp_path, capsys, runs, losses):
    predict = Command(capsys, plugin(tmp_path, more=DECLARED))
    curve = ("curve", "--data", losses, "--columns", "step,loss", "--to", "9000", "--model", "wide")
    report = predict.report(*curve)
    assert (report["value"], report["low"], report["high"]) == (2.5, 2.0, 3.0)
    assert (report["method"], report["model"]) == ("mine at 9000", "wide")
    assert "(2.0000 to 3.0000)" in predict(*curve)
    other = tmp_path / "other.csv"
    pd.read_csv(runs).assign(loss=lambda frame: 1.1 * frame["loss"]).to_csv(other, index=False)
    translate = ("translate", "--data", runs, *COLUMNS, "--to", other, "--law", "chinchilla-tied", "--floors", "none")
    (one,) = predict.report(*translate, "--at-model", "N=1e9,D=3e10", "--model", "wide")["translated"]
    assert [one["from_low"], one["from_high"]] == own(one["from"])
    assert one["high"] == pytest.approx(1.1 * one["from_high"], rel=0.01)
    assert "my own interval; sent through the link" in one["method"]


def test_a_name_that_nobody_registered_is_answered_by_the_nearest_in_every_action(predict, runs, losses):
    data = ("--data", runs, *COLUMNS)
    for arguments in (
        ("fit", *data, "--law", "wid"),
        ("plan", *data, "--law", "wid", "--flops", "1e21"),
        ("backtest", *data, "--models", "wid"),
        ("decide", *data, "--model", "wid", *DECIDE),
        ("translate", *data, "--to", runs, "--at-model", "N=1e9,D=1e10", "--floors", "none", "--model", "wid"),
        ("curve", "--data", losses, "--columns", "step,loss", "--to", "9000", "--model", "wid"),
    ):
        assert "unknown scaling predictor 'wid'. Did you mean 'wide'" in predict.refusal(*arguments)


def test_a_built_in_is_not_replaced_by_another_of_its_name(tmp_path, capsys, runs):
    path = plugin(tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace('"wide"', '"average"'), encoding="utf-8")
    line = Command(capsys, path).refusal("decide", "--data", runs, *COLUMNS, *DECIDE)
    assert "the scaling predictor name 'average' is claimed by two plugins" in line


def test_what_only_the_fit_of_a_law_has_is_refused_for_another(predict, runs):
    line = predict.refusal("fit", "--data", runs, *COLUMNS, "--law", "wide", "--objective", "l1")
    assert "--objective, --delta and --fix are about the fit of a law, and 'wide' is none" in line


@pytest.mark.parametrize("action", ["fit", "plan"])
def test_its_pictures_are_drawn(predict, runs, tmp_path, action):
    page = tmp_path / "page.html"
    more = ("--flops", "6e21") if action == "plan" else ()
    predict(action, "--data", runs, *COLUMNS, "--law", "wide", *more, "--plot", page)
    assert "<svg" in page.read_text(encoding="utf-8")
