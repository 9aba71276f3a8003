import json

import numpy as np
import pytest

from e2lm import Samples
from e2lm.command_line import main
from e2lm.item_metric import ItemChoices
from e2lm.scores import ScoreRow, Scores
from e2lm_signal.item_metrics import item_metrics
from e2lm_signal.item_table import read_item_tables

METRICS = {metric.name: metric for metric in item_metrics()}
STEPS = (1, 2, 4, 8, 16, 32)


def samples_at(series, step, rng, skill, items=60):
    loglik_IC = rng.normal(size=(items, 4)) - 3.0
    loglik_IC[:, 0] += skill
    ones = np.ones((items, 4), np.int64)
    choices = ItemChoices(loglik_IC, ones == 1, 3 * ones, 3 * ones, ones, np.zeros(items, np.int64))
    return Samples(series, step, "quiz", np.arange(items), choices, np.zeros((items, 4), bool))


@pytest.fixture
def evaluation(tmp_path):
    """What ``e2lm eval`` leaves: a Scores table, and Samples below ``samples``."""
    rng = np.random.default_rng(0)
    rows = []
    for series, gain in (("small", 0.2), ("large", 0.5)):
        for step in STEPS:
            one = samples_at(series, step, rng, gain * np.log2(step + 1))
            one.write(tmp_path / "samples" / series / "quiz" / f"checkpoint-{step}.parquet")
            for name in ("acc", "gold_minus_mean_wrong"):
                values = METRICS[name].per_item(one.choices)
                rows.append(
                    ScoreRow(series, step, "quiz", name, float(values.mean()), tokens=step * 1e6, n=len(values))
                )
    Scores.from_rows(rows).write(tmp_path)
    return tmp_path


def test_samples_beside_the_scores_give_paired_intervals(evaluation, capsys):
    assert main(["signal", str(evaluation), "--json", "--scores", "signal_quality", "gain_over_chance"]) == 0
    captured = capsys.readouterr()
    rows = {(row["series"], row["metric"]): row["scores"] for row in json.loads(captured.out)["rows"]}
    for scores in rows.values():
        quality = scores["signal_quality"]
        assert quality["low"] < quality["value"] < quality["high"]
        assert scores["gain_over_chance"]["value"] is not None  # chance is known from the choices
    assert "paired item bootstraps" in captured.err


def test_item_tables_are_computed_from_samples_for_any_metric(evaluation):
    [table] = read_item_tables(evaluation / "samples", list(METRICS.values()), "acc_ties_half")
    assert table.shape == (2, len(STEPS), 60)
    assert table.chance == 0.25
    assert table.higher_is_better
    [losses] = read_item_tables(evaluation / "samples", list(METRICS.values()), "bits_per_byte")
    assert losses.rising_MKI[0, 0, 0] == -losses.values_MKI[0, 0, 0]


def test_scores_that_do_not_come_from_the_samples_get_no_items(evaluation, capsys):
    table = Scores.from_rows(
        [ScoreRow("small", step, "quiz", "acc", 0.1 * k, tokens=1e6 * step) for k, step in enumerate(STEPS)]
    )
    table.write(evaluation)
    assert main(["signal", str(evaluation), "--json", "--scores", "gain_over_noise"]) == 0
    captured = capsys.readouterr()
    [row] = json.loads(captured.out)["rows"]
    assert row["scores"]["gain_over_noise"]["low"] is None


@pytest.mark.parametrize("verb", ["noise", "distil"])
def test_an_unknown_metric_is_named(evaluation, capsys, verb):
    assert main(["signal", verb, str(evaluation / "samples"), "--metric", "margn"]) == 2
    assert "Did you mean 'margin'" in capsys.readouterr().err


def test_noise_of_samples_prints_its_shares(evaluation, capsys):
    assert main(["signal", "noise", str(evaluation / "samples"), "--json"]) == 0
    [task] = json.loads(capsys.readouterr().out)["tasks"]
    assert task["task"] == "quiz"
    assert task["overall"]["item_sampling"] > 0
    assert task["drift_ratio_low"] is None  # two series are too few for an interval
