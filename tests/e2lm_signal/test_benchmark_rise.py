"""Exact p-values over series: against all flips, under drift, and with ties."""

import json
from itertools import product

import numpy as np
import pandas as pd
import pytest

from e2lm.command_line import main
from e2lm_signal.benchmark_rise import FLIPS, benchmark_rises, gain, sign_flip_p
from e2lm_signal.curves import curve_of_values
from tests.e2lm_signal.simulated_curves import NULLS, logistic

NO_LOT = np.random.default_rng(0)


def p_of(rows_MK, **fields):
    return benchmark_rises([curve_of_values(row_K, **fields) for row_K in rows_MK], NO_LOT).p


def test_p_is_the_share_of_all_flips_that_reach_the_sum():
    gains_M = np.random.default_rng(1).normal(0.3, 1.0, size=7)
    every = [np.dot(signs, np.abs(gains_M)) for signs in product((-1, 1), repeat=7)]
    assert sign_flip_p(gains_M, NO_LOT) == np.mean(np.array(every) >= gains_M.sum() - 1e-12)


def test_six_series_that_all_rise_reach_one_in_sixty_four_and_no_less():
    assert sign_flip_p(np.array([0.1, 0.001, 0.2, 0.3, 0.1, 0.1]), NO_LOT) == 1 / 64


def test_gains_of_nothing_and_equal_gains_are_ties_not_evidence():
    assert sign_flip_p(np.zeros(6), NO_LOT) == 1.0
    assert sign_flip_p(np.array([0.2, 0.0, 0.0]), NO_LOT) == 0.5
    assert sign_flip_p(np.array([0.1, 0.1, 0.1, -0.1]), NO_LOT) == 5 / 16


def test_many_series_are_flipped_by_lot():
    assert sign_flip_p(np.ones(30), NO_LOT) == pytest.approx(1 / (1 + FLIPS))


@pytest.mark.parametrize("name", ["white", "walk", "walk .06 on 300 items", "level shift of 3 sd", "AR(-.5)"])
def test_series_that_go_nowhere_reach_five_percent_in_at_most_five_percent(name):
    rng = np.random.default_rng([5, *name.encode()])
    rows_DK = NULLS[name](rng, 14, 6 * 800).reshape(800, 6, 14)
    gains_DM = rows_DK[:, :, -3:].mean(axis=2) - rows_DK[:, :, :3].mean(axis=2)
    share = np.mean([sign_flip_p(gains_M, NO_LOT) <= 0.05 for gains_M in gains_DM])
    assert share == pytest.approx(3 / 64, abs=3 * np.sqrt(0.05 * 0.95 / 800))  # .05 lies between 3/64 and 4/64
    curves = [curve_of_values(row_K) for row_K in rows_DK[0]]
    assert [gain(curve) for curve in curves] == pytest.approx(gains_DM[0].tolist())


def test_a_late_rise_that_six_series_share_is_certain():
    rng = np.random.default_rng(6)
    truth_K = logistic(14, 0.8, 0.05, 0.10)
    assert all(p_of(rng.binomial(1_000, truth_K, size=(6, 14)) / 1_000) == 1 / 64 for _ in range(20))


def test_a_falling_loss_rises_and_what_stays_below_chance_does_not():
    rows_MK = np.linspace(1.0, 0.5, 8) + 0.01 * np.random.default_rng(7).normal(size=(5, 8))
    assert p_of(rows_MK, metric="loss", higher_is_better=False) == 1 / 32
    assert p_of(rows_MK) == 1.0
    below_MK = np.linspace(0.05, 0.24, 8) + np.zeros((5, 1))
    assert p_of(below_MK, chance=0.25) == 1.0


def test_one_series_has_no_interval_and_curves_that_are_too_short_are_counted():
    alone = benchmark_rises([curve_of_values([0.1, 0.2, 0.3, 0.4])], NO_LOT)
    assert (alone.low, alone.p) == (None, 0.5)
    assert "one series" in alone.reason
    with_short = benchmark_rises([curve_of_values([0.1, 0.2, 0.3, 0.4]), curve_of_values([0.1])], NO_LOT)
    assert "1 series of too few checkpoints left out" in with_short.reason
    assert benchmark_rises([curve_of_values([0.1])], NO_LOT).value is None


def test_the_interval_over_series_covers_the_mean_gain():
    rng = np.random.default_rng(8)
    held = []
    for _ in range(300):
        rows_MK = rng.normal(0.3, 0.05, size=(6, 1)) * np.linspace(0, 1, 8) + 0.02 * rng.normal(size=(6, 8))
        found = benchmark_rises([curve_of_values(row_K) for row_K in rows_MK], rng)
        held.append(found.low <= 0.3 * 6 / 7 <= found.high)
    assert np.mean(held) == pytest.approx(0.9, abs=0.05)


def test_the_report_says_the_null_and_what_survives_the_best_of_many(tmp_path, capsys):
    rng = np.random.default_rng(9)
    rows = [
        (f"run{series}", step, f"task{task:02}", "acc", 0.3 + 0.02 * step * (task == 0) + 0.01 * rng.normal())
        for series in range(6)
        for task in range(12)
        for step in range(1, 9)
    ]
    path = tmp_path / "scores.csv"
    pd.DataFrame(rows, columns=["series", "step", "task", "metric", "value"]).to_csv(path, index=False)
    assert main(["signal", str(path)]) == 0
    said = capsys.readouterr().out
    assert "as likely down as up" in said
    assert "drifts without direction" in said
    assert "12 benchmarks were tested: the least p of 6 series, 1/64, is 0.188 after correction" in said
    assert "0 of them survive" in said
    assert main(["signal", str(path), "--json", "--scores", "benchmark_rises"]) == 0
    means = json.loads(capsys.readouterr().out)["means"]
    assert means[0]["scores"]["benchmark_rises"]["p"] == 1 / 64
