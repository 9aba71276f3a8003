"""The formats that can be read, ours and those of plugins, and what every file below a folder says by one of them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from operator import attrgetter
from pathlib import Path

from e2lm.atomic_file import is_partial_name
from e2lm.errors import UserError
from e2lm.plugin_call import PluginFaultError, asked
from e2lm.plugin_manager import plugin_manager
from e2lm.results.bloom import BLOOM
from e2lm.results.event_files import EVENT_FILES
from e2lm.results.lighteval import LIGHTEVAL
from e2lm.results.lm_eval import LM_EVAL
from e2lm.results.olmes import OLMES
from e2lm.results.result import Notes, Reading, TaskResult
from e2lm.results.result_format import ResultFile, ResultFormat, shell_pattern
from e2lm.results.trainer_state import TRAINER_STATE
from e2lm.results.wandb_run import WANDB

#: A file is read by the first that knows it.
BUILT_IN = (LIGHTEVAL, OLMES, TRAINER_STATE, EVENT_FILES, WANDB, BLOOM, LM_EVAL)
HOOK = "e2lm_register_result_formats"

#: What makes a shell pattern fit one digit and not another.
_TELLS_DIGITS = re.compile(r"[0-9\[]")
#: Bytes of which results of one checkpoint hardly have more.
_SMALL = 2**24
_TABLES = (".csv", ".csv.gz", ".tsv", ".parquet")
_TABLE = "export a table (CSV) of them"
_SAMPLES = "items are read as lm-eval logs them, with --log_samples"
#: Files of programs that are not read, by names that only they have, and what to do.
NOT_READ = {
    "HELM": (("per_instance_stats.json", "run_spec.json", "scenario_state.json", "stats.json"), _TABLE),
    "OpenCompass": (("summary_*.txt",), _TABLE),
    "lighteval's items": (("details_*.parquet",), _SAMPLES),
    "OLMES's items": (("task-*-predictions.jsonl", "task-*-requests.jsonl", "task-*-recorded-inputs.jsonl"), _SAMPLES),
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
    owners = [one for one in known_formats() if one.looked_at.match(path.name)]
    return _read(ResultFile(path, path.parent, reading, notes, alone=True), owners)


def results_below(root: Path, reading: Reading, notes: Notes) -> list[TaskResult] | None:
    """What every file below ``root`` says; a damaged one costs itself, unless nothing else can be read.

    None where no file is of a known format; an empty list where all that is in them was left out.
    """
    owners_of = _owners_by_name(known_formats())
    results: list[TaskResult] = []
    damaged: list[UserError] = []
    is_known = False
    for path, text, beside in list(_files(root, notes)):  # all first: walking in between takes a sixth longer
        name = path.name
        owners = owners_of(name)
        if not owners:
            _say_not_read(path, notes)
            continue
        file = ResultFile(path, root, reading, notes, False, beside, text)
        try:
            found = _read(file, owners)
        except UserError as error:
            if any(one.owned.match(name) for one in owners):
                damaged.append(error)
                _say_damaged(error, path, notes)
            elif _may_hold_results(file):
                _say_damaged(error, path, notes)
            continue
        if found is not None:
            is_known = True
            results += found
        else:
            _say_not_read(path, notes)
            _say_unknown(file, owners)
    if damaged and not is_known:
        raise damaged[0]
    return results if is_known else None


def _say_not_read(path: Path, notes: Notes) -> None:
    for program, (patterns, instead) in NOT_READ.items():
        if shell_pattern(patterns).match(path.name):
            notes.count(f"files of {program} are not read: {instead}")
            notes.leave_out(path.name, f"of {program}, which is not read", path)
            return
    if path.name.lower().endswith(_TABLES):
        notes.count("tables in a folder of results are not read with it: give one by itself")
        notes.leave_out(path.name, "a table in a folder of results", path)


def _say_damaged(error: UserError, path: Path, notes: Notes) -> None:
    notes.say(f"{error}; left out")
    notes.leave_out(path.name, str(error), path)


def _may_hold_results(file: ResultFile) -> bool:
    """Whether a file of any name was results before it was damaged, or cannot be opened to be asked."""
    try:
        return file.says('"results"')
    except UserError:
        return True


def _say_unknown(file: ResultFile, owners: Sequence[ResultFormat]) -> None:
    """That a file has a name of results, or is the competition's, and is not read."""
    owner = next((one.name for one in owners if one.owned.match(file.path.name)), None)
    if owner is not None:
        file.notes.say(f"{file.path}: its name is one of {owner}'s results, what is in it is not; left out")
        file.notes.leave_out(file.path.name, f"named as results of {owner}", file.path)
    elif file.says('"data"', '"iteration"'):
        file.notes.say(f"{file.path}: the competition's JSON is not read with a folder: give it by itself")
        file.notes.leave_out(file.path.name, "the competition's JSON in a folder of results", file.path)
    elif len(file.content) < _SMALL and file.says('"results"'):  # lm-eval 0.3, of which the end is missing?
        try:
            _ = file.data
        except UserError as error:
            _say_damaged(error, file.path, file.notes)


