"""Which results belong to one curve: what differs in anything but the step gets a name of its own, or is refused.

Addresses of models are compared from their ends, for one path may be written from the root and the other not. What one
file does not tell is taken as another has it, where all others agree.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import PurePosixPath
from typing import NamedTuple

from e2lm.errors import UserError, nearest_names
from e2lm.results.result import SERIES_FIELDS, TASK_FIELDS, Notes, Reading, TaskResult

Fields = dict[str, str]


@dataclass(slots=True)
class Variant:
    """Results of one series and task that say the same of how they were made, with the names under which they are kept.

    ``about`` is completed by what the others of its curve tell; ``own_task`` is what the files call it.
    """

    own_task: str
    series: str
    task: str
    about: Fields

    @property
    def key(self) -> str:
        """What is known of it as JSON text, without what moves with training."""
        return key_text({**{name: told for name, told in self.about.items() if told}, "task": self.own_task})


class Identified(NamedTuple):
    """A result and what it is a variant of."""

    result: TaskResult
    variant: Variant


def key_text(fields: Mapping[str, str]) -> str:
    """``fields`` as the column ``key`` of a Scores table has them.

    >>> key_text({"task": "arc", "shots": "5"})
    '{"shots": "5", "task": "arc"}'
    """
    return json.dumps(fields, sort_keys=True, ensure_ascii=False)


def identified(results: Sequence[TaskResult], reading: Reading, notes: Notes) -> list[Identified]:
    """Every result with names that no result of another model or another way to evaluate has."""
    members, variants = _variants(_counted(results, notes))
    _check_fields(reading, variants)
    _complete_models(variants)
    extra = tuple(one for one in reading.split_by or () if one not in (*SERIES_FIELDS, *TASK_FIELDS))
    _complete(variants, ("revision", "dtype", "settings", *extra), lambda one: (one.series, one.about.get("model")))
    _complete(variants, TASK_FIELDS, lambda one: one.own_task)
    _name_series(variants, _splitting((*SERIES_FIELDS, *extra), reading), notes)
    _name_tasks(variants, _splitting(TASK_FIELDS, reading), notes)
    if reading.split_by is not None:
        _say_joined(variants, reading.split_by, notes)
    return members


def _variants(results: Sequence[TaskResult]) -> tuple[list[Identified], list[Variant]]:
    """The results with their variants, of which there are far fewer: what follows looks at each of those once."""
    found: dict[tuple[object, ...], Variant] = {}
    seen: dict[tuple[str, str, int], Variant] = {}  # many have the very same object, which is compared sooner
    members = []
    for one in results:
        very = (one.series, one.task, id(one.about))
        if (variant := seen.get(very)) is None:
            place = (one.series, one.task, *one.about.items())
            if (variant := found.get(place)) is None:
                variant = found[place] = Variant(one.task, one.series, one.task, dict(one.about))
            seen[very] = variant
        members.append(Identified(one, variant))
    return members, list(found.values())


def _splitting(fields: Sequence[str], reading: Reading) -> list[str]:
    return [one for one in fields if reading.split_by is None or one in reading.split_by]


def _check_fields(reading: Reading, members: Sequence[Variant]) -> None:
    if not reading.split_by:
        return
    known = {*SERIES_FIELDS, *TASK_FIELDS, *(name for one in members for name in one.about)}
    for name in reading.split_by:
        if name not in known:
            raise UserError(f"--split-by: results have no field {name!r}. {nearest_names(name, known)}")


# -- names that count something else than steps -------------------------------------------------------------------


def _counted(results: Sequence[TaskResult], notes: Notes) -> list[TaskResult]:
    """With counts of epochs, samples, tokens or words as steps, where several names of one run count the same."""
    counts: dict[tuple[str, str, str], dict[int, Fields]] = {}
    for one in results:
        if one.count is not None and not one.has_step:
            counts.setdefault((*one.counted_series, one.count.of), {}).setdefault(one.count.count, dict(one.about))
    if not (told := {key: names for key, names in counts.items() if len(names) > 1}):
        return list(results)
    for (series, _, of), names in told.items():
        notes.say(
            f"series {series!r}: its {len(names)} names tell no step but count {of}; these stand in for steps "
            f"({', '.join(map(str, sorted(names)[:3]))} ...); --step-pattern reads them otherwise"
        )
    return [_as_counted(one, told) for one in results]


def _as_counted(one: TaskResult, told: Mapping[tuple[str, str, str], object]) -> TaskResult:
    if one.count is None or one.has_step or (*one.counted_series, one.count.of) not in told:
        return one
    series, model = one.counted_series
    about = {**one.about, "model": model, "revision": ""}  # known to be none: another's is not taken for it
    tokens = float(one.count.count) if one.count.of == "tokens" else None
    rows = tuple(row if tokens is None else replace(row, tokens=tokens) for row in one.rows)
    return replace(one, series=series, step=one.count.count, about=about, has_step=True, rows=rows)


# -- what is not told by every file -------------------------------------------------------------------------------


def _complete(members: Iterable[Variant], names: Iterable[str], scope: Callable[[Variant], object]) -> None:
    """Where all who tell one of ``names`` within a scope agree, those who do not say are taken to be the same."""
    scopes: dict[object, list[Fields]] = {}
    for one in members:
        scopes.setdefault(scope(one), []).append(one.about)
    for group in scopes.values():
        for name in names:
            told = {about[name] for about in group if name in about}
            if len(told) == 1:
                for about in group:
                    about.setdefault(name, *told)


def _complete_models(members: Sequence[Variant]) -> None:
    """One address per model: that from the root where there is one."""
    by_series: dict[str, dict[str, list[Variant]]] = {}
    for one in members:
        by_series.setdefault(one.series, {}).setdefault(one.about.get("model", ""), []).append(one)
    for there in by_series.values():
        for own, group in there.items():
            longer = {other for other in there if f"/{other}".endswith(f"/{own}")}
            longest = [one for one in longer if not any(f"/{more}".endswith(f"/{one}") for more in longer - {one})]
            if len(longest) == 1 and longest[0] not in ("", own):
                for one in group:
                    one.about["model"] = longest[0]
    _complete(members, ("model",), lambda one: one.series)


# -- names --------------------------------------------------------------------------------------------------------


def _name_series(members: Sequence[Variant], fields: Sequence[str], notes: Notes) -> None:
    for name, group in _grouped(members, lambda one: one.series):
        models = sorted({one.about.get("model", "") for one in group}) if "model" in fields else []
        if len(models) > 1:
            shown = _shortest_ends(models)
            notes.say(f"series {name!r}: {len(models)} models of that name, kept apart: {', '.join(shown.values())}")
            for one in group:
                one.series = shown[one.about.get("model", "")]
    rest = [one for one in fields if one != "model"]
    for name, group in _grouped(members, lambda one: one.series):
        for one, label in zip(group, _labels(group, rest, f"series {name!r}", notes), strict=True):
            one.series += label


def _name_tasks(members: Sequence[Variant], fields: Sequence[str], notes: Notes) -> None:
    for name, group in _grouped(members, lambda one: one.own_task):
        for one, label in zip(group, _labels(group, fields, f"task {name!r}", notes), strict=True):
            one.task += label


def _grouped(members: Sequence[Variant], name_of: Callable[[Variant], str]) -> Iterator[tuple[str, list[Variant]]]:
    for name, group in groupby(sorted(members, key=name_of), key=name_of):
        yield name, list(group)


def _shortest_ends(addresses: Sequence[str]) -> dict[str, str]:
    """Address -> its shortest end that is no end of another; ``unknown model`` for none.

    >>> _shortest_ends(["orgA/tiny", "orgB/tiny"])
    {'orgA/tiny': 'orgA/tiny', 'orgB/tiny': 'orgB/tiny'}
    >>> _shortest_ends(["/a/x/run", "/b/y/run"])
    {'/a/x/run': 'x/run', '/b/y/run': 'y/run'}
    """
    shown = {}
    for address in addresses:
        parts = PurePosixPath(address).parts
        ends = ["/".join(parts[-count:]) for count in range(1, len(parts) + 1)]
        others = [f"/{other}" for other in addresses if other != address]
        unique = [end for end in ends if not any(other.endswith(f"/{end}") for other in others)]
        shown[address] = (unique[0] if unique else address) or "unknown model"
    return shown


def _labels(group: Sequence[Variant], fields: Sequence[str], what: str, notes: Notes) -> list[str]:
    """What is put behind a name so that whatever differs in ``fields`` differs in name: as few fields as do that."""
    whole = [tuple(one.about.get(name, "") for name in fields) for one in group]
    if len(set(whole)) == 1:
        return [""] * len(group)
    chosen: list[int] = []
    while len({tuple(values[k] for k in chosen) for values in whole}) < len(set(whole)):
        rest = [k for k in range(len(fields)) if k not in chosen]
        chosen.append(max(rest, key=lambda k: (len({tuple(one[j] for j in [*chosen, k]) for one in whole}), -k)))
    labels = [" (" + ", ".join(_said(fields[k], values[k]) for k in sorted(chosen)) + ")" for values in whole]
    differing = [name for k, name in enumerate(fields) if len({values[k] for values in whole}) > 1]
    kept = ", ".join(label.strip(" ()") for label in sorted(set(labels)))
    notes.say(
        f"{what}: results that differ in {', '.join(differing)} are kept apart ({kept}); --split-by says what may"
    )
    return labels


def _said(name: str, value: str) -> str:
    return f"{name}={value}" if value else f"{name} unknown"


def _say_joined(members: Sequence[Variant], split_by: Sequence[str], notes: Notes) -> None:
    for (series, task), group in groupby(
        sorted(members, key=lambda one: (one.series, one.task)), key=lambda one: (one.series, one.task)
    ):
        there = list(group)
        for name in (*SERIES_FIELDS, *TASK_FIELDS):
            values = sorted({one.about.get(name, "") for one in there})
            if name not in split_by and len(values) > 1:
                shown = ", ".join(value or "unknown" for value in values[:4])
                notes.say(f"series {series!r}, task {task!r}: joined though {name} differs ({shown}), by --split-by")
                for one in there:
                    one.about.pop(name, None)
