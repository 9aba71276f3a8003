"""An lm-eval task as people have it becomes items with their whole prompts: lm-eval asks, in the sandbox.

Includes, groups, few-shot examples and the task's own code are lm-eval's matter and run as they would there; what comes
out is text. Data of the Hub is fetched outside, for the sandbox has no network, and goes in as rows.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from os.path import commonpath
from pathlib import Path
from typing import Any

from e2lm.asked_items import AskedItem
from e2lm.errors import UserError, one_line
from e2lm.run_record import LeftOut
from e2lm_leaderboard.bundle.official_archive import is_official, official_tasks
from e2lm_leaderboard.sandbox.sandbox import (
    MIB,
    SCRIPT,
    SandboxError,
    SandboxLimits,
    answered_lines,
    installed_libraries,
)

#: lm-eval and its libraries take more than a function of a bundle.
LIMITS = SandboxLimits(
    memory_bytes=16384 * MIB, cpu_s=1800, wall_s=3600.0, processes=256, disk_bytes=2048 * MIB, output_bytes=512 * MIB
)
MAX_SOURCE_BYTES = 512 * MIB
#: ``include: FILE``, with the key in quotes too, a list in brackets or below.
INCLUDE = re.compile(r"""(?m)^["']?include["']?[ ]*:[ ]*(\[[^\]]*\]|[^\s#\[][^\n]*|(?:\s*\n[ ]*-[^\n]*)+)""")
INCLUDED = re.compile(r"""[^\s,'"\[\]#]+""")
#: Data files of a stand-in by what ``datasets`` calls their kind.
KINDS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}
#: What a task may say of a data set of the Hub.
OPTIONS = frozenset({"data_dir", "data_files", "revision", "column_names", "delimiter", "sep", "field"})


@dataclass(frozen=True, slots=True)
class TaskSource:
    """Files of tasks, where they lay on the desk, which task is meant, and its metric where the source names one."""

    files: Mapping[str, bytes]
    root: str
    task: str
    metric: str = ""


@dataclass(frozen=True, slots=True)
class Needed:
    """Data that a task asks for, as it would ask the Hub."""

    path: str
    name: str | None
    options: Mapping[str, Any]

    def __str__(self) -> str:
        return self.path if self.name is None else f"{self.path} ({self.name})"


