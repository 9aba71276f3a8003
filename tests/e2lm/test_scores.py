"""The Scores table comes back from CSV and Parquet as it was written, to the last bit and letter."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2lm import ItemMetric, Samples, Scores, UserError
from e2lm.item_metric import ItemChoices
from e2lm.results import read_scores
from e2lm.scores import COLUMNS, ScoreRow, scored_samples

#: Control characters are left out: no name that lm-eval or a file system gives has them.
NAMES = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=8) | st.sampled_from(
    ["007", "1e5", "nan", "NA", "None", "null", "True", "1,5", 'say "hi"', " padded ", "#", "-inf"]
)
NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
ROWS = st.lists(
    st.builds(
        ScoreRow,
        series=NAMES,
        step=st.integers(0, 2**53),
        task=NAMES,
        metric=NAMES,
        value=NUMBERS,
        params=NUMBERS,
        tokens=NUMBERS,
        flops=NUMBERS,
        stderr=NUMBERS,
        n=st.integers(0, 2**53),
        chance=st.just(math.nan) | NUMBERS,
        params_active=st.just(math.nan) | NUMBERS,
        key=st.sampled_from(["", "", '{"language": "ja"}', "{}"]),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda row: (row.series, row.task, row.metric, row.step, row.key),
)


def plain(scores: Scores) -> list[tuple[Any, ...]]:
    """Rows whose NaN are equal to each other."""
    return [
        tuple("NaN" if isinstance(cell, float) and math.isnan(cell) else cell for cell in dataclasses.astuple(row))
        for row in scores.rows()
    ]


@pytest.mark.parametrize("kind", ["parquet", "csv"])
@settings(max_examples=40)
@given(rows=ROWS)
def test_scores_come_back_as_they_were_written(kind: str, rows: list[ScoreRow]) -> None:
    scores = Scores.from_rows(rows)
    with TemporaryDirectory() as name:
        files = dict(zip(("parquet", "csv"), scores.write(Path(name)), strict=True))
        source = read_scores(files[kind])
    assert plain(source.scores) == plain(scores)
    assert source.notes == ()
    pd.testing.assert_frame_equal(source.scores.frame, scores.frame)


@settings(max_examples=40)
@given(ROWS, st.randoms())
def test_the_order_of_rows_does_not_matter(rows: list[ScoreRow], random: Any) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert plain(Scores.from_rows(shuffled)) == plain(Scores.from_rows(rows))


def test_rows_are_sorted_by_series_task_metric_and_step() -> None:
    rows = [ScoreRow("b", 1, "t", "m", 0.0), ScoreRow("a", 10, "t", "m", 1.0), ScoreRow("a", 9, "t", "m", 2.0)]
    assert [(row.series, row.step) for row in Scores.from_rows(rows).rows()] == [("a", 9), ("a", 10), ("b", 1)]


def test_an_empty_table_keeps_its_columns_and_types(tmp_path: Path) -> None:
    empty = Scores.from_rows([])
    assert (len(empty), list(empty.frame.columns)) == (0, list(COLUMNS))
    for file in empty.write(tmp_path):
        read = read_scores(file).scores
        assert len(read) == 0
        assert read.frame.dtypes.to_dict() == empty.frame.dtypes.to_dict()


def test_a_column_of_which_nothing_is_known_is_not_there() -> None:
    rows = [ScoreRow("a", 1, "t", "m", 0.5), ScoreRow("a", 2, "t", "m", 0.5, chance=0.25)]
    assert list(Scores.from_rows(rows[:1]).frame.columns) == list(COLUMNS)
    both = Scores.from_rows(rows[:1]).with_rows_of(Scores.from_rows(rows[1:]))
    assert list(both.frame.columns) == [*COLUMNS, "chance"]
    assert [row.chance for row in both.rows()][1] == 0.25


def test_rows_of_different_keys_are_no_duplicates() -> None:
    rows = [ScoreRow("a", 1, "t", "m", value, key=key) for value, key in ((0.5, "{}"), (0.25, '{"x": 1}'), (1.0, "{}"))]
    scores = Scores.from_rows(rows)
    assert scores.duplicate_keys() == 1
    assert [(row.key, row.value) for row in scores.mean_of_duplicates().rows()] == [('{"x": 1}', 0.25), ("{}", 0.75)]


def frame(**columns: Any) -> pd.DataFrame:
    good = {"series": ["a", "a"], "step": [1, 2], "task": ["t", "t"], "metric": ["m", "m"], "value": [0.1, 0.2]}
    return pd.DataFrame({name: cells for name, cells in (good | columns).items() if cells is not None})


def test_columns_that_may_be_left_out_are_unknown() -> None:
    (first, _) = Scores.from_frame(frame(), "here").rows()
    assert first.n == 0
    assert all(math.isnan(value) for value in (first.params, first.tokens, first.flops, first.stderr))


def test_an_unknown_number_of_items_is_none() -> None:
    assert [row.n for row in Scores.from_frame(frame(n=[7, math.nan]), "here").rows()] == [7, 0]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"value": None}, "here: column 'value' is missing"),
        ({"valeu": [1, 2]}, "here: unknown column 'valeu'. Did you mean 'value'"),
        ({"value": ["high", "low"]}, "here: could not convert string to float: 'high'"),
        ({"step": [1.5, 2]}, "here: column 'step' holds 1.5, a whole number is expected"),
        ({"step": [1, math.nan]}, "here: .*NA"),
        ({"step": [1, math.inf]}, "here: .*inf"),
        ({"step": [1, 2**70]}, "here: "),
        ({"n": [1.5, 2]}, "here: column 'n' holds 1.5"),
        ({"series": ["a", None]}, "here: column 'series' has empty cells"),
        ({"task": ["t", ""]}, "here: column 'task' has empty cells"),
    ],
)
def test_a_faulty_table_is_a_mistake_that_names_source_and_column(columns: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Scores.from_frame(frame(**columns), "here")


def test_rows_of_one_key_become_their_mean_value() -> None:
    rows = [
        ScoreRow("a", 1, "t", "m", 0.25, n=5),
        ScoreRow("a", 1, "t", "m", 0.75, n=6),
        ScoreRow("a", 2, "t", "m", 1.0),
    ]
    scores = Scores.from_rows(rows)
    assert scores.duplicate_keys() == 1
    assert [(row.step, row.value, row.n) for row in scores.mean_of_duplicates().rows()] == [(1, 0.5, 5), (2, 1.0, 0)]
    assert scores.mean_of_duplicates().mean_of_duplicates().duplicate_keys() == 0


def test_where_takes_one_value_or_many() -> None:
    scores = Scores.from_rows([ScoreRow("a", step, task, "m", 0.0) for step in (1, 2) for task in ("x", "y", "z")])
    assert len(scores.where(task="x")) == 2
    assert len(scores.where(task=["x", "y"], series="a")) == 4
    assert len(scores.where(task="nothing")) == 0


def test_two_tables_in_one_hold_the_rows_of_both() -> None:
    one, two = (Scores.from_rows([ScoreRow(name, 1, "t", "m", 0.0)]) for name in ("b", "a"))
    assert [row.series for row in one.with_rows_of(two).rows()] == ["a", "b"]
    assert plain(one.with_rows_of(Scores.from_rows([]))) == plain(one)
    assert plain(Scores.from_rows([]).with_rows_of(one)) == plain(one)


def test_samples_become_rows_with_the_mean_of_each_metric_and_its_standard_error() -> None:
    loglik_IC = np.log([[0.5, 0.25, 0.125], [0.125, 0.5, np.nan], [0.25, 0.5, 0.125]])
    there_IC, one_IC = ~np.isnan(loglik_IC), np.ones((3, 3), np.int64)
    choices = ItemChoices(loglik_IC, there_IC, one_IC, one_IC, -one_IC, np.array([0, 0, 1]))
    samples = Samples("run", 5, "arc", np.arange(3), choices, there_IC)
    metrics = [
        ItemMetric("gold", "d", lambda one: one.gold_loglik_I),
        ItemMetric("of_three", "d", lambda one: one.gold_loglik_I, min_choices=3),
        ItemMetric("per_token", "d", lambda one: np.where(one.tokens_IC[:, 0] < 0, np.nan, 1.0)),
        ItemMetric("acc", "d", lambda one: np.ones(3)),
        ItemMetric("partly", "d", lambda one: np.array([1.0, np.nan, 1.0])),
    ]
    like = ScoreRow("run", 5, "arc", "", math.nan, 10.0, 20.0, 30.0, n=99)
    gold, partly = scored_samples(samples, metrics, like, reported={"acc"})
    golds = [math.log(0.5), math.log(0.125), math.log(0.5)]
    assert gold == dataclasses.replace(
        like, metric="gold", value=sum(golds) / 3, stderr=np.std(golds, ddof=1) / math.sqrt(3), n=3
    )
    assert partly.metric == "partly"
    assert math.isnan(partly.value)


@pytest.mark.parametrize(
    ("faulty", "said"),
    [
        (ItemMetric("bad", "d", lambda one: [1.0, 2.0]), r"'bad' gave shape \(2,\) for 3 items; .* has no row"),
        (ItemMetric("bad", "d", lambda one: 1.0), r"'bad' gave shape \(\) for 3 items"),
        (ItemMetric("bad", "d", lambda one: one.loglik_IC), r"'bad' gave shape \(3, 2\) for 3 items"),
        (ItemMetric("bad", "d", lambda one: one.nothing), r"'bad' failed \(it raised AttributeError: .*nothing"),
        (ItemMetric("bad", "d", lambda one: ["a", "b", "c"]), r"'bad' failed \(it raised ValueError: "),
    ],
)
def test_a_metric_that_fails_costs_its_own_row_and_is_named(faulty: ItemMetric, said: str) -> None:
    one_IC = np.ones((3, 2), np.int64)
    choices = ItemChoices(-1.0 * one_IC, one_IC > 0, one_IC, one_IC, one_IC, np.array([0, 0, 1]))
    samples = Samples("run", 5, "arc", np.arange(3), choices, one_IC > 0)
    sound = ItemMetric("sound", "d", lambda one: one.gold_loglik_I)
    like = ScoreRow("run", 5, "arc", "", math.nan)
    with pytest.warns(UserWarning, match=f"task 'arc': item metric {said}"):
        rows = scored_samples(samples, [faulty, sound], like)
    assert [(row.metric, row.value, row.n) for row in rows] == [("sound", -1.0, 3)]


def test_a_metric_whose_chance_level_fails_has_none() -> None:
    one_IC = np.ones((3, 2), np.int64)
    choices = ItemChoices(-1.0 * one_IC, one_IC > 0, one_IC, one_IC, one_IC, np.array([0, 0, 1]))
    samples = Samples("run", 5, "arc", np.arange(3), choices, one_IC > 0)
    constant = ItemMetric("constant", "d", lambda one: np.ones(3), chance=lambda counts: 0.25)
    wrong = ItemMetric("wrong", "d", lambda one: np.ones(3), chance=lambda counts: counts[:2])
    with pytest.warns(UserWarning, match="item metric 'wrong' failed .* has no chance level"):
        rows = scored_samples(samples, [constant, wrong], ScoreRow("run", 5, "arc", "", math.nan))
    assert rows[0].chance == 0.25
    assert math.isnan(rows[1].chance)


def test_records_are_plain_json_with_none_for_the_unknown() -> None:
    (record,) = Scores.from_rows([ScoreRow("a", 1, "t", "m", 0.5, n=3)]).records()
    assert record == {
        "series": "a",
        "params": None,
        "step": 1,
        "tokens": None,
        "flops": None,
        "task": "t",
        "metric": "m",
        "value": 0.5,
        "stderr": None,
        "n": 3,
    }


def test_the_csv_is_readable_by_anyone(tmp_path: Path) -> None:
    _, csv = Scores.from_rows([ScoreRow("a", 1, "t", "m", 0.1 + 0.2, n=3)]).write(tmp_path)
    assert csv.read_bytes() == (
        b"series,params,step,tokens,flops,task,metric,value,stderr,n\na,,1,,,t,m,0.30000000000000004,,3\n"
    )
    assert np.isnan(read_scores(csv).scores.frame["params"]).all()
