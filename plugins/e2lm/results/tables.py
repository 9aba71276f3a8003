"""Tables of scores: Parquet and CSV; and any JSON file."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from e2lm.errors import UserError, one_line
from e2lm.scores import ALL_COLUMNS, Layout, Scores, ScoreSource


def read_table(path: Path, kind: Literal["parquet", "csv"]) -> ScoreSource:
    """The table at ``path``; a :class:`UserError` names what is damaged."""
    try:
        frame = pd.read_parquet(path) if kind == "parquet" else _read_csv(path)
    except Exception as error:  # pandas and pyarrow raise many kinds for a damaged file
        raise UserError(f"{path}: cannot be read as {kind} ({one_line(error)})") from error
    return without_duplicates(Scores.from_frame(frame, str(path)), "table", path)


def _read_csv(path: Path) -> pd.DataFrame:
    """Text stays as it is written (``007``, ``None``), and every float comes back to the last bit."""
    with warnings.catch_warnings():
        # Rows longer than the header would be shifted, or cut with no more than a warning.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False, encoding="utf-8-sig")
    numbers = [column for column, kind in ALL_COLUMNS.items() if kind != "str" and column in frame]
    return frame.assign(**{column: [_csv_number(text, column) for text in frame[column]] for column in numbers})


def _csv_number(text: str, column: str) -> int | float:
    if text.strip().lower() in ("", "na", "n/a", "none", "null"):
        return math.nan
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"column {column!r}: {text[:80]!r} is no number") from None


def without_duplicates(scores: Scores, layout: Layout, path: Path, notes: Sequence[str] = ()) -> ScoreSource:
    """One row per key, and a note where there were more, after ``notes``."""
    count = scores.duplicate_keys()
    if not count:
        return ScoreSource(scores, layout, tuple(notes))
    note = f"{path}: {count} rows repeat a series, task, metric and step; their mean is used"
    return ScoreSource(scores.mean_of_duplicates(), layout, (*notes, note))


def loaded_json(path: Path) -> Any:
    """What the JSON file holds; a :class:`UserError` where it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({one_line(error)})") from error
