from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2lm import UserError
from e2lm.scaling_predictor import Forecast
from e2lm_scaling.forecast.link import LossLink, accuracy_link, chained, loss_link
from e2lm_scaling.laws.downstream import fit_accuracy_law
from e2lm_scaling.laws.loss_to_loss import fit_best_floors, fit_known_floors
from tests.e2lm_scaling.cli.test_actions import COLUMNS, predict, write_runs


def sigmoid(loss: np.ndarray) -> np.ndarray:
    return np.asarray(1 - 0.75 / (1 + np.exp(-3 * (loss - 1.5))))


@given(
    value=st.floats(1.5, 4), below=st.floats(0, 0.4), above=st.floats(0, 0.4), error=st.floats(0, 0.3), up=st.booleans()
)
def test_an_interval_sent_through_a_link_is_never_narrower_than_either_part(value, below, above, error, up):
    sign = 1.0 if up else -1.0
    link = LossLink(lambda loss: 10 + sign * 2 * np.asarray(loss), error, relative=False)
    found = chained(Forecast(value, value - below, value + above), link)
    assert found.value == pytest.approx(10 + sign * 2 * value)
    sides = (2 * below, 2 * above) if up else (2 * above, 2 * below)
    for side, width in zip(sides, (found.value - found.low, found.high - found.value), strict=True):
        assert max(side, error) - 1e-9 <= width <= side + error + 1e-9


def test_without_an_interval_of_either_part_there_is_none_but_a_reason():
    link = LossLink(np.asarray, 0.1, relative=False)
    assert chained(Forecast(2.0, reason="too few runs"), link).reason == "the first loss has no interval: too few runs"
    blind = chained(Forecast(2.0, 1.9, 2.1), LossLink(link.apply, None, relative=False))
    assert blind.low is None
    assert "too few pairs" in (blind.reason or "")


def test_accuracies_come_out_between_nought_and_one_and_their_sigmoid_is_found():
    rng = np.random.default_rng(0)
    loss = np.linspace(1.0, 3.0, 30)
    law, link = accuracy_link(loss, np.clip(sigmoid(loss) + 0.003 * rng.normal(size=30), 0, 1), chance=0.25)
    assert float(link.apply(0.8)) == pytest.approx(float(sigmoid(np.array(0.8))), abs=0.02)
    assert law.accuracy(np.array([9.0]))[0] == pytest.approx(0.25, abs=0.02)
    unsure = chained(Forecast(1.5, 0.5, 3.0), LossLink(link.apply, 2.0, relative=False, limits=link.limits))
    assert (unsure.low, unsure.high) == (0.0, 1.0)
    with pytest.raises(UserError, match="wants shares, 0 to 1"):
        accuracy_link(loss, 100 * sigmoid(loss), chance=0.25)


def test_a_loss_to_loss_link_widens_with_what_it_missed_when_held_out():
    loss = np.linspace(2.0, 4.0, 20)
    exact = loss_link(fit_known_floors(loss, 1.1 * loss, 0.0, 0.0), loss, 1.1 * loss)
    bent = 1.1 * loss + 0.05 * (loss < 2.3)
    off = loss_link(fit_known_floors(loss, bent, 0.0, 0.0), loss, bent)
    assert exact.half_width(2.0) == pytest.approx(0.0, abs=1e-9)
    assert (off.half_width(2.0) or 0.0) > 0.02


def with_accuracy(runs: Path, path: Path) -> Path:
    frame = pd.read_csv(runs)
    frame["loss"] = sigmoid(frame["loss"].to_numpy())
    frame.to_csv(path, index=False)
    return path


def test_translate_forecasts_a_model_and_sends_its_error_through_to_the_accuracy(tmp_path, capsys):
    runs = write_runs(tmp_path / "runs.csv")
    task = with_accuracy(runs, tmp_path / "task.csv")
    arguments = (
        "translate", "--data", runs, "--columns", COLUMNS, "--to", task, "--link", "accuracy", "--chance", 0.25,
        "--at", 2.5, "--at-model", "N=1e9,D=3e10",
    )  # fmt: skip
    code, out, _ = predict(capsys, *arguments, "--json")
    report = json.loads(out)
    assert code == 0
    given_loss, forecast = report["translated"]
    assert given_loss["loss"] == pytest.approx(float(sigmoid(np.array(2.5))), abs=0.01)
    true_loss = 1.7 + 400 / 1e9**0.34 + 1000 / 3e10**0.34
    assert forecast["low"] < float(sigmoid(np.array(true_loss))) < forecast["high"]
    assert forecast["high"] - forecast["low"] > given_loss["high"] - given_loss["low"]
    assert forecast["beyond_data"]
    assert "sent through the link" in forecast["method"]
    picture = tmp_path / "link.svg"
    code, text, _ = predict(capsys, *arguments, "--plot", picture)
    assert code == 0
    assert "accuracy =" in text
    one_line, other_line = text.splitlines()[-2:]
    assert "below every pair of the data" not in one_line
    assert f"below every pair of the data, the lowest of which is {forecast['lowest_of_data']:.4f}" in other_line
    assert picture.read_text(encoding="utf-8").startswith("<svg xmlns")
    first = picture.read_bytes()
    assert predict(capsys, *arguments, "--plot", picture)[0] == 0
    assert picture.read_bytes() == first
    assert predict(capsys, *arguments, "--at-model", "N=1e9")[0] == 2


