"""Samples: what a model said of every choice of every item, NaN and infinity refused; every metric comes from them.

Shape suffixes: I items, C choices (padded with NaN or -1 up to the item with most choices).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from numpy.typing import NDArray

from e2lm.atomic_file import is_partial, whole_file
from e2lm.errors import UserError, one_line
from e2lm.item_metric import ItemChoices

#: Where ``e2lm eval`` puts Samples inside its output folder.
SAMPLES_FOLDER = "samples"

#: One row per choice. Lengths are of the choice without the leading delimiter; -1 where unknown. ``gold`` is true for
#: every right choice of an item, and for none where its label is none of them.
SCHEMA = pa.schema(
    [
        ("series", pa.string()),
        ("step", pa.int64()),
        ("task", pa.string()),
        ("doc_id", pa.int64()),
        ("choice", pa.int32()),
        ("loglik", pa.float64()),
        ("greedy", pa.bool_()),
        ("bytes", pa.int32()),
        ("chars", pa.int32()),
        ("tokens", pa.int32()),
        ("gold", pa.bool_()),
    ]
)


@dataclass(frozen=True, slots=True)
class Samples:
    """Log-likelihoods of one checkpoint on one task, all of them finite: :class:`ItemChoices` refuses others."""

    series: str
    step: int
    task: str
    doc_ids_I: NDArray[np.int64]
    choices: ItemChoices
    greedy_IC: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.doc_ids_I)

    def table(self) -> pa.Table:
        """One row per choice, in order of items and choices."""
        choices = self.choices
        items_R, columns_R = np.nonzero(choices.there_IC)
        count = len(items_R)
        return pa.table(
            {
                "series": pa.array([self.series] * count, pa.string()),
                "step": pa.array(np.full(count, self.step), pa.int64()),
                "task": pa.array([self.task] * count, pa.string()),
                "doc_id": pa.array(self.doc_ids_I[items_R], pa.int64()),
                "choice": pa.array(columns_R, pa.int32()),
                "loglik": pa.array(choices.loglik_IC[items_R, columns_R], pa.float64()),
                "greedy": pa.array(self.greedy_IC[items_R, columns_R], pa.bool_()),
                "bytes": pa.array(choices.bytes_IC[items_R, columns_R], pa.int32()),
                "chars": pa.array(choices.chars_IC[items_R, columns_R], pa.int32()),
                "tokens": pa.array(choices.tokens_IC[items_R, columns_R], pa.int32()),
                "gold": pa.array(choices.gold_IC[items_R, columns_R], pa.bool_()),
            },
            schema=SCHEMA,
        )

    def write(self, path: Path) -> None:
        """Write as Parquet, whole or not at all."""
        with whole_file(path) as partial:
            pq.write_table(self.table(), partial, compression="zstd")

    @classmethod
    def from_table(cls, table: pa.Table, known: dict[bytes, Any] | None = None) -> Samples:
        """The samples in a table of one series, step and task, rows in any order.

        ``known``: arrays of other samples by their content; what is the same here, as lengths and labels of the same
        items are, is theirs, and is put there else.
        """
        if not _in_order(table):
            table = table.sort_by([("doc_id", "ascending"), ("choice", "ascending")])
        doc_R = table["doc_id"].to_numpy()
        choice_R = table["choice"].to_numpy()
        doc_ids_I, item_R = np.unique(doc_R, return_inverse=True)
        shape = (len(doc_ids_I), int(choice_R.max(initial=-1)) + 1)

        def spread(column: str, empty: float, kind: type, shared: bool = True) -> Any:
            grid: Any = np.full(shape, empty, dtype=kind)
            grid[item_R, choice_R] = table[column].to_numpy(zero_copy_only=False)
            return same(grid) if shared else grid

        def same(array: Any) -> Any:
            if known is None:
                return array
            return known.setdefault(f"{array.dtype}{array.shape}".encode() + array.tobytes(), array)

        gold_IC = spread("gold", False, np.bool_)
        choices = ItemChoices(
            loglik_IC=spread("loglik", np.nan, np.float64, shared=False),
            there_IC=same(_there(shape, item_R, choice_R)),
            bytes_IC=spread("bytes", -1, np.int64),
            chars_IC=spread("chars", -1, np.int64),
            tokens_IC=spread("tokens", -1, np.int64),
            gold_I=np.where(gold_IC.any(axis=1), gold_IC.argmax(axis=1), -1) if gold_IC.size else np.zeros(0, np.int64),
            gold_IC=gold_IC,
        )
        return cls(
            series=str(table["series"][0]),
            step=int(table["step"][0].as_py()),
            task=str(table["task"][0]),
            doc_ids_I=same(doc_ids_I),
            choices=choices,
            greedy_IC=spread("greedy", False, np.bool_, shared=False),
        )


def _there(shape: tuple[int, int], item_R: NDArray[np.int64], choice_R: NDArray[np.int64]) -> NDArray[np.bool_]:
    there_IC = np.zeros(shape, dtype=np.bool_)
    there_IC[item_R, choice_R] = True
    return there_IC


def _in_order(table: pa.Table) -> bool:
    """Whether rows are in order of items and choices, no choice twice, as ``write`` leaves those of one checkpoint."""
    if table["doc_id"].null_count or table["choice"].null_count:
        return False
    doc_R, choice_R = table["doc_id"].to_numpy(), table["choice"].to_numpy()
    next_item_R = doc_R[1:] > doc_R[:-1]
    next_choice_R = (doc_R[1:] == doc_R[:-1]) & (choice_R[1:] > choice_R[:-1])
    return bool((next_item_R | next_choice_R).all())


def _check(table: pa.Table, file: Path) -> None:
    for name in SCHEMA.names:
        if table[name].null_count:  # a column that is missing in the file is read as nulls
            raise UserError(f"{file}: not a Samples file (column {name!r} is missing or has gaps)")
    if not len(table) or (_in_order(table) and pa.compute.min(table["choice"]).as_py() >= 0):
        return
    items = table.group_by(["series", "task", "step", "doc_id"]).aggregate(
        [("choice", "min"), ("choice", "count"), ("choice", "count_distinct")]
    )
    twice = pa.compute.not_equal(items["choice_count"], items["choice_count_distinct"])
    wrong = items.filter(pa.compute.or_(pa.compute.less(items["choice_min"], 0), twice))
    for row in wrong.slice(0, 1).to_pylist():
        where = f"{file}: task {row['task']!r}, doc_id {row['doc_id']}"
        raise UserError(f"{where}: choices must be numbered from 0, each once")


def _keys(table: pa.Table) -> list[dict[str, Any]]:
    """Every series, task and step in ``table``."""
    names = ["series", "task", "step"]
    single = {name: table[name].unique().to_pylist() for name in names}
    if all(len(values) == 1 for values in single.values()):
        return [{name: values[0] for name, values in single.items()}]
    found: list[dict[str, Any]] = table.group_by(names).aggregate([]).to_pylist()
    return found


def _of_key(table: pa.Table, key: dict[str, Any]) -> pa.Table:
    equal = [pa.compute.equal(table[name], value) for name, value in key.items()]
    return table.filter(reduce(pa.compute.and_, equal))


def _table_of(file: Path) -> pa.Table:
    """Without threads where the file is as ``write`` leaves it: over thousands of small files they only wait."""
    with pq.ParquetFile(file, pre_buffer=False) as stored:
        if stored.schema_arrow.equals(SCHEMA):
            return stored.read(use_threads=False)
    return pq.read_table(file, schema=SCHEMA)


def read_samples(path: Path) -> list[Samples]:
    """All samples in a Parquet file, or in every ``*.parquet`` below a folder, by series, task and step.

    In the folder that ``e2lm eval`` wrote they are those of its ``samples``.
    """
    files = [path]
    if path.is_dir():
        folder = path / SAMPLES_FOLDER if (path / "scores.parquet").is_file() else path
        files = sorted(file for file in folder.rglob("*.parquet") if not is_partial(file.relative_to(folder)))
    if not files or not path.exists():
        raise UserError(f"{path}: no Samples there; expected Parquet files written by 'e2lm eval'")
    found: list[Samples] = []
    known: dict[bytes, Any] = {}
    for file in files:
        try:
            table = _table_of(file)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
            raise UserError(f"{file}: not a Samples file ({one_line(error)})") from error
        _check(table, file)
        keys = _keys(table)
        for key in keys:
            try:
                found.append(Samples.from_table(_of_key(table, key) if len(keys) > 1 else table, known))
            except UserError as error:
                raise type(error)(f"{file}: task {key['task']!r}: {error}") from error
    return sorted(found, key=lambda samples: (samples.series, samples.task, samples.step))
