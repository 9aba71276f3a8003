"""From results of single files to one Scores table: no two of them share a row, and what is not used is named."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from e2lm.errors import UserError
from e2lm.results.identity import Identified, identified
from e2lm.results.result import Notes, Reading, TaskResult
from e2lm.samples import Samples
from e2lm.scores import ALL_COLUMNS, Layout, ScoreRow, Scores, ScoreSource

RowKey = tuple[str, str, str, int]


class _Kept(NamedTuple):
    row: ScoreRow
    by: Identified


def collected(results: Iterable[TaskResult], layout: Layout, reading: Reading, notes: Notes) -> ScoreSource:
    """The table of ``results``; of one thing that was evaluated more than once, the newest counts and that is said."""
    members = identified(sorted(results, key=lambda one: one.when), reading, notes)
    kept: dict[RowKey, _Kept] = {}
    samples: dict[tuple[str, str, int], Samples] = {}
    repeated: list[tuple[_Kept, _Kept]] = []
    for one in members:
        variant, result = one.variant, one.result
        for row in result.rows:
            place = (variant.series, variant.task, row.metric, result.step)
            here = _Kept(row, one)
            if (there := kept.get(place)) is not None:
                repeated.append((there, here))
            kept[place] = here
        if result.samples is not None:
            named = replace(result.samples, series=variant.series, step=result.step, task=variant.task)
            samples[variant.series, variant.task, result.step] = named
    _say_repeated(repeated, reading, notes)
    _say_stepless(members, notes)
    return ScoreSource(
        _table(kept),
        layout,
        notes.lines(),
        directions=_directions(members),
        samples=tuple(samples[place] for place in sorted(samples)),
        left_out=tuple(notes.left_out),
    )


def kept_apart(scores: Scores, reading: Reading, path: Path, notes: Notes) -> Scores:
    """``scores`` with names of their own for rows whose ``key`` tells them apart where nothing else does."""
    if "key" not in scores.frame or not len(scores):
        return scores
    rows = list(scores.rows())
    keys = {(row.series, row.task, row.key) for row in rows}
    if len({(series, task) for series, task, _ in keys}) == len(keys):
        return scores
    results = [TaskResult((row,), row.task, row.series, row.step, path, about=_about_of(row.key, path)) for row in rows]
    return collected(results, "table", reading, notes).scores


def _about_of(key: str, path: Path) -> dict[str, str]:
    try:
        fields = json.loads(key or "{}")
        return {str(name): str(value) for name, value in fields.items() if name != "task"}
    except (ValueError, AttributeError) as error:
        raise UserError(f"{path}: column 'key' holds {key[:60]!r}; an object of JSON is expected") from error


def _table(kept: Mapping[RowKey, _Kept]) -> Scores:
    """The rows under the names by which they are kept, with their keys."""
    rows = [one.row for one in kept.values()]
    cells = zip(*map(attrgetter(*ALL_COLUMNS), rows), strict=True) if rows else [()] * len(ALL_COLUMNS)
    columns: dict[str, list[Any]] = {name: list(column) for name, column in zip(ALL_COLUMNS, cells, strict=True)}
    columns |= {name: [place[k] for place in kept] for k, name in enumerate(("series", "task", "metric", "step"))}
    variants = {id(one.by.variant): one.by.variant for one in kept.values()}
    keys = {place: variant.key for place, variant in variants.items()}
    columns["key"] = [keys[id(one.by.variant)] for one in kept.values()]
    return Scores.from_columns(columns)


def _say_repeated(repeated: Sequence[tuple[_Kept, _Kept]], reading: Reading, notes: Notes) -> None:
    """Each file of which values are not used, with the one that is; refused where only --split-by joined them."""
    pairs: dict[tuple[str, str], list[tuple[_Kept, _Kept]]] = {}
    for older, newer in repeated:
        _refuse_different_things(older, newer)
        pairs.setdefault((str(older.by.result.file), str(newer.by.result.file)), []).append((older, newer))
    for (old, new), values in pairs.items():
        older, newer = values[0]
        differing = [one for one in values if one[0].row.value != one[1].row.value]
        agree = "all equal" if not differing else _difference(*differing[0])
        what = f"{len(values)} values of {old}"
        what_of = f"{older.by.variant.series} at step {older.by.result.step}"
        why = f"{what_of} was evaluated more than once; {new} is newer ({agree})"
        notes.leave_out(what, why, older.by.result.file)
    if len(pairs) > _SHOWN:
        notes.say(
            f"{len(repeated)} values of {len({old for old, _ in pairs})} files were evaluated more than once; the "
            "newest are used (e2lm results PATH lists them)"
        )
    else:
        for left in notes.left_out[-len(pairs) :] if pairs else []:
            notes.say(f"{left.what} are not used: {left.why}")


#: So many files with values that are not used get a line each.
_SHOWN = 5


def _difference(older: _Kept, newer: _Kept) -> str:
    return f"{newer.by.variant.task} {newer.row.metric}: {newer.row.value:.6g}, not {older.row.value:.6g}"


def _refuse_different_things(older: _Kept, newer: _Kept) -> None:
    """Where --split-by joined what differs, two values for one place have no order in which one could win."""
    one, two = older.by.result, newer.by.result
    for name in sorted({*one.about, *two.about}):
        first, second = one.about.get(name), two.about.get(name)
        if name not in older.by.variant.about and first != second and None not in (first, second):
            raise UserError(
                f"{two.file}: {name} {second}, and {one.file}: {name} {first}, are both {newer.by.variant.task} of "
                f"{newer.by.variant.series} at step {two.step}; add {name} to --split-by"
            )


def _say_stepless(members: Sequence[Identified], notes: Notes) -> None:
    stepless = sorted({one.variant.series for one in members if not one.result.has_step})
    if len(stepless) > 1:
        shown = ", ".join(stepless[:3])
        notes.say(
            f"{len(stepless)} models name no step ({shown} ...); each is a series of its own at step 0; "
            "--step-pattern says where their names have it"
        )


def _directions(members: Sequence[Identified]) -> dict[tuple[str, str], bool]:
    told: dict[tuple[str, str], bool] = {}
    for one in members:
        for metric, higher in one.result.higher_is_better.items():
            if told.setdefault((one.variant.task, metric), higher) != higher:
                raise UserError(
                    f"{one.result.file}: higher_is_better of {one.variant.task} {metric} is {str(higher).lower()}, "
                    f"in other files {str(not higher).lower()}; --lower {metric} or --higher {metric} needs files "
                    "that agree"
                )
    return told
