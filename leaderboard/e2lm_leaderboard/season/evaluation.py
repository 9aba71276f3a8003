"""An entry on the organiser's models: its data written as tasks, `e2lm eval` in a process of its own, within limits.

Who is at fault where that ends without numbers is measured, not guessed from words: two questions of our own are put
to the same checkpoints. Where they cannot be evaluated either it is the organiser's matter, else the entry's.

Items are evaluated as an lm-eval task that holds nothing but data: what is evaluated is what was checked, to the byte.
No template is left: prompt, choices and index are columns, and e2lm's multiple-choice class reads them beside the YAML.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from e2lm.atomic_file import whole_folder
from e2lm.errors import E2LMError, UserError, one_line
from e2lm.results import read_scores
from e2lm.run_record import RECORD_FILE, LeftOut, RunRecord
from e2lm.samples import SAMPLES_FOLDER, Samples, read_samples
from e2lm_leaderboard.bundle.items import TaskItem
from e2lm_leaderboard.bundle.task_file import KNOWN_CLASS, TaskFile
from e2lm_leaderboard.season.curves import RunFacts
from e2lm_leaderboard.season.season import Season

EXIT_MACHINE = 3
#: How often the processes of an evaluation are looked at, and their folder.
WATCH_S, DISK_WATCH_S = 0.5, 10.0
#: A killed process is gone within this time, or stuck in the kernel.
END_S = 10.0
#: What is kept of what an evaluation said last.
TOLD_CHARS = 500


class OrganiserError(UserError):
    """The organiser's models, machine or season cannot be used now: the queue pauses, no entry is the worse for it."""


def evaluate(season: Season, tasks: Sequence[str], task_folder: Path, out: Path) -> None:
    """Run ``e2lm eval``; what is done already is not done again.

    Raises :class:`E2LMError` for what the entry causes, :class:`OrganiserError` for what the organiser does.
    """
    fault = _fault(season, tasks, task_folder, out)
    if fault is None:
        return
    if fault.is_the_entrys:
        raise E2LMError(fault.reason)
    if fault.is_the_seasons:
        raise OrganiserError(f"a checkpoint of the season cannot be used: {fault.reason}; put it right, then run again")
    own = _own_fault(season)
    if own is not None:
        raise OrganiserError(f"the season's models cannot be evaluated, whatever is asked: {own.reason}")
    raise E2LMError(fault.reason)


@dataclass(frozen=True, slots=True)
class _Fault:
    """Why an evaluation gave no whole result, and whose matter that is where it can be told at once."""

    reason: str
    is_the_entrys: bool = False
    is_the_seasons: bool = False


def _fault(season: Season, tasks: Sequence[str], task_folder: Path, out: Path) -> _Fault | None:
    """What is wrong with an evaluation into ``out``; None where every checkpoint and item has its number."""
    arguments = ["eval", *season.series, "--tasks", ",".join(tasks), "--include-path", str(task_folder)]
    arguments += ["--out", str(out), "--model", season.model, "--quiet", "--no-lm-eval-files", *season.eval_options]
    done = run_watched([sys.executable, "-m", "e2lm", *arguments], out, season)
    if done.limit:
        return _Fault(done.limit, is_the_entrys=True)
    if done.code == EXIT_MACHINE:
        raise OrganiserError(f"the machine of the season: {done.told}")
    if done.code != 0:
        return _Fault(f"e2lm eval ended with exit code {done.code}: {done.told}")
    left_out = RunRecord.from_json_file(out / RECORD_FILE).left_out
    # Scores over fewer checkpoints or items would be other scores.
    if lost := [one for one in left_out if _is_the_seasons(one, season)]:
        return _Fault(str(lost[0]), is_the_seasons=True)
    if left_out:
        return _Fault(f"e2lm eval could not use everything: {left_out[0]} ({len(left_out)} lines)")
    return None


def _is_the_seasons(one: LeftOut, season: Season) -> bool:
    """Whether a checkpoint, which the organiser gives, could not be read.

    One that was read and gave no number is told by its step: the entry's text may be the cause.
    """
    place = None if one.file is None or " step " in one.what else Path(one.file).resolve()
    return place is not None and any(place.is_relative_to(Path(series).resolve()) for series in season.series)


#: Nothing is wrong with these.
OWN_ITEMS = (
    TaskItem("The sun is up in the", ("morning.", "stone."), 0, 1),
    TaskItem("Snow is cold, and fire is", ("paper.", "hot."), 1, 2),
)


