"""Samples come back from Parquet as they were written, and a file that is none is a mistake that names it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2lm import Samples, UserError
from e2lm.item_metric import ItemChoices
from e2lm.samples import SCHEMA, read_samples

TEXT = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=10)
LENGTHS = st.integers(-1, 2**31 - 1)


@st.composite
def samples(draw: st.DrawFn) -> Samples:
    counts = draw(st.lists(st.integers(1, 5), min_size=1, max_size=6))
    doc_ids = sorted(draw(st.sets(st.integers(0, 2**62), min_size=len(counts), max_size=len(counts))))
    shape = (len(counts), max(counts))
    there_IC = np.arange(shape[1])[None, :] < np.array(counts)[:, None]

    def grid(values: st.SearchStrategy[Any], empty: float, kind: type) -> Any:
        filled = np.full(shape, empty, dtype=kind)
        size = int(there_IC.sum())
        filled[there_IC] = np.array(draw(st.lists(values, min_size=size, max_size=size)), dtype=kind)
        return filled

    golds = [draw(st.sets(st.integers(0, count - 1), max_size=3)) for count in counts]

    return Samples(
        series=draw(TEXT),
        step=draw(st.integers(0, 2**62)),
        task=draw(TEXT),
        doc_ids_I=np.array(doc_ids, dtype=np.int64),
        choices=ItemChoices(
            loglik_IC=grid(st.floats(allow_nan=False, allow_infinity=False), np.nan, np.float64),
            there_IC=there_IC,
            bytes_IC=grid(LENGTHS, -1, np.int64),
            chars_IC=grid(LENGTHS, -1, np.int64),
            tokens_IC=grid(LENGTHS, -1, np.int64),
            gold_I=np.array([min(own, default=-1) for own in golds]),
            gold_IC=np.array([[choice in own for choice in range(shape[1])] for own in golds]),
        ),
        greedy_IC=grid(st.booleans(), False, np.bool_),
    )


def assert_same(left: Samples, right: Samples) -> None:
    assert (left.series, left.step, left.task) == (right.series, right.step, right.task)
    np.testing.assert_array_equal(left.doc_ids_I, right.doc_ids_I)
    np.testing.assert_array_equal(left.greedy_IC, right.greedy_IC)
    for column in ("loglik_IC", "there_IC", "bytes_IC", "chars_IC", "tokens_IC", "gold_I", "gold_IC"):
        np.testing.assert_array_equal(getattr(left.choices, column), getattr(right.choices, column))


def sample(series: str = "run", step: int = 1, task: str = "arc") -> Samples:
    ones_IC = np.ones((2, 2), dtype=np.int64)
    return Samples(
        series=series,
        step=step,
        task=task,
        doc_ids_I=np.array([0, 1]),
        choices=ItemChoices(-ones_IC.astype(float), ones_IC > 0, ones_IC, ones_IC, ones_IC, np.array([0, 1])),
        greedy_IC=ones_IC > 0,
    )


@given(samples())
def test_samples_come_back_from_parquet_to_the_last_bit(written: Samples) -> None:
    with TemporaryDirectory() as name:
        file = Path(name) / "samples.parquet"
        written.write(file)
        (read,) = read_samples(file)
    assert_same(read, written)
    assert len(read) == len(written)


@given(samples(), st.randoms())
def test_the_order_of_rows_does_not_matter(written: Samples, random: Any) -> None:
    table = written.table()
    order = list(range(len(table)))
    random.shuffle(order)
    assert_same(Samples.from_table(table.take(order)), written)


def test_the_same_samples_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        sample().write(tmp_path / name / "samples.parquet")
    assert (tmp_path / "a/samples.parquet").read_bytes() == (tmp_path / "b/samples.parquet").read_bytes()


def test_a_folder_is_read_whole_by_series_task_and_step_and_without_litter(tmp_path: Path) -> None:
    for series, step, task in (("b", 1, "arc"), ("a", 20, "arc"), ("a", 3, "arc"), ("a", 3, "aaa")):
        sample(series, step, task).write(tmp_path / series / task / f"checkpoint-{step}.parquet")
    (tmp_path / ".partial-0011-checkpoint-9.parquet").write_bytes(b"half")
    (tmp_path / ".partial-0022-folder").mkdir()
    (tmp_path / ".partial-0022-folder" / "checkpoint-9.parquet").write_bytes(b"half")
    found = [(one.series, one.task, one.step) for one in read_samples(tmp_path)]
    assert found == [("a", "aaa", 3), ("a", "arc", 3), ("a", "arc", 20), ("b", "arc", 1)]


def test_the_folder_of_an_evaluation_stands_for_the_samples_in_it(tmp_path: Path) -> None:
    sample("samples").write(tmp_path / "samples" / "samples" / "arc" / "checkpoint-1.parquet")
    (tmp_path / "scores.parquet").write_bytes(b"no Samples")
    (found,) = read_samples(tmp_path)
    assert_same(found, read_samples(tmp_path / "samples")[0])


def test_one_file_may_hold_many_series(tmp_path: Path) -> None:
    tables = [sample("a", step, task).table() for step in (2, 1) for task in ("x", "y")]
    pq.write_table(pa.concat_tables(tables), tmp_path / "all.parquet")
    found = read_samples(tmp_path / "all.parquet")
    assert [(one.task, one.step) for one in found] == [("x", 1), ("x", 2), ("y", 1), ("y", 2)]
    assert_same(found[0], sample("a", 1, "x"))


def test_no_samples_at_all_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no Samples there"):
        read_samples(tmp_path)
    with pytest.raises(UserError, match="no Samples there"):
        read_samples(tmp_path / "nowhere.parquet")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 10, b"series,step\n"])
def test_a_damaged_file_is_a_mistake_that_names_it(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "samples.parquet"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"samples\.parquet: not a Samples file"):
        read_samples(file)


def changed(**columns: list[Any]) -> pa.Table:
    data = sample().table().to_pydict() | columns
    return pa.table(data, schema=SCHEMA)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (changed().drop_columns(["loglik"]), "column 'loglik' is missing or has gaps"),
        (changed(doc_id=[0, 0, 1, None]), "column 'doc_id' is missing or has gaps"),
        (changed(choice=[0, 0, 0, 1]), "doc_id 0: choices must be numbered from 0, each once"),
        (changed(loglik=[-1.0, -1.0, float("nan"), -1.0]), r"log-likelihood of nan \(item 1, choice 0\)"),
        (changed(loglik=[-1.0, float("-inf"), -1.0, -1.0]), r"log-likelihood of -inf \(item 0, choice 1\)"),
        (changed(choice=[-1, 0, 0, 1]), "doc_id 0: choices must be numbered from 0, each once"),
    ],
)
def test_a_table_that_is_no_samples_is_a_mistake(tmp_path: Path, table: pa.Table, said: str) -> None:
    pq.write_table(table, tmp_path / "samples.parquet")
    with pytest.raises(UserError, match=said) as caught:
        read_samples(tmp_path / "samples.parquet")
    assert "samples.parquet: " in str(caught.value)


def test_an_empty_table_holds_no_samples(tmp_path: Path) -> None:
    pq.write_table(SCHEMA.empty_table(), tmp_path / "samples.parquet")
    assert read_samples(tmp_path / "samples.parquet") == []
