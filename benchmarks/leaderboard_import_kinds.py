"""Imports one of each kind of multiple-choice task that lm-eval brings, with generated stand-in data.

    python benchmarks/leaderboard_import_kinds.py [--largest N] [--after N] [--only NAME ...] [--batch N] [--found FILE]

Tasks are of one kind where their templates, functions and few-shot settings are the same but for words: 8,384 tasks of
lm-eval 0.4.13 are 279 kinds (subjects, languages). Of each of the largest kinds one task gets data by
``lm_eval_stand_in``; batches of them, as a group, go through ``e2lm leaderboard import`` into one bundle. A task holds
if it is imported, the bundle passes the built-in rules, and every request of it is lm-eval's to the byte. What is not
imported with the others is tried alone, and its reason printed. ``--found`` keeps what was found of the data.
"""

from __future__ import annotations

import argparse
import ast
import json
import logging
import random
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import datasets
from lm_eval.tasks import TaskManager
from lm_eval_rows import GIVEN
from lm_eval_stand_in import Row, Served, Trial, evidence_of, found_row, row_of, said_by

from e2lm.asked_items import asked_items, loaded_tasks
from e2lm.command_line import main as e2lm
from e2lm_leaderboard.bundle.bundle import Bundle
from e2lm_leaderboard.bundle.check import check_archive, check_path
from e2lm_leaderboard.sandbox.import_runner import NoMetrics
from e2lm_leaderboard.sandbox.lm_eval_import import included_names
from e2lm_leaderboard.season.evaluation import write_tasks
from e2lm_leaderboard.season.season import SeasonRules

FORM = ("doc_to_text", "doc_to_choice", "doc_to_target", "process_docs", "custom_dataset")
SETTINGS = ("num_fewshot", "fewshot_split", "class", "use_prompt")
SPLITS = ("train", "validation", "test", "dev")
#: Rows of a task; a bundle needs 100 items, which batches have.
ROWS = 12
TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)


@dataclass(frozen=True)
class KindOfTask:
    """One task for all that are of its kind."""

    name: str
    file: Path
    config: Mapping[str, Any]
    tasks: int

    @property
    def splits(self) -> tuple[str, ...]:
        """Of the data that it may read."""
        named = (self.config.get(f"{one}_split") for one in ("training", "validation", "test", "fewshot"))
        return tuple(sorted({*SPLITS, *(str(one) for one in named if one)}))


def kinds() -> list[KindOfTask]:
    """The kinds of lm-eval's multiple-choice tasks, the largest first."""
    found: dict[tuple[str, ...], list[Any]] = {}
    for entry in TaskManager().task_index.values():
        config = entry.cfg or {}
        if entry.kind.name == "TASK" and config.get("output_type") == "multiple_choice":
            form = tuple(str(_form(config.get(key))) for key in FORM)
            found.setdefault((*form, *(str(config.get(key)) for key in SETTINGS)), []).append(entry)
    listed = [KindOfTask(own[0].name, own[0].yaml_path, own[0].cfg, len(own)) for own in found.values()]
    return sorted(listed, key=lambda one: -one.tasks)


def _form(value: Any) -> Any:
    """Templates without the words around them, functions as the source of their module."""
    if isinstance(value, list):
        return len(value)
    if not isinstance(value, str):
        return value
    if value.startswith("/"):
        return _source(value.rpartition(".")[0])
    return [_plain(one) for one in TEMPLATE.findall(value)] if "{" in value else value


@cache
def _source(module: str) -> str:
    file = Path(f"{module}.py")
    return _plain(file.read_text(encoding="utf-8")) if file.is_file() else module


def _plain(text: str) -> str:
    """Without literals that are words of a language."""
    return re.sub(r'"[^"]*"|\'[^\']*\'', lambda one: one[0] if len(one[0]) < 14 and one[0].isascii() else "''", text)


# -- data -----------------------------------------------------------------------------------------------------------


