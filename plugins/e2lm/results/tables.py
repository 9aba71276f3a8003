"""Tables of scores, each of their curves under a name of its own; and any JSON file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from e2lm.errors import UserError, one_line
from e2lm.results.collection import kept_apart
from e2lm.results.result import Notes, Reading
from e2lm.results.table_columns import read_mapped_table
from e2lm.scores import Layout, Scores, ScoreSource


def read_table(path: Path, reading: Reading) -> ScoreSource:
    """The Scores in the table at ``path``, as ``reading`` says."""
    source = read_mapped_table(path, reading.columns)
    if not reading.apart:
        return source
    scores = kept_apart(source.scores, reading, path, notes := Notes())
    return replace(source, scores=scores, notes=(*source.notes, *notes.lines()))


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
