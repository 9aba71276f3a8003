import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from e2lm.command_line import main
from e2lm_signal.curves import curve_of_values
from e2lm_signal.outliers import _of_series, standardised_K


@pytest.fixture
def scores_csv(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for series in ("good", "broken"):
        for task in range(8):
            curve = 0.25 + 0.1 * np.log1p(np.arange(20)) + 0.005 * rng.normal(size=20)
            if series == "broken":
                curve[7] = curve[19]  # the last checkpoint was uploaded in its place
            rows += [(series, 1000 * k, f"task{task}", "acc", value) for k, value in enumerate(curve)]
    path = tmp_path / "scores.csv"
    pd.DataFrame(rows, columns=["series", "step", "task", "metric", "value"]).to_csv(path, index=False)
    return path


def test_a_checkpoint_that_holds_the_final_weights_comes_first_and_alone(capsys, scores_csv):
    assert main(["signal", "outliers", str(scores_csv), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["checkpoints"]
    assert (found[0]["series"], found[0]["step"], found[0]["curves"]) == ("broken", 7000, 8)
    assert found[0]["score"] > 4.5
    assert [one["outlier"] for one in found].count(True) == 1


def test_the_text_says_which_way_it_is_off(capsys, scores_csv):
    assert main(["signal", "outliers", str(scores_csv), "--top", "1"]) == 0
    out = capsys.readouterr().out
    assert "outlier: too good" in out
    assert "beyond 4.5 standard deviations" in out


def test_fast_learning_is_no_outlier(capsys, tmp_path):
    rng = np.random.default_rng(1)
    rows = [
        ("run", 2**k, f"task{task}", "acc", 1 / (1 + np.exp(-3.0 * (k - 7))) + 0.01 * rng.normal())
        for task in range(8)
        for k in range(15)
    ]
    path = tmp_path / "scores.csv"
    pd.DataFrame(rows, columns=["series", "step", "task", "metric", "value"]).to_csv(path, index=False)
    assert main(["signal", "outliers", str(path), "--json"]) == 0
    assert not any(one["outlier"] for one in json.loads(capsys.readouterr().out)["checkpoints"])


TOKENS_K = np.array([0.0, 1.0, 3.0, 4.0, 8.0, 10.0])
VALUES_K = np.array([0.2, 0.5, 0.3, 0.35, 0.3, 0.6])


def test_a_spike_is_measured_in_the_noise_around_lines_through_neighbours():
    axis = np.log1p(100 * TOKENS_K / 10) / np.log1p(100)
    residuals = []
    for k in range(1, 5):
        share = (axis[k] - axis[k - 1]) / (axis[k + 1] - axis[k - 1])
        line = np.interp(axis[k], axis[[k - 1, k + 1]], VALUES_K[[k - 1, k + 1]])
        residuals.append(abs(VALUES_K[k] - line) / np.sqrt(1 + share**2 + (1 - share) ** 2))
    noise = 1.4826 * np.median(residuals)
    spikes = np.array([0.0, 0.2, -0.05, 0.05, -0.05, 0.0])
    curve = curve_of_values(VALUES_K, tokens_K=TOKENS_K)
    assert standardised_K(curve) == pytest.approx(spikes / noise)
    assert standardised_K(replace(curve, higher_is_better=False)) == pytest.approx(-spikes / noise)


def test_a_spike_counts_ten_times_the_noise_at_most():
    values_K = np.array([0.0, 0.001, 0.0, 0.001, 0.0, 9.0, 0.0, 0.001, 0.0, 0.001])
    assert standardised_K(curve_of_values(values_K)).max() == 10.0


def test_a_checkpoint_is_held_against_the_others_of_its_series_in_closed_form():
    by_step = {10: [0.0, 1.0, 2.0], 20: [1.0, 1.0, 1.0], 30: [6.0, 8.0, 10.0]}
    found = {one.step: one for one in _of_series("run", by_step)}
    # Of step 30 the others are both 1 on average, so the spread is 0 and the error of a mean of three curves counts.
    error = np.std([0, 1, 2, 1, 1, 1, 6, 8, 10], ddof=1) / np.sqrt(3)
    assert found[30].score == pytest.approx((8 - 1) / error)
    # Of step 10 they are 1 and 8: median 4.5, both 3.5 away, with one degree of freedom.
    assert found[10].score == pytest.approx((1 - 4.5) / np.sqrt(2 * 3.5**2))
    assert (found[10].mean_z, found[10].curves) == (1.0, 3)


def test_fewer_than_three_checkpoints_or_curves_tell_no_outlier():
    assert _of_series("run", {step: [0.0, 1.0, 2.0] for step in (10, 20)}) == []
    assert _of_series("run", {step: [0.0, 1.0] for step in (10, 20, 30)}) == []
    assert len(_of_series("run", {step: [0.0, 1.0, 2.0] for step in (10, 20, 30)})) == 3


def test_the_first_line_names_the_worst_checkpoint_or_says_that_there_is_none(capsys, scores_csv):
    assert main(["signal", "outliers", str(scores_csv)]) == 0
    first = " ".join(capsys.readouterr().out.partition("\n\n")[0].split())
    assert first.startswith("broken, step 7000, does not fit into its run: too good, ")
    assert first.endswith("standard deviations; 0 others do not either")
    assert main(["signal", "outliers", str(scores_csv), "--series", "good"]) == 0
    assert capsys.readouterr().out.startswith("No outlier: none of 18 checkpoints is beyond 4.5 standard deviations")
