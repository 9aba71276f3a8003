"""The work behind ``e2lm signal versus A B``."""

from __future__ import annotations

import csv
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from e2lm import ItemMetric, Samples, UserError
from e2lm.answer import Answer
from e2lm.arrays import Values
from e2lm.errors import nearest_names, one_line
from e2lm.plugin_manager import plugin_manager
from e2lm.results import read_scores
from e2lm.results.direction import Directions
from e2lm_signal.cli.input import reading_of
from e2lm_signal.cli.text_table import text_table
from e2lm_signal.item_table import SampleIndex
from e2lm_signal.versus import PairedDifference, paired, unpaired

Key = tuple[str, str]
Groups = Mapping[tuple[str, int], str]


@dataclass(frozen=True, slots=True)
class Side:
    """One checkpoint: its name, its scores by task and metric (value, standard error), its Samples by task."""

    name: str
    scores: dict[Key, tuple[float, float]]
    samples: dict[str, Samples]
    notes: tuple[str, ...]
    ways: Directions


@dataclass(frozen=True, slots=True)
class VersusRow:
    """One task x metric."""

    task: str
    metric: str
    first: float
    second: float
    difference: PairedDifference
    higher_is_better: bool | None


def run_versus(arguments: Namespace) -> Answer:
    """The difference of every task x metric that both have."""
    metrics = {one.name: one for one in plugin_manager().all("e2lm_register_metrics", ItemMetric, "item metric")}
    first, second = (side_of(text, arguments, tuple(metrics.values())) for text in (arguments.first, arguments.second))
    groups = {} if arguments.groups is None else read_groups(Path(arguments.groups))
    notes = [*first.notes, *second.notes, f"{second.name} minus {first.name}"]
    keys = [key for key in sorted(set(first.scores) & set(second.scores)) if _is_wanted(key, arguments)]
    found = [_row(key, first, second, metrics.get(key[1].partition(",")[0]), groups, notes) for key in keys]
    rows = [row for row in found if row is not None]
    if not rows:
        raise UserError(
            f"{arguments.first} and {arguments.second} share no task x metric with items or standard errors"
        )
    notes.append("p, two-sided: how often no difference would look as large; 90 % intervals; least: what 80 of 100 "
                 "repetitions would show at p < .05")  # fmt: skip
    if len(rows) > 1:
        notes.append(f"{len(rows)} differences were tested: by chance alone about {0.05 * len(rows):.3g} reach p < .05")
    differences = {"differences": [_as_json(row) for row in rows]}
    return Answer(differences, lambda: "\n".join(_table(rows)), tuple(notes), rows="differences")


def _is_wanted(key: Key, arguments: Namespace) -> bool:
    wanted = (arguments.tasks, arguments.metrics)
    return all(
        not names or any(fnmatchcase(one, name) for name in names) for one, names in zip(key, wanted, strict=True)
    )


def side_of(text: str, arguments: Namespace, metrics: Sequence[ItemMetric]) -> Side:
    """``PATH``, ``PATH@SERIES`` or ``PATH@SERIES@STEP``; the last step where none is said."""
    path, series, step = _parts(text)
    source = read_scores(path, reading_of(arguments))
    frame = source.scores.frame
    names = sorted(frame["series"].unique())
    if series and series not in names:
        raise UserError(f"{text}: no series {series!r}. {nearest_names(series, names)}")
    if not series and len(names) > 1:
        raise UserError(f"{text}: holds {len(names)} series; say which one, as {path}@{names[0]}")
    chosen = series or names[0]
    frame = frame[frame["series"] == chosen]
    at = int(frame["step"].max()) if step is None else step
    if at not in set(frame["step"]):
        raise UserError(f"{text}: no step {at} of {chosen!r}; the last is {int(frame['step'].max())}")
    index = SampleIndex.beside(path, source)
    found = {} if index is None else index.by_key
    samples = {key[1]: one for key, one in found.items() if (key[0], key[2]) == (chosen, at)}
    ways = Directions(source.directions, metrics)
    return Side(f"{path} ({chosen} at step {at})", _scores_at(frame, at), samples, tuple(source.notes), ways)


def _parts(text: str) -> tuple[Path, str, int | None]:
    if Path(text).exists():
        return Path(text), "", None
    path, _, rest = text.partition("@")
    series, _, step = rest.partition("@")
    if step and not step.isdecimal():
        raise UserError(f"{text}: the step {step!r} is no number; PATH, PATH@SERIES or PATH@SERIES@STEP is expected")
    return Path(path), series, int(step) if step else None


def _scores_at(frame: pd.DataFrame, step: int) -> dict[Key, tuple[float, float]]:
    rows = frame[frame["step"] == step]
    keys = zip(rows["task"], rows["metric"], strict=True)
    return dict(zip(keys, zip(rows["value"].astype(float), rows["stderr"].astype(float), strict=True), strict=True))


