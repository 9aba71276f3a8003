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
from typing import Any

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

    Decimal commas become points where semicolons or tabs stand between cells. A :class:`UserError` for a damaged file,
    for two columns of one name, and for commas that may mean either.
    """
    try:
        frame = _read(path)
    except Exception as error:  # pandas and pyarrow raise many kinds for a damaged file
        raise UserError(f"{path}: cannot be read as {_kind(path)} ({one_line(error)})") from error
    frame.columns = [str(column).strip() for column in frame.columns]
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise UserError(f"{path}: two columns are called {twice[0]!r}; rename one")
    return _with_points(frame, path) if _kind(path) in ("csv", "tsv") else frame


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


def _of_records(data: Any) -> pd.DataFrame:
    """The table that ``data`` is, or has in it as its one list of objects, as ``trainer_state.json`` its history."""
    lists = [one for one in data.values() if _is_table(one)] if isinstance(data, dict) else []
    found = lists[0] if len(lists) == 1 else data
    if not _is_table(found) and found != []:
        raise ValueError("a table of JSON is a list of objects, or an object with one such list")
    return pd.DataFrame(found)


def _is_table(data: object) -> bool:
    return isinstance(data, list) and bool(data) and all(isinstance(one, dict) for one in data)


# -- decimal commas -----------------------------------------------------------------------------------------------


def _with_points(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """``frame`` with decimal points; a :class:`UserError` for ``1,234`` where nothing tells what its comma is."""
    if (separator := _separator(path)) == ",":
        return frame
    columns = {name: cells for name in frame if (cells := _numbers_with_commas(frame[name]))}
    sure = next((cell for cells in columns.values() for cell in cells if not _THOUSANDS.fullmatch(cell)), None)
    if sure is None:
        unsure = [(name, cell) for name, cells in columns.items() for cell in cells if cell.count(",") == 1]
        if unsure and separator == ";" and all(cell.count(",") == 1 for cells in columns.values() for cell in cells):
            name, cell = unsure[0]
            raise UserError(
                f"{path}: column {name!r}: {cell!r} may be {cell.replace(',', '')} or {cell.replace(',', '.')}; "
                "write numbers with points, and without commas in between"
            )
        return frame
    for name in frame:
        for cell in frame[name].str.strip():
            if (_POINT.fullmatch(cell)) or (name in columns and cell.count(",") > 1):
                raise UserError(
                    f"{path}: {sure!r} has a decimal comma, and column {name!r} has {cell!r}; write all numbers with "
                    "decimal points"
                )
    return frame.assign(**{str(name): frame[name].str.replace(",", ".") for name in columns})


#: A number with a decimal comma; one whose commas may set off thousands; one with a decimal point.
_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+(?:[eE][+-]?[0-9]+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+")
_POINT = re.compile(r"[+-]?[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?")


def _numbers_with_commas(column: pd.Series) -> list[str]:
    """The cells with commas of a column of numbers; none of a column in which anything is no number."""
    found = []
    for cell in column.str.strip():
        if _COMMA.fullmatch(cell) or _THOUSANDS.fullmatch(cell):
            found.append(cell)
        elif cell.lower() not in NO_NUMBER and not _is_float(cell):
            return []
    return found


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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