def data_of(kind: KindOfTask, known: dict[str, str]) -> Row | str:
    """A row of stand-in data, or why none was found; ``known`` keeps what was."""
    if kind.name in GIVEN:
        known[kind.name] = str(dict(GIVEN[kind.name]))
    if kind.name not in known:
        manager = TaskManager(include_path=str(kind.file.parent), include_defaults=False)
        trial = Trial(
            kind.config,
            lambda: next(iter(manager.load([kind.name])["tasks"].values())),
            lambda task: [one.gold for one in asked_items(task)],
            kind.splits,
        )
        try:
            row, said = found_row(trial)
        except Exception as error:  # of the reading of its templates and functions
            row, said = None, f"{type(error).__name__}: {error}"
        known[kind.name] = said if row else f"no data found: {said}"
    if known[kind.name].startswith("no data found"):
        return known[kind.name]
    return row_of(ast.literal_eval(known[kind.name]), said_by(kind.config, evidence_of(kind.config)))


# -- import ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Member:
    """A task of a batch with its rows, and what lm-eval asks of them, by item."""

    kind: KindOfTask
    served: Served
    asked: list[list[tuple[str, str]]]


def member_of(kind: KindOfTask, row: Row) -> Member:
    """The task as lm-eval itself builds it, of the same rows, its generators seeded as ``simple_evaluate`` does."""
    rows = {split: [row(random.Random(100 * n + k)) for k in range(ROWS)] for n, split in enumerate(kind.splits)}
    served, real = Served(rows), datasets.load_dataset
    datasets.load_dataset = served.load
    try:
        asked = _asked(*loaded_tasks(str(kind.file.parent), kind.name))
        # Items without one right choice are left out, and said to be. Loaded anew, for code that draws draws again.
        right = [one.gold is not None for one in asked_items(*loaded_tasks(str(kind.file.parent), kind.name))]
        return Member(kind, served, [pairs for pairs, has in zip(asked, right, strict=True) if has])
    finally:
        datasets.load_dataset = real


