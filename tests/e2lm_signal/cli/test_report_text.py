"""What stands in the text of a report, and in which order: a person reads it from above."""

import numpy as np
import pandas as pd
import pytest

from e2lm.command_line import main


def table(tmp_path, series, tasks, checkpoints=10):
    """``tasks``: name -> noise; of a task without noise the series keep their order from the start."""
    rng = np.random.default_rng(5)
    rows = [
        (f"run{index}", step * 100, task, "acc", 0.3 + 0.02 * (1 + index) * step / checkpoints + noise * rng.normal())
        for task, noise in tasks.items()
        for index in range(series)
        for step in range(1, checkpoints + 1)
    ]
    path = tmp_path / "own.csv"
    pd.DataFrame(rows, columns=["series", "step", "task", "metric", "value"]).to_csv(path, index=False)
    return path


def text(capsys, *arguments):
    assert main(["signal", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_the_verdict_comes_first_and_names_task_metric_when_and_how_surely(capsys, tmp_path):
    out = text(capsys, table(tmp_path, 6, {"noisy": 0.5, "plain": 0.0}))
    first, second, third = out.replace("\n  ", " ").splitlines()[:3]
    assert first.startswith("Use plain by acc: at 10% of the run it has 100% [")
    assert "6 series" in first
    assert second.startswith("From 10% of the run on")
    assert "noisy acc" in third
    assert "no better than a coin" in third


def test_fewer_than_four_series_are_no_reason_to_call_a_benchmark_the_best_at_deciding(capsys, tmp_path):
    out = text(capsys, table(tmp_path, 2, {"noisy": 0.5, "plain": 0.0}))
    assert out.splitlines()[0].startswith("plain by acc rises most clearly")
    assert "cannot be told from 2 series" in out


def test_a_best_one_that_may_be_noise_is_called_that(capsys, tmp_path):
    out = text(capsys, table(tmp_path, 1, {"one": 0.5, "two": 0.5}, 6))
    assert "That may be noise" in out


def test_a_best_one_that_orders_no_better_than_a_coin_is_not_to_be_used(capsys, tmp_path):
    out = text(capsys, table(tmp_path, 6, {"one": 9.0, "two": 9.0}))
    first = out.replace("\n  ", " ").splitlines()[0]
    assert first.startswith("No task x metric is sure to order the series better than a coin would;")
    assert "Use " not in out


def test_what_falls_in_every_series_does_not_rise_most_clearly(capsys, tmp_path):
    path = table(tmp_path, 2, {"one": 0.0})
    frame = pd.read_csv(path)
    frame.assign(value=1 - frame["value"]).to_csv(path, index=False)
    first = text(capsys, path).replace("\n  ", " ").splitlines()[0]
    assert first.startswith("No task x metric rises over all series; one by acc falls least: signal_quality -1.00")


def test_the_best_task_heads_both_tables_and_no_table_is_wider_than_100_columns(capsys, tmp_path):
    long = "mmlu_continuation_high_school_european_history_5_shots_full_text_of_the_choices"
    out = text(capsys, table(tmp_path, 4, {"aaa_noise": 0.5, long: 0.0}))
    tables = [line for line in out.splitlines() if not line.startswith(("note:", "reason:"))]
    assert max(map(len, tables)) <= 100
    joined = "\n".join(tables)
    assert joined.index("mmlu_") < joined.index("aaa_noise")


def test_rows_beyond_forty_are_counted_and_there_on_demand(capsys, tmp_path):
    path = table(tmp_path, 3, {f"task{index}": 0.1 for index in range(15)}, 4)
    out = text(capsys, path, "--scores", "e2lmc_monotonicity")
    assert "... 5 more rows" in out
    assert "more rows" not in text(capsys, path, "--scores", "e2lmc_monotonicity", "--full")


RECONSTRUCTED = ("--scores", "e2lmc_rc", "e2lmc_cs", "e2lmc_global", "--control", "run0")


def test_reconstructed_scores_say_so_in_their_column_in_their_reasons_and_below(capsys, tmp_path):
    path = table(tmp_path, 3, {"quiz": 0.0}, 14)
    out = text(capsys, path, *RECONSTRUCTED, "--tokens-per-step", "200000000")
    assert out.count("(reconstructed)") == 3
    assert "reconstructed, from 4 checkpoints after 2e+11 tokens" in out
    assert "chance unknown, taken as 0" in out
    assert "not the competition's own formula" in out
    assert "official scores:" not in out


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_official_and_reconstructed_are_never_one_word(capsys, tmp_path, options):
    assert main(["signal", str(table(tmp_path, 2, {"quiz": 0.0}, 14)), "--full", *options]) == 0
    captured = capsys.readouterr()
    notes = [line for line in (captured.err if options else captured.out).splitlines() if line.startswith("note:")]
    official = [line for line in notes if "official scores" in line]
    assert len(official) == 1
    assert "e2lmc_rc" not in official[0]
    assert any("e2lmc_rc" in line and "reconstructed" in line for line in notes)


def test_comparisons_and_outliers_keep_long_names_within_100_columns(capsys, tmp_path):
    path = table(tmp_path, 5, {"a" * 60 + str(index): 0.0 for index in range(6)}, 12)
    for action in ("compare", "outliers"):
        out = text(capsys, action, path)
        assert max(len(line) for line in out.splitlines() if not line.startswith("note:")) <= 100
