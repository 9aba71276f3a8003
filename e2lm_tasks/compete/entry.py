"""One entry: the files of a task or group, closed so that they work in another lm-eval than the one they were made in.

Includes are merged in, modules and local data go along, and what only e2lm can load is turned into plain lm-eval or
refused: the organisers run their fork of lm-eval 0.4.9 and nothing else.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2lm import UserError
from e2lm.errors import nearest_names, no_such
from e2lm_tasks.compete.task_yaml import MergedTask, merged_task, yaml_text

#: Where the organisers' fork looks for tasks.
TASKS_FOLDER = "lm_eval/tasks"
#: Loaders of datasets that read files.
FILE_LOADERS = ("json", "csv", "text", "parquet")
#: Metrics that lm-eval has of itself; those of our own base class are not among them.
PLAIN_METRICS = ("acc", "acc_norm", "acc_mutual_info", "exact_match", "perplexity", "likelihood", "brier_score")


@dataclass(frozen=True, slots=True)
class CompetitionEntry:
    """``files``: path below ``lm_eval/tasks/NAME`` -> contents; ``tasks``: the leaves as they are handed in."""

    name: str
    files: dict[str, bytes]
    tasks: tuple[MergedTask, ...]


def entry_of(folder: Path, name: str) -> CompetitionEntry:
    """The entry ``name`` of the tasks in ``folder``; a :class:`UserError` says what keeps it from working elsewhere."""
    known = _known(folder)
    if name not in known:
        raise UserError(f"--task: no task or group {name!r} in {folder}. {nearest_names(name, known)}")
    files: dict[str, bytes] = {}
    leaves: list[MergedTask] = []
    for one in _with_members(known[name], known):
        if one.is_group:
            files[f"{one.file.stem}.yaml"] = yaml_text(one.config).encode()
            continue
        portable = MergedTask(one.file, _portable(one, name, files), one.modules)
        leaves.append(portable)
        _add(files, f"{one.file.stem}.yaml", yaml_text(portable.config).encode(), one.file)
        for path in _module_files(portable):
            _add(files, path.name, path.read_bytes(), path)
    if not leaves:
        raise UserError(f"--task: {name!r} holds no task")
    return CompetitionEntry(name, dict(sorted(files.items())), tuple(leaves))


def _known(folder: Path) -> dict[str, MergedTask]:
    """Tasks, groups and tags of the folder by name; one tag is the group of its tasks."""
    if not folder.is_dir():
        raise UserError(f"{folder}: {no_such(folder, 'folder')}; give the one with the YAML of your tasks")
    found: dict[str, MergedTask] = {}
    for file in sorted(folder.rglob("*.yaml")):
        one = merged_task(file)
        if "task" not in one.config and "group" not in one.config:
            continue
        if one.name in found:
            raise UserError(f"{file}: {one.name!r} is in {found[one.name].file} too; rename one of the two")
        found[one.name] = one
    return found


def _with_members(one: MergedTask, known: dict[str, MergedTask], above: tuple[str, ...] = ()) -> Iterator[MergedTask]:
    if one.name in above:
        raise UserError(f"{one.file}: group {one.name!r} is a member of itself; take it out of its tasks")
    yield one
    if one.is_group:
        for member in _members(one.config, one, known):
            yield from _with_members(member, known, (*above, one.name))


def _members(config: dict[str, Any], group: MergedTask, known: dict[str, MergedTask]) -> Iterator[MergedTask]:
    listed = config.get("task") or []
    for part in listed if isinstance(listed, list) else [listed]:
        if isinstance(part, dict):  # a group within the file
            yield from _members(part, group, known)
            continue
        tagged = [one for one in known.values() if part in _tags(one)]
        if part not in known and not tagged:
            nearest = nearest_names(part, known)
            raise UserError(f"{group.file}: {part!r} is not in this folder; copy it there. {nearest}")
        yield from [known[part]] if part in known else tagged


def _tags(one: MergedTask) -> list[str]:
    tag = one.config.get("tag") or []
    return [tag] if isinstance(tag, str) else [str(name) for name in tag]


def _add(files: dict[str, bytes], name: str, data: bytes, source: Path) -> None:
    if files.setdefault(name, data) != data:
        raise UserError(f"{source}: another file of the entry is called {name!r} too; rename one of the two")


# -- what works elsewhere -------------------------------------------------------------------------------------------


def _portable(one: MergedTask, entry: str, files: dict[str, bytes]) -> dict[str, Any]:
    """The configuration without what needs e2lm, its local data beside it."""
    config = dict(one.config)
    our_class = str(config.pop("class", ""))
    if our_class and not our_class.startswith("e2lm_tasks."):
        raise UserError(f"{one.file}: class {our_class!r} is code that the organisers' lm-eval does not load")
    kwargs = dict(config.get("dataset_kwargs") or {})
    if our_class and "data_files" in kwargs and not config.get("dataset_path"):
        config["dataset_path"] = "json"
        kwargs["data_files"] = {"test": kwargs["data_files"]}
        config["test_split"] = "test"
        config["metric_list"] = [metric for metric in config.get("metric_list") or [] if _is_plain(metric)]
    elif our_class and not config.get("dataset_path"):
        raise UserError(f"{one.file}: class {our_class!r} without data_files or dataset_path; lm-eval cannot load it")
    if config.get("dataset_path") in FILE_LOADERS:
        kwargs["data_files"] = _data_files(one, kwargs.get("data_files"), entry, files)
    if kwargs:
        config["dataset_kwargs"] = kwargs
    elif Path(str(config.get("dataset_path") or "")).is_absolute():
        raise UserError(f"{one.file}: dataset_path is a folder of this machine; give a file beside it, or a Hub name")
    return config


def _is_plain(metric: Any) -> bool:
    return isinstance(metric, dict) and (metric.get("metric") in PLAIN_METRICS)


def _data_files(one: MergedTask, named: Any, entry: str, files: dict[str, bytes]) -> Any:
    if isinstance(named, dict):
        return {split: _data_files(one, part, entry, files) for split, part in named.items()}
    if isinstance(named, list):
        return [_data_files(one, part, entry, files) for part in named]
    if not isinstance(named, str):
        raise UserError(f"{one.file}: dataset_kwargs.data_files: found {named!r}; expected the names of files")
    places = [one.file.resolve().parent / named, Path(named)]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise UserError(f"{one.file}: data_files: no file {named!r} beside the task; copy it there")
    if found.suffix == ".parquet":
        raise UserError(f"{one.file}: {named} is Parquet, which a patch cannot hold as text; write it as JSON lines")
    _add(files, found.name, found.read_bytes(), found)
    return f"{TASKS_FOLDER}/{entry}/{found.name}"


def _module_files(one: MergedTask) -> Iterator[Path]:
    """The modules that the task names, what they import from beside them, and the ids of kept documents."""
    for module, folder in sorted(one.modules.items()):
        if f"{module}." not in yaml_text(one.config):
            continue  # of a key that was turned into plain lm-eval
        file = folder / f"{module.replace('.', '/')}.py"
        if not file.is_file():
            raise UserError(
                f"{one.file}: !function {module}: no {file.name} beside the file that names it; copy the code there, "
                "for the organisers' machine has nothing else"
            )
        yield from _with_imports(file)
        items = file.parent / "items.json"
        if items.is_file() and "items.json" in file.read_text(encoding="utf-8"):
            yield items


def _with_imports(file: Path, seen: frozenset[Path] = frozenset()) -> Iterator[Path]:
    yield file
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: no Python code ({error})") from error
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        for name in names:
            if name.partition(".")[0].startswith("e2lm"):
                raise UserError(f"{file}: imports {name}; the organisers' machine has no e2lm")
            beside = file.parent / f"{name.partition('.')[0]}.py"
            if beside.is_file() and beside not in seen | {file}:
                yield from _with_imports(beside, seen | {file})