def test_curve_and_comparison_are_drawn(tmp_path, capsys):
    losses = tmp_path / "loss.csv"
    steps = np.arange(500, 5001, 250)
    pd.DataFrame({"step": steps, "loss": 3 + 5 / steps**0.4}).to_csv(losses, index=False)
    arguments = ("curve", "--data", losses, "--columns", "step,loss", "--to", 9000)
    page = tmp_path / "curve.html"
    assert predict(capsys, *arguments, "--plot", page, "--dry-run")[0] == 0
    assert not page.exists()
    assert predict(capsys, *arguments, "--plot", page)[0] == 0
    text = page.read_text(encoding="utf-8")
    assert "<polygon" in text  # the interval
    assert "forecast" in text
    assert "http" not in text.replace("http://www.w3.org", "")
    code, _, error = predict(capsys, *arguments, "--plot", tmp_path / "curve.png")
    assert code == 2
    assert ".html or .svg" in error


def test_the_half_width_of_a_link_is_twice_the_largest_error_on_the_pairs_held_out():
    rng = np.random.default_rng(0)
    loss = np.linspace(2.0, 4.0, 20)
    second = 1.1 * loss * np.exp(0.01 * rng.normal(size=20))
    law = fit_known_floors(loss, second, 0.0, 0.0)
    others = fit_known_floors(loss[4:], second[4:], 0.0, 0.0)
    error = np.abs(others.translate(loss[:4]) / second[:4] - 1).max()
    assert loss_link(law, loss, second).half_width(3.0) == pytest.approx(2 * error * 3.0)
    accuracy = sigmoid(loss) + 0.003 * rng.normal(size=20)
    without = fit_accuracy_law(loss[4:], accuracy[4:], 0.25)
    missed = np.abs(without.accuracy(loss[:4]) - accuracy[:4]).max()
    _, link = accuracy_link(loss, accuracy, 0.25)
    assert link.half_width(0.5) == pytest.approx(2 * missed)


def test_a_loss_at_or_below_the_floor_follows_from_nothing_and_the_others_are_translated(tmp_path, capsys):
    rng = np.random.default_rng(0)
    loss = np.linspace(2.2, 4.0, 20)
    second = 0.9 * (loss - 1.8) ** 0.7 + 1.5 + 0.001 * rng.normal(size=20)
    params, tokens = np.geomspace(1e8, 1e7, 20), np.geomspace(1e11, 1e10, 20)
    for name, values in (("first", loss), ("second", second)):
        pd.DataFrame({"params": params, "tokens": tokens, "loss": values}).to_csv(tmp_path / f"{name}.csv", index=False)
    arguments = ("translate", "--data", tmp_path / "first.csv", "--to", tmp_path / "second.csv", "--columns", COLUMNS)
    code, _, error = predict(capsys, *arguments, "--floors", "none", "--at", 1.0)
    assert code == 2
    assert "at or below the floor E_from" in error
    code, out, error = predict(capsys, *arguments, "--floors", "none", "--at", 1.0, "--at", 2.5, "--json")
    report = json.loads(out)
    assert code == 0
    assert [one["from"] for one in report["translated"]] == [2.5]
    assert report["left_out"][0]["what"] == "--at 1"
    assert "--at 1 is left out" in error
    assert predict(capsys, *arguments, "--floors", "zero", "--at", 1.0)[0] == 0


def test_the_best_floors_are_those_nearer_to_the_lowest_losses_held_out():
    loss = np.linspace(2.2, 4.0, 20)
    straight = 0.9 * loss**1.02
    bent = 0.9 * np.maximum(loss - 1.8, 0) ** 0.5 + 1.5
    assert fit_best_floors(loss, straight).floor_from == 0.0
    assert fit_best_floors(loss, bent).floor_from == pytest.approx(1.8, abs=0.05)


def test_the_interval_of_a_link_grows_below_the_lowest_loss_with_the_way_that_was_held_out():
    rng = np.random.default_rng(0)
    loss = np.geomspace(2.0, 4.0, 20)
    second = 1.1 * loss * np.exp(0.01 * rng.normal(size=20))
    link = loss_link(fit_known_floors(loss, second, 0.0, 0.0), loss, second)
    held = np.log(loss[4] / loss[0])
    assert link.half_width(2.0, 2.0) == link.half_width(2.0, 3.0) == link.half_width(2.0)
    assert link.half_width(2.0, 2.0 * np.exp(-held)) == pytest.approx(np.sqrt(2) * link.half_width(2.0))