def _asked(task: Any) -> list[list[tuple[str, str]]]:
    """lm-eval's requests by item, each choice once."""
    task.set_fewshot_seed(1234)
    task.build_all_requests(limit=None, rank=0, world_size=1)
    by_doc: dict[int, list[Any]] = {}
    for one in task.instances:
        by_doc.setdefault(one.doc_id, []).append(one.args)
    twice = "acc_mutual_info" in task._metric_fn_list
    return [pairs[: len(pairs) // 2] if twice else pairs for pairs in by_doc.values()]


def copied(kind: KindOfTask, folder: Path) -> None:
    """The file of the task, what it includes, and the modules beside, as they lie in lm-eval."""
    root = next(one for one in kind.file.parents if one.name == "tasks")
    above = [one for one in kind.file.parents if root in one.parents]
    for one in (file for folder_above in above for file in folder_above.glob("*.json")):  # what modules read
        place = folder / one.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(one, place)
    pending, seen = [kind.file], set()
    while pending:
        file = pending.pop().resolve()
        if file in seen or not file.is_file():
            continue
        seen.add(file)
        for one in (file, *file.parent.glob("*.py")):
            place = folder / one.relative_to(root)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(one, place)
        pending += [file.parent / name for name in included_names(file.read_text(encoding="utf-8"))]


def outcome(members: list[Member], folder: Path) -> list[str] | str:
    """Of each member, empty where it holds; one reason where the whole batch was not imported."""
    for member in members:
        copied(member.kind, folder / "tasks")
        member.served.write(folder / "data")
    names = "".join(f"  - {one.kind.name}\n" for one in members)
    (folder / "tasks" / "batch.yaml").write_text(f"group: batch\ntask:\n{names}")
    command = ["import", folder / "tasks", "--task", "batch", "--license", "X", "--out", folder / "out"]
    said = StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        e2lm(["leaderboard", *map(str, command), "--data", str(folder / "data"), "--json"])
    if not (folder / "out").is_dir():
        return f"not imported: {said.getvalue().strip().splitlines()[-1][:300]}"
    report = check_path(folder / "out", SeasonRules())
    findings = [one.sentence for one in report.findings]
    if not report.tasks or report.tasks[0].items is None:
        return f"imported, refused: {findings[:1]}"
    (written,) = write_tasks(folder / "season", report.content_id, [(report.tasks[0].task, report.tasks[0].items)])
    manager = TaskManager(include_path=str(folder / "season"), include_defaults=False)
    asked = _asked(next(iter(manager.load([written])["tasks"].values())))
    if len(asked) != sum(len(member.asked) for member in members):
        return f"imported; {len(asked)} items, {sum(len(member.asked) for member in members)} were asked by lm-eval"
    told, place = [], 0
    for member in members:
        mine, place = asked[place : place + len(member.asked)], place + len(member.asked)
        other = next((pair for pair in zip(mine, member.asked, strict=True) if pair[0] != pair[1]), None)
        told.append(f"OTHER requests: {other!r}"[:400] if other else "")
    if findings:  # of some of them, or that they are few
        refused = refusals(folder / "out", [len(one.asked) for one in members])
        told = [one or why for one, why in zip(told, refused, strict=True)]
    return told


def refusals(bundle: Path, counts: list[int]) -> list[str]:
    """For each run of items, why the built-in rules refuse them, but for their number; empty where they pass."""
    files = {one.name: one.read_bytes() for one in bundle.iterdir()}
    (data,) = (name for name in files if name.endswith(".jsonl"))
    lines, told = files[data].splitlines(keepends=True), []
    for count in counts:
        own, lines = lines[:count], lines[count:]
        report = check_archive(Bundle({**files, data: b"".join(own)}).packed(), SeasonRules(min_items=1))
        told.append("" if report.accepted else f"refused: {report.findings[0].sentence[:200]}")
    return told


def batches(members: list[Member], size: int) -> Iterator[list[Member]]:
    """Members whose data do not lie in one another's places."""
    waiting = members
    while waiting:
        batch, asked, later = [], set(), []
        for one in waiting:
            if len(batch) < size and not asked & one.served.asked:
                batch.append(one)
                asked |= one.served.asked
            else:
                later.append(one)
        yield batch
        waiting = later


def outcomes(members: list[Member], size: int) -> Iterator[tuple[Member, str]]:
    """Each member and why it does not hold; a batch that is not imported is halved until the one is found."""
    for batch in batches(members, size):
        with tempfile.TemporaryDirectory() as folder:
            try:
                said = outcome(batch, Path(folder))
            except Exception as error:  # of lm-eval or the stand-in: the next goes on
                said = f"failed: {type(error).__name__}: {error}"[:300]
        if not isinstance(said, str):
            for member, why in zip(batch, said, strict=True):
                # Where code draws, what it draws depends on the tasks before it.
                yield from outcomes([member], 1) if why.startswith("OTHER") and len(batch) > 1 else [(member, why)]
        elif len(batch) == 1:
            yield batch[0], said
        else:
            print(f"a batch of {len(batch)} is halved: {said}", flush=True)
            yield from outcomes(batch, (len(batch) + 1) // 2)


def main() -> None:
    """Print a line a kind, then the count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=60, help="how many kinds (default: 60)")
    parser.add_argument("--after", type=int, default=0, help="how many of those are left out, the largest first")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="the kinds that these tasks stand for")
    parser.add_argument("--data-only", action="store_true", help="stop once data is found, which --found keeps")
    parser.add_argument("--batch", type=int, default=15, help="tasks of one import (default: 15)")
    parser.add_argument("--found", type=Path, help="JSON file that keeps what was found of the data")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    datasets.disable_progress_bars()
    sys.modules["evaluate"] = NoMetrics()
    known = json.loads(arguments.found.read_text()) if arguments.found and arguments.found.is_file() else {}
    listed = kinds()
    measured, members, held = listed[arguments.after : arguments.largest], [], []
    if arguments.only:
        measured = [one for one in listed if one.name in arguments.only]
    for kind in measured:
        row = data_of(kind, known)
        if arguments.found:
            arguments.found.write_text(json.dumps(known, indent=1))
        if isinstance(row, str):
            print(f"{kind.name} ({kind.tasks} tasks): {row[:400]}", flush=True)
        else:
            try:
                members.append(member_of(kind, row))
            except Exception as error:  # of lm-eval, which refuses other rows of the same shape
                print(f"{kind.name} ({kind.tasks} tasks): {type(error).__name__}: {error}"[:400], flush=True)
    for member, said in () if arguments.data_only else outcomes(members, arguments.batch):
        print(f"{member.kind.name} ({member.kind.tasks} tasks): {said or 'imported, passes, EQUAL'}", flush=True)
        held += [member.kind] * (not said)
    counts = [sum(one.tasks for one in own) for own in (held, measured, listed)]
    print(f"{len(held)} of {len(measured)} kinds hold: {counts[0]:,} of {counts[1]:,} tasks")
    print(f"in all {len(listed)} kinds, {counts[2]:,} tasks")


if __name__ == "__main__":
    main()