def foreign_results(root: Path) -> list[Path]:
    """Files below ``root`` that are named as results and were not written by ``e2lm eval``, which marks its own."""
    names = shell_pattern(tuple(shell for one in known_formats() for shell in one.own if shell.endswith(".json")))
    files = [ResultFile(path, root) for path, _, _ in _files(root, Notes()) if names.match(path.name)]
    return [one.path for one in files if not one.says('"e2lm"')]


def _files(root: Path, notes: Notes, top: Path | None = None) -> Iterator[tuple[Path, str, frozenset[str]]]:
    """Files below ``root`` in order of their paths, without what is not whole and what was logged per item.

    With each its path as text, and the names of files with lines beside it, which may be what was logged.
    """
    try:
        with os.scandir(root) as entries:  # a tenth of the time of Path.rglob
            there = sorted(entries, key=attrgetter("name"))
    except OSError as error:
        notes.say(f"{root}: cannot be read ({error.strerror}); left out")
        notes.leave_out(f"folder {root.name}", f"cannot be read ({error.strerror})", root)
        return
    beside = frozenset(one.name for one in there if one.name.endswith(".jsonl"))
    for one in there:
        if is_partial_name(one.name):
            continue
        if one.is_dir(follow_symlinks=False):
            yield from _files(root / one.name, notes, top or root)
        elif not one.name.startswith("samples_") and one.is_file():
            yield root / one.name, one.path, beside
        elif one.is_symlink() and not one.is_file():
            _say_link(root / one.name, top or root, notes)


def _say_link(path: Path, top: Path, notes: Notes) -> None:
    """That a link is not followed: to a folder elsewhere, or to nothing."""
    target = path.resolve()
    if not target.exists():
        notes.count("links to what is not there are left out")
        notes.leave_out(path.name, "a link to nothing", path)
    elif target.is_dir() and not target.is_relative_to(top.resolve()):
        notes.say(f"{path}: a link to another folder is not followed; give {target} by itself")
        notes.leave_out(path.name, "a link to another folder", path)


def _read(file: ResultFile, formats: Sequence[ResultFormat]) -> list[TaskResult] | None:
    """What the first of ``formats`` that knows the file makes of it."""
    for one in formats:
        found = one.read(file) if one in BUILT_IN else _read_by_plugin(file, one)
        if found is not None:
            return list(found)
    return None


def _read_by_plugin(file: ResultFile, format: ResultFormat) -> list[TaskResult] | None:
    """What a plugin's format makes of the file; None, and a line, where it fails, so that others are asked."""
    try:
        found = asked(lambda: None if (read := format.read(file)) is None else list(read))
        strange = [one for one in found or () if not isinstance(one, TaskResult)]
        if strange:
            raise PluginFaultError(f"it gave {strange[0]!r:.60}, no TaskResult")
    except PluginFaultError as error:
        if isinstance(error.__cause__, UserError):
            if format.owned.match(file.path.name):
                raise error.__cause__ from None
            return None
        file.notes.say(f"the result format {format.name!r} failed on {file.path}: {error}")
        return None
    if found == []:
        file.notes.say(f"{file.path}: the result format {format.name!r} says that nothing is in it")
        file.notes.leave_out(file.path.name, f"nothing in it, says the format {format.name!r}", file.path)
    return found


def _owners_by_name(formats: Sequence[ResultFormat]) -> Callable[[str], list[ResultFormat]]:
    """The formats that a file of that name is shown to; thousands of names that differ in digits are asked for once."""

    @cache
    def owners(encoded: bytes) -> list[ResultFormat]:
        name = encoded.decode(errors="surrogateescape")
        return [one for one in formats if one.looked_at.match(name)]

    tells_digits = any(_TELLS_DIGITS.search(shell) for one in formats for shell in (*one.patterns, *one.own))
    same = None if tells_digits else bytes.maketrans(b"123456789", b"0" * 9)
    return lambda name: owners(name.encode(errors="surrogateescape").translate(same))


def nothing_there(root: Path) -> UserError:
    """That no file below ``root`` is known, with what there is instead."""
    for program, (patterns, instead) in NOT_READ.items():
        if any(True for name in patterns for _ in root.rglob(name)):
            return UserError(f"{root}: these are files of {program}, which are not read; {instead}")
    tables = [path for path in sorted(root.rglob("*")) if path.name.lower().endswith(_TABLES)]
    if tables:
        return UserError(f"{root}: no results of a known format below it; of tables give one, as {tables[0]}")
    names = ", ".join(one.name for one in known_formats())
    return UserError(
        f"{root}: no scores.parquet, scores.csv or results_*.json (lm-eval's output) below it, nor of another known "
        f"format ({names})"
    )
