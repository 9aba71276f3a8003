import json
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest

from e2lm.command_line import main
from e2lm_signal.comparison import Contender, _redrawn_D, after_choice, contender_in_scale, ranked
from e2lm_signal.curves import curve_of_values
from e2lm_signal.decisions import agreement_MM


@pytest.fixture
def scores_csv(tmp_path):
    """Six recipes at two sizes; task 'clear' orders them early, task 'murky' is noise until the end."""
    rng = np.random.default_rng(0)
    rows = []
    for size, scale in (("150M", 0.5), ("1B", 1.0)):
        for recipe in range(8):
            for step in range(1, 21):
                share = step / 20
                for task, quality in (("clear", 1.0), ("murky", 0.02)):
                    value = 0.25 + scale * share * 0.04 * recipe * quality + 0.004 * rng.normal()
                    rows.append((f"r{recipe}-{size}", step * 100, task, "acc", value))
    path = tmp_path / "scores.csv"
    pd.DataFrame(rows, columns=["series", "step", "task", "metric", "value"]).to_csv(path, index=False)
    return path


def ranking(capsys, *arguments):
    assert main(["signal", "compare", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)["ranking"]


def test_the_task_that_orders_early_comes_first_in_a_group_of_its_own(capsys, scores_csv):
    clear, murky = ranking(capsys, scores_csv, "--series", "*-1B", "--early", "0.2")
    assert (clear["task"], murky["task"]) == ("clear", "murky")
    assert clear["decision_accuracy"] > 0.85
    assert clear["low"] <= clear["decision_accuracy"] <= clear["high"]
    assert (clear["group"], murky["group"]) == (1, 2)


def test_task_metrics_that_the_data_cannot_tell_apart_share_a_group(capsys, scores_csv):
    frame = pd.read_csv(scores_csv)
    twin = frame[frame["task"] == "clear"].assign(task="twin")
    pd.concat([frame, twin]).to_csv(scores_csv, index=False)
    found = ranking(capsys, scores_csv, "--series", "*-1B", "--early", "0.2")
    assert {one["task"]: one["group"] for one in found} == {"clear": 1, "twin": 1, "murky": 2}


def test_small_models_are_held_against_large_ones_by_recipe(capsys, scores_csv):
    clear, murky = ranking(capsys, scores_csv, "--scales", "*-150M", "*-1B")
    assert clear["task"] == "clear"
    assert clear["series"] == 8
    assert clear["decision_accuracy"] > 0.9 > murky["decision_accuracy"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--early", "2"], "--early: found 2, expected a number above 0, below 1"),
        (["--scales", "150M", "*-1B"], "must hold one *"),
        (["--target-metric", "ac"], "Did you mean 'acc'"),
        (["--series", "r0-1B"], "no task x metric can be compared"),
    ],
)
def test_mistakes_get_one_line(capsys, scores_csv, options, said):
    assert main(["signal", "compare", str(scores_csv), *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_fewer_than_four_series_get_no_interval_and_are_told_so(capsys, scores_csv):
    assert main(["signal", "compare", str(scores_csv), "--series", "r[123]-1B"]) == 0
    assert "fewer than 4 series" in capsys.readouterr().out


def contender(agreement, task):
    return Contender(task, "acc", tuple("abcd"), agreement, 1.0)


@pytest.mark.parametrize(("gap_in_errors", "groups"), [(1.4, [1, 1]), (1.9, [1, 2])])
def test_two_are_told_apart_where_the_90_percent_interval_of_their_paired_difference_leaves_0(gap_in_errors, groups):
    rng = np.random.default_rng(0)
    first, second = (np.triu(0.1 * rng.normal(size=(4, 4)), 1) for _ in range(2))
    first, second = first + first.T, second + second.T
    difference = first - second
    every = []
    for chosen in product(range(4), repeat=4):
        pairs = [(a, b) for i, a in enumerate(chosen) for b in chosen[:i] if a != b]
        if pairs:
            every.append(np.mean([difference[a, b] for a, b in pairs]))
    places = np.triu_indices(4, 1)
    gap = gap_in_errors * np.std(every) - difference[places].mean()
    found = ranked([contender(0.7 + first + gap, "better"), contender(0.7 + second, "worse")], rng)
    assert [(one.contender.task, one.group) for one in found] == list(zip(["better", "worse"], groups, strict=True))


def test_the_end_of_a_model_is_the_mean_of_its_last_three_checkpoints():
    small = [
        curve_of_values([0.9, 0.1, 0.1, 0.4], series="web-1M"),
        curve_of_values([0.0, 0.2, 0.3, 0.0], series="wiki-1M"),
    ]
    large = [
        curve_of_values([0.0, 0.6, 0.6, 0.0], series="web-9M"),
        curve_of_values([0.9, 0.1, 0.1, 0.9], series="wiki-9M"),
    ]
    found = contender_in_scale(small, large, "*-1M", "*-9M")
    assert found.names_M == ("web", "wiki")
    assert found.value == 1.0
    falling = [[replace(one, higher_is_better=False) for one in curves] for curves in (small, large)]
    assert contender_in_scale(*falling, "*-1M", "*-9M").value == 1.0


def test_a_redraw_is_the_share_of_pairs_of_different_series_and_none_where_all_are_one():
    agreement = np.array([[0.5, 1.0, 0.0], [1.0, 0.5, 0.5], [0.0, 0.5, 0.5]])
    counts_DM = np.array([[1.0, 1.0, 1.0], [2.0, 0.0, 1.0], [2.0, 1.0, 0.0], [3.0, 0.0, 0.0]])
    one = Contender("task", "acc", ("a", "b", "c"), agreement, 1.0)
    expected = [0.5, 0.0, 1.0, np.nan]
    assert _redrawn_D(one, ["a", "b", "c"], counts_DM) == pytest.approx(expected, nan_ok=True)


def seeded_csv(tmp_path, recipes=5, seeds=3):
    """Each run has its own luck, and the seeds of a recipe cancel: only their mean has the order of the recipes."""
    rng = np.random.default_rng(1)
    rows = []
    for size in ("150M", "1B"):
        luck_RS = 0.1 * rng.normal(size=(recipes, seeds))
        luck_RS -= luck_RS.mean(axis=1, keepdims=True)
        for recipe, seed, step in product(range(recipes), range(seeds), (1, 2, 3, 4)):
            value = 0.3 + 0.01 * recipe + luck_RS[recipe, seed]
            rows.append((f"r{recipe}-{size}-seed{seed}", step, "quiz", "acc", value))
    path = tmp_path / "seeded.csv"
    pd.DataFrame(rows, columns=["series", "step", "task", "metric", "value"]).to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    "scales",
    [["*-150M-{seed}", "*-1B-{seed}"], ["*-150M-seed*", "*-1B-seed*"], ["*-{size}-{seed}"], ["*-{size}-seed{seed}"]],
)
def test_seeds_of_a_recipe_are_averaged_before_recipes_are_held_against_each_other(capsys, tmp_path, scales):
    path = seeded_csv(tmp_path)
    assert main(["signal", "compare", str(path), "--scales", *scales, "--json"]) == 0
    captured = capsys.readouterr()
    [found] = json.loads(captured.out)["ranking"]
    assert (found["decision_accuracy"], found["series"]) == (1.0, 5)
    assert "5 recipes, seeds averaged: 15 small runs, 15 large ones" in captured.err
    [alone] = ranking(capsys, path, "--scales", "*-150M-seed0", "*-1B-seed0")
    assert alone["decision_accuracy"] < 1.0


@pytest.mark.parametrize(
    ("scales", "said"),
    [
        (["*-{size}", "*-1B"], "give SMALL LARGE, or one pattern"),
        (["*-150M"], "give SMALL LARGE, or one pattern"),
        (["*-150M", "*-1B", "*-7B"], "give SMALL LARGE, or one pattern"),
        (["*-7{size}"], "fits series of 0 sizes"),
    ],
)
def test_patterns_that_say_no_two_scales_get_one_line(capsys, scores_csv, scales, said):
    assert main(["signal", "compare", str(scores_csv), "--scales", *scales]) == 2
    assert said in capsys.readouterr().err


def test_what_is_picked_from_many_coin_tosses_pays_for_having_looked():
    rng = np.random.default_rng(3)
    early_TM, final_M = rng.normal(size=(30, 8)), np.arange(8.0)
    names = tuple(f"s{m}" for m in range(8))
    tosses = [
        Contender(f"task{t}", "acc", names, agreement_MM(early_M, final_M), 1.0) for t, early_M in enumerate(early_TM)
    ]
    first = ranked(tosses, rng)
    assert first[0].contender.value > 0.7
    assert after_choice(first, rng) < first[0].contender.value - 0.05
    assert after_choice(first[:1], rng) == pytest.approx(first[0].contender.value, abs=0.02)


def test_the_price_of_having_looked_is_told(capsys, scores_csv):
    assert main(["signal", "compare", str(scores_csv), "--series", "*-1B", "--early", "0.2"]) == 0
    assert "is the highest of 2 that were looked at" in capsys.readouterr().out


def test_the_order_of_three_series_has_an_interval_that_holds_all(capsys, scores_csv):
    found = ranking(capsys, scores_csv, "--series", "r[123]-1B")
    assert {(one["low"], one["high"]) for one in found} == {(0.0, 1.0)}


def test_the_first_line_says_what_to_use_and_how_sure_that_is(capsys, scores_csv):
    for options, end in (
        (("--series", "*-1B", "--early", "0.2"), "the end of training"),
        (("--scales", "*-150M", "*-1B"), "the large models"),
    ):  # fmt: skip
        assert main(["signal", "compare", str(scores_csv), *options]) == 0
        lines = capsys.readouterr().out.splitlines()
        first = " ".join(" ".join(lines[: lines.index("")]).split())
        assert first.startswith("clear by acc decides best: ")
        assert f"early in the order of {end}; 0 others cannot be told apart from it" in first
        assert max(map(len, lines[: lines.index("")])) <= 100
    assert main(["signal", "compare", str(scores_csv), "--series", "r0-1B", "r1-1B"]) == 0
    assert capsys.readouterr().out.startswith("No task x metric is sure to decide better than a coin toss; ")
