"""A table as a file: CSV, TSV, Parquet or JSON lines as the text in it, and what ``--columns`` names in it.

One grammar for all that reads tables: ``NAME=COLUMN``; ``NAME=COLUMN+COLUMN`` names several, ``NAME='text'`` is the
same in every row, ``skip=COLUMN+COLUMN`` leaves out.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from e2lm.errors import UserError, nearest_names, one_line

TABLES = (".csv", ".csv.gz", ".tsv", ".parquet", ".jsonl", ".ndjson")
#: How people write that there is no number.
NO_NUMBER = ("", "na", "n/a", "none", "null", "<na>", "nan")
SKIP = "skip"
Mapping = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class NamedColumns:
    """What ``--columns`` say: columns by name, what is the same in every row, and columns that are left out."""

    mapping: Mapping
    constants: dict[str, str]
    skipped: list[str]

    def cells(self, frame: pd.DataFrame) -> dict[str, pd.Series]:
        """The cells of every name: a column as it is, several as text with ``/`` between, a constant in every row."""
        named = {name: joined_columns(frame, parts) for name, parts in self.mapping.items()}
        return named | {name: pd.Series(told, index=frame.index) for name, told in self.constants.items()}


def joined_columns(frame: pd.DataFrame, parts: Sequence[str]) -> pd.Series:
    """One column as it is; several as text with ``/`` between."""
    if len(parts) == 1:
        return frame[parts[0]]
    joined = frame[parts[0]].astype("str")
    for part in parts[1:]:
        joined = joined + "/" + frame[part].astype("str")
    return joined


def is_table(path: Path) -> bool:
    """Whether a file of this name is a table, whose columns may be named."""
    return path.name.lower().endswith(TABLES)


def read_frame(path: Path) -> pd.DataFrame:
    """The table at ``path`` by its ending, CSV as text (``007``, ``None``); separators are found out, names stripped.

    A :class:`UserError` for a damaged file, and for two columns of one name.
    """
    try:
        frame = _read(path)
    except Exception as error:  # pandas and pyarrow raise many kinds for a damaged file
        raise UserError(f"{path}: cannot be read as {_kind(path)} ({one_line(error)})") from error
    frame.columns = [str(column).strip() for column in frame.columns]
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise UserError(f"{path}: two columns are called {twice[0]!r}; rename one")
    return frame


def _kind(path: Path) -> str:
    name = path.name.lower()
    return next((one.split(".")[1] for one in (*TABLES, ".json") if name.endswith(one)), "csv")


def _read(path: Path) -> pd.DataFrame:
    kind = _kind(path)
    if kind == "parquet":
        return pd.read_parquet(path)
    if kind in ("jsonl", "ndjson"):
        lines = path.read_text(encoding="utf-8").split("\n")
        return pd.DataFrame([json.loads(line) for line in lines if line.strip()])
    if kind == "json":
        return _of_records(json.loads(path.read_text(encoding="utf-8")))
    with warnings.catch_warnings():
        # Rows longer than the header would be shifted, or cut with no more than a warning.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return pd.read_csv(
            path, sep=_separator(path), dtype=str, keep_default_na=False, index_col=False, encoding="utf-8-sig"
        )


def _of_records(data: object) -> pd.DataFrame:
    if not isinstance(data, list) or not all(isinstance(one, dict) for one in data):
        raise ValueError("a table of JSON is a list of objects")
    return pd.DataFrame(data)


def _separator(path: Path) -> str:
    if path.name.endswith(".gz"):
        with gzip.open(path, "rt", encoding="utf-8-sig") as lines:
            first = lines.readline()
    else:
        with path.open(encoding="utf-8-sig") as lines:
            first = lines.readline()
    counts = {one: len(next(csv.reader([first], delimiter=one), [])) for one in ",;\t"}
    return max(counts, key=lambda one: counts[one])


def named_columns(texts: Sequence[str], names: Collection[str], frame: pd.DataFrame, path: Path) -> NamedColumns:
    """What ``texts`` (``NAME=COLUMN``) name in the table at ``path``; :class:`UserError` for what is not there.

    >>> frame = pd.DataFrame({"a": [1], "b": [2]})
    >>> named_columns(["series=a+b", "task='arc'"], ["series", "task"], frame, Path("t.csv"))
    NamedColumns(mapping={'series': ['a', 'b']}, constants={'task': 'arc'}, skipped=[])
    >>> named_columns(["series=a,step=b"], ["series", "step"], frame, Path("t.csv")).mapping
    {'series': ['a'], 'step': ['b']}
    """
    found = NamedColumns({}, {}, [])
    known = "|".join(map(re.escape, (*names, SKIP)))
    for text in (part for one in texts for part in re.split(rf", *(?=(?:{known})=)", one)):
        name, equals, told = text.partition("=")
        if not equals or name not in (*names, SKIP):
            raise UserError(f"--columns: {text!r} is not NAME=COLUMN. {nearest_names(name, (*names, SKIP))}")
        if len(told) > 1 and told[0] == told[-1] and told[0] in "'\"":
            found.constants[name] = told[1:-1]
            continue
        parts = [told] if told in frame.columns else told.split("+")
        for column in parts:
            if column not in frame.columns:
                raise UserError(
                    f"--columns: {path} has no column {column!r}. {nearest_names(column, frame.columns)} "
                    f"(a constant is {name}='{told}', with its quotes)"
                )
        if name == SKIP:
            found.skipped.extend(parts)
        else:
            found.mapping[name] = parts
    return found


def number_in(cell: object, name: str, path: Path) -> int | float:
    """The number in a cell of column ``name`` to the last bit, NaN for none; a :class:`UserError` for other text."""
    text = "" if cell is None else str(cell).strip()
    if text.lower() in NO_NUMBER:
        return float("nan")
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            raise UserError(
                f"{path}: column {name!r}: {text[:80]!r} is no number; --columns {name}=COLUMN names another"
            ) from None