def _row(
    key: Key, first: Side, second: Side, metric: ItemMetric | None, groups: Groups, notes: list[str]
) -> VersusRow | None:
    """The paired difference where both have items, else that of values with standard errors, else None with a note."""
    task, name = key
    better = second.ways.known(task, name)
    one, two = first.samples.get(task), second.samples.get(task)
    if metric is not None and one is not None and two is not None:
        first_I, second_I, doc_ids_I, left_out = common_items(one, two, metric)
        if left_out:
            notes.append(f"{task} {name}: {left_out} items without a value on both sides are left out")
        if len(first_I) > 1:
            group_I = _groups_of(task, doc_ids_I, groups)
            found = paired(first_I, second_I, group_I)
            return VersusRow(task, name, float(first_I.mean()), float(second_I.mean()), found, better)
    (first_value, first_error), (second_value, second_error) = first.scores[key], second.scores[key]
    if not np.isfinite([first_value, second_value, first_error, second_error]).all():
        notes.append(f"{task} {name}: left out, neither the items nor the standard errors of both are known")
        return None
    notes.append(f"{task} {name}: not paired, as the items of both are not known; the error is overstated")
    found = unpaired((first_value, first_error), (second_value, second_error))
    return VersusRow(task, name, first_value, second_value, found, better)


def common_items(one: Samples, two: Samples, metric: ItemMetric) -> tuple[Values, Values, NDArray[np.int64], int]:
    """Values of both on the items that both have a value of, their ids, and how many items were left out."""
    ids_I, first_at_I, second_at_I = np.intersect1d(one.doc_ids_I, two.doc_ids_I, return_indices=True)
    first_I, second_I = metric.values(one.choices)[first_at_I], metric.values(two.choices)[second_at_I]
    known_I = np.isfinite(first_I) & np.isfinite(second_I)
    left_out = len(set(one.doc_ids_I.tolist()) | set(two.doc_ids_I.tolist())) - int(known_I.sum())
    return first_I[known_I], second_I[known_I], ids_I[known_I], left_out


def read_groups(path: Path) -> dict[tuple[str, int], str]:
    """(task, item) -> group, from a CSV with the columns task, doc_id and group."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"--groups: {path} cannot be read ({one_line(error)})") from error
    if not rows or not {"task", "doc_id", "group"} <= set(rows[0]):
        raise UserError(f"--groups: {path}: expected a CSV with the columns task, doc_id and group")
    wrong = next((row["doc_id"] for row in rows if not str(row["doc_id"]).isdecimal()), None)
    if wrong is not None:
        raise UserError(f"--groups: {path}: doc_id {wrong!r} is no number of an item")
    return {(row["task"], int(row["doc_id"])): row["group"] for row in rows}


def _groups_of(task: str, doc_ids_I: NDArray[np.int64], groups: Groups) -> NDArray[np.int64] | None:
    """The group of every item; None where the file says nothing of the task."""
    found = [groups.get((task, int(doc_id))) for doc_id in doc_ids_I]
    if all(one is None for one in found):
        return None
    missing = [int(doc_id) for doc_id, one in zip(doc_ids_I, found, strict=True) if one is None]
    if missing:
        raise UserError(f"--groups: item {missing[0]} of {task} and {len(missing) - 1} more have no group")
    numbers_I = np.unique(np.asarray(found, dtype=str), return_inverse=True)[1]
    if not numbers_I.any():
        raise UserError(f"--groups: all items of {task} are of one group; at least 2 are needed")
    return np.asarray(numbers_I, dtype=np.int64)


def _verdict(row: VersusRow) -> str:
    if row.difference.interval.low <= 0.0 <= row.difference.interval.high:
        return "not told apart"
    if row.higher_is_better is None:
        return "differs"
    return "better" if (row.difference.value > 0) == row.higher_is_better else "worse"


def _table(rows: Sequence[VersusRow]) -> list[str]:
    head = ["task", "metric", "first", "second", "difference", "p", "second is", "least", "items", "needed"]
    cells = [
        [
            row.task,
            row.metric,
            f"{row.first:.4f}",
            f"{row.second:.4f}",
            f"{one.value:+.4f} [{one.interval.low:+.4f}, {one.interval.high:+.4f}]",
            f"{one.p:.4f}",
            _verdict(row),
            f"{one.least_that_shows:.4f}",
            _counted(one),
            "" if one.items_needed is None else f"{one.items_needed:,}",
        ]
        for row in rows
        for one in (row.difference,)
    ]
    return text_table(head, cells, 2)


def _counted(one: PairedDifference) -> str:
    if not one.items:
        return "not paired"
    return f"{one.items:,}" if one.groups == one.items else f"{one.items:,} in {one.groups:,} groups"


def _as_json(row: VersusRow) -> dict[str, Any]:
    one = row.difference
    return {
        "task": row.task,
        "metric": row.metric,
        "first": row.first,
        "second": row.second,
        "difference": one.value,
        "stderr": one.stderr,
        "low": one.interval.low,
        "high": one.interval.high,
        "p": one.p,
        "verdict": _verdict(row),
        "least_that_shows": one.least_that_shows,
        "items": one.items or None,
        "groups": one.groups or None,
        "items_needed": one.items_needed,
    }