def _own_fault(season: Season) -> _Fault | None:
    """What is wrong with an evaluation of :data:`OWN_ITEMS` by the same models, afresh."""
    with TemporaryDirectory(prefix="e2lm-own-") as name:
        folder = Path(name)
        task = TaskFile.model_validate(
            {"task": "own", "output_type": "multiple_choice", "dataset_kwargs": {"data_files": "own.jsonl"}}
            | {"doc_to_choice": "choices", "doc_to_target": "gold"}
        )
        names = write_tasks(folder / "tasks", "own", [(task, OWN_ITEMS)])
        return _fault(season, names, folder / "tasks", folder / "out")


#: Becomes a command that ends with the process that started it, however that ended.
TIED = """
import ctypes, os, signal, sys
try:
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)
except (OSError, AttributeError):
    pass
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended: its exit code, what it said last, and the limit that it ran into, if any."""

    code: int
    told: str
    limit: str


def run_watched(command: Sequence[str], out: Path, season: Season) -> Ending:
    """Run ``command`` with everything it starts under the season's limits; nothing of it is left when this returns."""
    log = out.with_name(f"{out.name}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as handle:
        tied = [sys.executable, "-I", "-c", TIED, str(os.getpid()), *command]
        process = psutil.Popen(tied, stdin=subprocess.DEVNULL, stdout=handle, stderr=subprocess.STDOUT)
        try:
            limit = _watched(process, out, season)
        finally:
            end_tree(process)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return Ending(process.wait(), one_line(lines[-1] if lines else "it said nothing")[:TOLD_CHARS], limit)


def _watched(process: psutil.Popen, out: Path, season: Season) -> str:
    """Wait for the end, or for the first limit that is passed, which is told."""
    started = looked = time.monotonic()
    while True:
        try:
            process.wait(WATCH_S)
            return ""
        except psutil.TimeoutExpired:
            now = time.monotonic()
        if now - started > season.entry_wall_s:
            return f"its evaluation took more than {season.entry_wall_s:g} s, which is the season's limit"
        most = season.entry_memory_bytes
        if most is not None and tree_bytes(process) > most:
            return f"its evaluation took more than {most:,} bytes of memory, which is the season's limit"
        if now - looked > DISK_WATCH_S:
            looked = now
            if folder_bytes(out) > season.entry_disk_bytes:
                return f"its evaluation took more than {season.entry_disk_bytes:,} bytes of disk"


def _tree(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def tree_bytes(process: psutil.Process) -> int:
    """Resident memory of a process and all it started."""
    total = 0
    for one in _tree(process):
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def folder_bytes(folder: Path) -> int:
    """What the files in a folder take."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
        except OSError:
            continue
    return total


def end_tree(process: psutil.Process) -> None:
    """End a process and all it started."""
    tree = _tree(process)
    for one in reversed(tree):
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(tree, timeout=END_S)


def evaluated_samples(out: Path, tasks: Sequence[str]) -> list[Samples]:
    """The Samples of ``tasks``."""
    wanted = set(tasks)
    return [one for one in read_samples(out / SAMPLES_FOLDER) if one.task in wanted]


def run_facts(out: Path) -> dict[str, RunFacts]:
    """Size and tokens of every series, from the Scores table of the evaluation."""
    frame = read_scores(out).scores.frame
    facts = {}
    for series, rows in frame.groupby("series", sort=True):
        tokens = {int(step): float(count) for step, count in zip(rows["step"], rows["tokens"], strict=True)}
        facts[str(series)] = RunFacts(float(rows["params"].iloc[0]), tokens)
    return facts


#: The competition's prefix of task names; ids keep submissions of one name apart.
PREFIX = "lb"
ID_CHARS = 12

YAML = """\
task: {name}
class: !function {task_class}
dataset_kwargs: {{data_files: {name}.jsonl}}
target_delimiter: {delimiter}
output_type: multiple_choice
test_split: test
num_fewshot: 0
doc_to_text: context
doc_to_choice: choices
doc_to_target: gold
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
metadata:
  version: 1
"""


def task_name(submission: str, number: int) -> str:
    """The name under which task ``number`` of a submission is evaluated.

    >>> task_name("0123456789abcdef", 2)
    'lb_0123456789ab_2'
    """
    return f"{PREFIX}_{submission[:ID_CHARS]}_{number}"


def write_tasks(folder: Path, submission: str, tasks: Sequence[tuple[TaskFile, Sequence[TaskItem]]]) -> list[str]:
    """Write all tasks into ``folder``, which is replaced; their names in order."""
    names = [task_name(submission, number) for number in range(len(tasks))]
    with whole_folder(folder) as partial:
        for name, (task, items) in zip(names, tasks, strict=True):
            rows = (
                json.dumps({"context": one.context, "choices": list(one.choices), "gold": one.gold}) for one in items
            )
            (partial / f"{name}.jsonl").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
            yaml = YAML.format(name=name, task_class=KNOWN_CLASS, delimiter=json.dumps(task.target_delimiter))
            (partial / f"{name}.yaml").write_text(yaml, encoding="utf-8")
    return names