#: Arrow tables by split.
FindData = Callable[[Needed], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Imported:
    """The items of the tasks, in lm-eval's order, the first task's metrics, and the items that cannot be scored.

    ``by_code`` are the tasks that score by code of their own, which a bundle does not; ``without_examples`` those that
    have none although some were asked for.
    """

    items: tuple[AskedItem, ...]
    metrics: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    by_code: tuple[str, ...] = ()
    without_examples: tuple[str, ...] = ()


def source_of(path: Path, task: str | None) -> TaskSource:
    """What is at ``path``: a folder or one file of tasks, or the archive of the competition."""
    if path.is_file() and path.suffix == ".zip":
        return _official(path, task)
    folder = path if path.is_dir() else path.parent
    if not path.exists():
        raise UserError(f"{path}: no such folder, task file or submission.zip")
    if not task:
        raise UserError("--task: which task, group or tag? give its name")
    root = _root(folder.resolve())
    found: dict[str, bytes] = {}
    total = 0
    for one in sorted(root.rglob("*")):
        parts = one.relative_to(root).parts
        if not one.is_file() or any(part.startswith(".") or part == "__pycache__" for part in parts):
            continue
        total += one.stat().st_size
        if total > MAX_SOURCE_BYTES:
            raise UserError(f"{root}: more than {MAX_SOURCE_BYTES // MIB} MiB; give the folder of the task alone")
        found["/".join(parts)] = one.read_bytes()
    return TaskSource(found, str(root), task)


def _official(path: Path, task: str | None) -> TaskSource:
    data = path.read_bytes()
    if not is_official(data):
        raise UserError(f"{path}: no evaluation.patch in it; unpack it, and give the folder of the task")
    tasks, name, metric = official_tasks(data, str(path))
    if not (task or name):
        raise UserError(f"{path}: metadata.yaml: no task_name; give --task")
    return TaskSource(tasks, str(path), task or name, metric)


def _root(folder: Path) -> Path:
    """The folder, or the one above it that holds what its tasks include too."""
    root, pending, seen = folder, sorted(folder.rglob("*.y*ml")), set()
    while pending:
        file = pending.pop()
        if file in seen or not file.is_file():
            continue
        seen.add(file)
        for name in included_names(file.read_text(encoding="utf-8", errors="replace")):
            target = (file.parent / name).resolve()
            if target.is_file() and not target.is_relative_to(root):
                root = Path(commonpath([root, target.parent]))
            pending.append(target)
    return root


def included_names(text: str) -> list[str]:
    r"""The files that the YAML of a task includes, without reading the rest of it.

    >>> included_names('include: a.yaml\n"task": b'), included_names('"include": "../_template"')
    (['a.yaml'], ['../_template'])
    >>> included_names("include: [a, 'b.yaml']"), included_names("include:\n  - a\n  - b\ntask: c")
    (['a', 'b.yaml'], ['a', 'b'])
    """
    return [name for found in INCLUDE.findall(text) for name in INCLUDED.findall(found) if name != "-"]


def imported(source: TaskSource, find_data: FindData, num_fewshot: int | None = None) -> Imported:
    """The items of ``source``; a :class:`UserError` says why there are none.

    ``num_fewshot`` is how many examples stand before an item, as lm-eval takes it; None leaves it to the tasks.
    """
    libraries = installed_libraries()
    job = {f"tasks/{name}": content for name, content in source.files.items()}
    plan: dict[str, Any] = {"task": source.task, "root": source.root, "libraries": libraries.folders}
    plan["num_fewshot"] = num_fewshot
    job["plan.json"] = json.dumps(plan).encode()
    job["asked_items.py"] = (files("e2lm") / "asked_items.py").read_bytes()
    job[SCRIPT] = (files("e2lm_leaderboard.sandbox") / "import_runner.py").read_bytes()
    told: dict[str, Any] = {}

    def questions() -> Iterator[bytes]:
        yield b"{}"
        while "need" in told:
            path, name, options = told["need"]
            yield _rows(find_data(Needed(path or "", name, options)))

    try:
        for line in answered_lines(job, LIMITS, questions(), libraries=libraries):
            told = json.loads(line)
            if "need" not in told:
                break
    except SandboxError as error:
        raise UserError(f"{source.task}: its code could not be run: {one_line(error)}") from error
    if "items" not in told:
        raise UserError(f"{source.task}: {one_line(told.get('why', 'nothing came out'))[:500]}")
    return _imported(source, told)


def _imported(source: TaskSource, told: Mapping[str, Any]) -> Imported:
    asked = [
        AskedItem(task, doc_id, question, context, tuple(choices), gold, delimiter)
        for task, doc_id, question, context, choices, gold, delimiter in told["items"]
    ]
    left_out = tuple(
        LeftOut(
            what=f"{one.task} item {one.doc_id}",
            why="not one right choice; correct doc_to_target, or its data",
            file=source.root,
        )
        for one in asked
        if one.gold is None
    )
    items = tuple(one for one in asked if one.gold is not None)
    if not items:
        raise UserError(f"{source.task}: none of its {len(asked)} items has one right choice")
    by_code, without_examples = tuple(told["by_code"]), tuple(told["without_examples"])
    return Imported(items, tuple(told["metrics"]), left_out, by_code, without_examples)


def _rows(tables: Mapping[str, Any]) -> bytes:
    """Arrow tables as a line of JSON."""
    import pyarrow as pa

    told = {}
    for split, table in tables.items():
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        told[split] = base64.b64encode(sink.getvalue()).decode()
    return json.dumps(told).encode()


def data_of(folder: Path | None) -> FindData:
    """Finds data in ``folder/OWNER/NAME[/CONFIG]``, a file for each split, else as ``datasets`` does."""

    def find(needed: Needed) -> Mapping[str, Any]:
        _require_harmless(needed)
        if folder is not None:
            parts = [needed.path, *([] if needed.name is None else [needed.name])]
            for depth in range(len(parts), 0, -1):
                if splits := _splits(folder.joinpath(*parts[:depth])):
                    return splits
        return _of_hub(needed, folder)

    return find


def _require_harmless(needed: Needed) -> None:
    """Raise where the task, which is code of others, asks for something that is not the Hub's."""
    if not needed.path:
        raise UserError("the task names no data (dataset_path): is the file that it includes in the folder?")
    texts = [needed.path, needed.name or "", *_texts(needed.options)]
    outside = [text for text in texts if text.startswith(("/", "~")) or "://" in text or ".." in Path(text).parts]
    is_id = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", needed.path) is not None and not Path(needed.path).exists()
    if outside or not is_id or not set(needed.options) <= OPTIONS:
        told = {"path": needed.path, "name": needed.name, **needed.options}
        raise UserError(f"data {told}: not a data set of the Hub, and no file beside the task; copy it there")


def _texts(value: Any) -> list[str]:
    """All texts of a plain value."""
    if isinstance(value, Mapping):
        return [text for part in value.values() for text in _texts(part)]
    if isinstance(value, list):
        return [text for part in value for text in _texts(part)]
    return [value] if isinstance(value, str) else []


def _splits(folder: Path) -> dict[str, Any]:
    import datasets

    found = {}
    datasets.disable_progress_bars()
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        if file.suffix in KINDS:
            loaded = datasets.load_dataset(KINDS[file.suffix], data_files={"train": str(file)}, split="train")
            found[file.stem] = _table(loaded)
    return found


def _of_hub(needed: Needed, folder: Path | None) -> Mapping[str, Any]:
    import datasets

    try:
        loaded = datasets.load_dataset(needed.path, needed.name, **needed.options)
    except Exception as error:  # the Hub, its client or the data
        hint = "" if folder is None else f" nor {folder / needed.path}"
        why = f"data {needed}: neither the Hub{hint} has it here ({type(error).__name__}: {one_line(error)[:200]})"
        raise UserError(f"{why}; give --data FOLDER with {needed.path}/SPLIT.jsonl") from error
    return {str(split): _table(one) for split, one in loaded.items()}


def _table(loaded: Any) -> Any:
    """The rows as one Arrow table whose schema says what ``datasets`` knows of them."""
    table = loaded.flatten_indices().data.table.combine_chunks()
    return table.replace_schema_metadata(loaded.features.arrow_schema.metadata)
