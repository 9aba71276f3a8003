"""A CSV of scores with columns of its own: which of them are series, step, task, metric and value.

``--columns series=model+shots task=task metric=metric value=value`` says so; ``+`` joins columns with ``/``. Without
it the columns of a Scores table are taken as they are, and these names are understood where theirs is missing:
``model`` or ``run`` for series, ``iteration`` or ``global_step`` for step, ``benchmark`` for task, ``score`` for
value. Columns that tell rows of one series apart (``suite``, ``shots``, ``num_fewshot``) become part of its name. A
wide table, with one column per metric, is unfolded: its first number column after the known ones is the value and
names the metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from e2lm import Scores, UserError
from e2lm.errors import nearest_names, one_line
from e2lm.results import ScoreSource
from e2lm.scores import ALL_COLUMNS, COLUMNS

#: Column of a Scores table -> other names it goes by, best first.
ALIASES = {
    "series": ("model", "run", "model_name", "experiment"),
    "step": ("iteration", "global_step", "training_step"),
    "tokens": ("training_tokens", "tokens_seen"),
    "task": ("benchmark", "dataset"),
    "value": ("score",),
    "n": ("n_items", "n_samples"),
}
#: Columns that split a series, most general first; they come before its name.
SPLITTING = ("suite",)
SPLITTING_AFTER = ("shots", "num_fewshot", "n_shot")


def read_mapped_table(path: Path, columns: Sequence[str] = ()) -> ScoreSource:
    """The Scores in a CSV; notes say how its columns were read and what became of repeated rows."""
    try:
        frame = pd.read_csv(path)
    except Exception as error:  # pandas raises many kinds for a damaged file
        raise UserError(f"{path}: cannot be read as csv ({one_line(error)})") from error
    mapping = _parsed(columns, frame, path) if columns else _recognised(frame)
    notes = []
    if mapping:
        told = ", ".join(f"{name} = {' / '.join(parts)}" for name, parts in mapping.items() if [name] != parts)
        if told:
            notes.append(f"{path}: columns read as {told}")
        frame, wide = _mapped(frame, mapping)
        notes += wide
    scores = Scores.from_frame(frame, str(path))
    repeated = scores.duplicate_keys()
    if repeated:
        scores, note = _merged(scores, path)
        notes.append(note)
    return ScoreSource(scores, "table", tuple(notes))


def _parsed(texts: Sequence[str], frame: pd.DataFrame, path: Path) -> dict[str, list[str]]:
    mapping = {}
    for text in texts:
        name, equals, columns = text.partition("=")
        if not equals or name not in COLUMNS:
            raise UserError(f"--columns: {text!r} is not NAME=COLUMN. {nearest_names(name, COLUMNS)}")
        mapping[name] = columns.split("+")
        for column in mapping[name]:
            if column not in frame.columns:
                raise UserError(f"--columns: {path} has no column {column!r}. {nearest_names(column, frame.columns)}")
    for name in COLUMNS:
        if name not in mapping and name in frame.columns:
            mapping[name] = [name]
    return mapping


def _recognised(frame: pd.DataFrame) -> dict[str, list[str]]:
    """An empty mapping if the table is a Scores table as it is."""
    if set(frame.columns) <= set(ALL_COLUMNS):
        return {}
    mapping: dict[str, list[str]] = {}
    for name in COLUMNS:
        known = [column for column in (name, *ALIASES.get(name, ())) if column in frame.columns]
        if known:
            mapping[name] = [known[0]]
    if "series" in mapping:
        before = [column for column in SPLITTING if column in frame.columns]
        after = [column for column in SPLITTING_AFTER if column in frame.columns]
        mapping["series"] = [*before, *mapping["series"], *after]
    return mapping


def _mapped(frame: pd.DataFrame, mapping: dict[str, list[str]]) -> tuple[pd.DataFrame, list[str]]:
    used = {column for parts in mapping.values() for column in parts}
    named = {name: _joined(frame, parts) for name, parts in mapping.items()}
    notes = []
    if "metric" not in named or "value" not in named:
        numbers = [c for c in frame.columns if c not in used and pd.api.types.is_numeric_dtype(frame[c])]
        if numbers and "value" not in named:
            named["value"], used = frame[numbers[0]], used | {numbers[0]}
            notes.append(f"column {numbers[0]!r} is taken as the value")
            named.setdefault("metric", pd.Series(str(numbers[0]), index=frame.index))
        elif "value" in named:
            named.setdefault("metric", pd.Series(str(mapping["value"][0]), index=frame.index))
    ignored = [str(column) for column in frame.columns if column not in used]
    if ignored:
        notes.append(f"columns left out: {', '.join(ignored)}")
    return pd.DataFrame(named), notes


def _joined(frame: pd.DataFrame, parts: Sequence[str]) -> pd.Series:
    """One column as it is; several as text with ``/`` between."""
    if len(parts) == 1:
        return frame[parts[0]]
    joined = frame[parts[0]].astype("str")
    for part in parts[1:]:
        joined = joined + "/" + frame[part].astype("str")
    return joined


def _merged(scores: Scores, path: Path) -> tuple[Scores, str]:
    """One row per key by the mean of repeated values, and how far they disagreed."""
    key = ["series", "task", "metric", "step"]
    spread = scores.frame.groupby(key)["value"].agg(["size", "min", "max"])
    repeated = spread[spread["size"] > 1]
    differing = int((repeated["min"] != repeated["max"]).sum())
    note = (
        f"{path}: {len(repeated)} keys (series, task, metric, step) have {int(repeated['size'].sum())} rows; "
        f"{len(repeated) - differing} agree exactly, {differing} differ (by up to "
        f"{float((repeated['max'] - repeated['min']).max()):.3g}); the mean of each key is used"
    )
    return scores.mean_of_duplicates(), note
