"""The formats that can be read, ours and those of plugins, and what every file below a folder says by one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from e2lm.atomic_file import is_partial
from e2lm.errors import UserError
from e2lm.plugin_manager import plugin_manager
from e2lm.results.lighteval import LIGHTEVAL
from e2lm.results.lm_eval import LM_EVAL
from e2lm.results.olmes import OLMES
from e2lm.results.result import Notes, Reading, TaskResult
from e2lm.results.result_format import ResultFile, ResultFormat
from e2lm.results.trainer_state import TRAINER_STATE

#: A file is read by the first that knows it.
BUILT_IN = (LIGHTEVAL, OLMES, TRAINER_STATE, LM_EVAL)
HOOK = "e2lm_register_result_formats"

#: Files of programs whose results are not read, by a name that only they have.
NOT_READ = {
    "HELM": ("per_instance_stats.json", "run_spec.json", "scenario_state.json", "stats.json"),
    "OpenCompass": ("summary_*.txt",),
}


def known_formats() -> list[ResultFormat]:
    """Those of plugins, then ours."""
    own: list[ResultFormat] = plugin_manager().all(HOOK, ResultFormat, "result format")
    taken = {one.name for one in BUILT_IN}
    for one in own:
        if one.name in taken:
            raise UserError(f"the result format name {one.name!r} is ours; let the plugin choose another name")
    return [*own, *BUILT_IN]


def results_in_file(path: Path, reading: Reading, notes: Notes) -> list[TaskResult] | None:
    """What the file at ``path`` says; None where no format knows it."""
    return _read(ResultFile(path, path.parent, reading, notes, alone=True), known_formats())


def results_below(root: Path, reading: Reading, notes: Notes) -> list[TaskResult] | None:
    """What every file below ``root`` says; a damaged one costs itself, unless nothing else can be read.

    None where no file is of a known format; an empty list where all that is in them was left out.
    """
    formats = known_formats()
    results: list[TaskResult] = []
    damaged: list[UserError] = []
    read: Counter[str] = Counter()
    for path in _files(root):
        owners = [one for one in formats if one.looks_at(path)]
        if not owners:
            continue
        file = ResultFile(path, root, reading, notes)
        try:
            found = _read(file, owners)
        except UserError as error:
            if not any(one.owns(path) for one in owners):
                continue
            damaged.append(error)
            notes.say(f"{error}; left out")
            notes.leave_out(path.name, str(error), path)
            continue
        if found is not None:
            read[path.suffix] += 1
            results += found
    if damaged and not read:
        raise damaged[0]
    return results if read else None


def _files(root: Path) -> Iterator[Path]:
    """Files below ``root`` in order of their paths, without what is not whole and what was logged per item."""
    for path in sorted(root.rglob("*")):
        if not path.name.startswith("samples_") and not is_partial(path.relative_to(root)) and path.is_file():
            yield path


def _read(file: ResultFile, formats: Sequence[ResultFormat]) -> list[TaskResult] | None:
    for one in formats:
        if one.looks_at(file.path) and (found := one.read(file)) is not None:
            return list(found)
    return None


def nothing_there(root: Path) -> UserError:
    """That no file below ``root`` is known, with what there is instead."""
    for program, patterns in NOT_READ.items():
        if any(True for name in patterns for _ in root.rglob(name)):
            return UserError(f"{root}: these are files of {program}, which are not read; export a table (CSV) of them")
    tables = [path for path in sorted(root.rglob("*")) if path.suffix.lower() in (".csv", ".tsv", ".parquet")]
    if tables:
        return UserError(f"{root}: no results of a known format below it; of tables give one, as {tables[0]}")
    names = ", ".join(one.name for one in known_formats())
    return UserError(
        f"{root}: no scores.parquet, scores.csv or results_*.json (lm-eval's output) below it, nor of another known "
        f"format ({names})"
    )
