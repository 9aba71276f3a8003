"""Loads lm-eval tasks by name, our own quickly and all others on demand.

Templates are compiled once: lm-eval 0.4.13 compiles a task's templates anew for every document and every use
(``lm_eval.utils.apply_template``), which takes about a third of the CPU time of a series of small models. The cache
changes no text: same source, same template.
"""

from __future__ import annotations

import functools
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from e2lm.errors import UserError, nearest_names, no_such, one_line
from e2lm_adapters.lm_eval.registration import include_task_folders, task_folders
from e2lm_adapters.lm_eval.release import inner_part
from e2lm_adapters.lm_eval.task_code import hash_of, task_parts

#: Templates are a handful per task; task families of MMLU's size have some hundreds.
MAX_TEMPLATES = 4096
#: Where lm-eval 0.5 caches templates itself.
THEIR_CACHE = "lm_eval.config.templates:_compile_tpl"


def cache_templates() -> None:
    """Let lm-eval reuse compiled templates from now on. Calling it twice changes nothing.

    Releases that cache them themselves are left as they are.
    """
    environment = inner_part(
        "lm_eval.utils:env", THEIR_CACHE, without="templates are compiled anew for every item: slower, same numbers"
    )
    if environment is None or not hasattr(environment, "from_string") or hasattr(environment.from_string, "cache_info"):
        return
    environment.from_string = functools.lru_cache(MAX_TEMPLATES)(environment.from_string)


#: Modules that show a bar while requests are built: of 0.5, of releases before.
THEIR_BAR_MODULES = ("lm_eval.api.task._task", "lm_eval.api.task")
THEIR_BARS = tuple(f"{name}:tqdm" for name in THEIR_BAR_MODULES)

#: lm-eval's own defaults (``lm_eval run --seed``): Python, numpy, torch, few-shot.
SEEDS = {"python": 0, "numpy": 1234, "torch": 1234, "fewshot": 1234}


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """A group that has numbers of its own: made of ``tasks``, one value for each (metric, filters, by size) asked for.

    ``filters`` None stands for every filter that its tasks have.
    """

    name: str
    tasks: tuple[str, ...]
    aggregates: tuple[tuple[str, tuple[str, ...] | None, bool], ...]


@dataclass(frozen=True, slots=True)
class TaskIdentities:
    """What is known of tasks without having them loaded: ``parts`` by task as in :mod:`e2lm_adapters.eval.address`.

    ``generating`` are those that let the model write.
    """

    parts: dict[str, dict[str, str]]
    generating: tuple[str, ...] = ()
    groups: tuple[GroupFacts, ...] = ()

    @property
    def names(self) -> list[str]:
        """Names of the tasks, groups taken apart."""
        return list(self.parts)

    @property
    def hashes(self) -> dict[str, str]:
        """One hash for each task: what it asks, expects and how it judges."""
        return {name: hash_of(parts) for name, parts in self.parts.items()}


@dataclass(frozen=True, slots=True)
class LoadedTasks:
    """Tasks ready for ``lm_eval.evaluator.evaluate``; ``facts`` identify what each of them asks and expects."""

    task_dict: dict[str, Any]
    facts: TaskIdentities

    @property
    def names(self) -> list[str]:
        """Names of the tasks, groups taken apart."""
        return self.facts.names

    @property
    def hashes(self) -> dict[str, str]:
        """One hash for each task."""
        return self.facts.hashes


def set_seeds() -> None:
    """Seed the global generators as the stock command does: tasks of others draw from them."""
    import torch

    random.seed(SEEDS["python"])
    np.random.seed(SEEDS["numpy"])  # lm-eval's tasks use this generator
    torch.manual_seed(SEEDS["torch"])


def load_tasks(
    names: Sequence[str],
    include_paths: Sequence[Path],
    num_fewshot: int | None,
    limit: int | None,
    model_arguments: dict[str, Any],
) -> LoadedTasks:
    """The tasks called ``names``; raises :class:`UserError` that offers the nearest names for an unknown one."""
    for path in include_paths:
        if not path.is_dir():
            raise UserError(f"--include-path {path}: {no_such(path, 'folder')}")
    cache_templates()
    manager = _manager(names, include_paths, model_arguments)
    set_seeds()
    with _told_as_mistake(f"tasks {', '.join(names)}: cannot be loaded"):
        task_dict = manager.load(list(names))
    parts = {}
    for name, task in task_dict["tasks"].items():
        with _told_as_mistake(f"task {name}: its requests cannot be made"):
            _apply_shots(task, num_fewshot)
            if hasattr(task, "reports_item_metrics"):
                task.reports_item_metrics = False  # computed from Samples, for all items at once
            _build_once(task, limit)
            parts[name] = task_parts(task)
    return LoadedTasks(task_dict, _facts(task_dict, parts))


def _facts(task_dict: dict[str, Any], parts: dict[str, dict[str, str]]) -> TaskIdentities:
    groups = (_group_facts(name, group) for name, group in task_dict.get("groups", {}).items())
    return TaskIdentities(
        parts=parts,
        generating=tuple(
            name for name, task in task_dict["tasks"].items() if str(task.OUTPUT_TYPE) == "generate_until"
        ),
        groups=tuple(one for one in groups if one.aggregates),
    )


def _group_facts(name: str, group: Any) -> GroupFacts:
    aggregates = []
    for one in getattr(group, "aggregate_metric_list", None) or ():
        filters = None if one.filter_list is None else tuple(map(str, _listed(one.filter_list)))
        aggregates.append((str(one.metric), filters, bool(one.weight_by_size)))
    return GroupFacts(name, tuple(str(task.task_name) for task in group.get_all_tasks()), tuple(aggregates))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


@contextmanager
def _told_as_mistake(what: str) -> Iterator[None]:
    """Whatever a task's own code, or lm-eval's, raises becomes one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what} ({type(error).__name__}: {one_line(error)})") from error


def _manager(names: Sequence[str], include_paths: Sequence[Path], model_arguments: dict[str, Any]) -> Any:
    """A task manager that knows every name; lm-eval's own 13,986 files are read only where one is wanted."""
    from lm_eval.tasks import TaskManager

    folders = [*map(str, task_folders()), *map(str, include_paths)]
    ours = TaskManager(include_path=folders, include_defaults=False, metadata=model_arguments)
    if all(name in _known(ours) or Path(name).suffix in (".yaml", ".yml") for name in names):
        return ours
    include_task_folders(TaskManager)  # done already where the start-up shim is on; ours must not be listed twice
    paths = [str(path) for path in include_paths] or None
    everything = TaskManager(include_path=paths, include_defaults=True, metadata=model_arguments)
    for name in names:
        if name not in _known(everything) and Path(name).suffix not in (".yaml", ".yml"):
            raise UserError(f"--tasks: unknown task {name!r}. {nearest_names(name, everything.all_tasks)}")
    return everything


def _known(manager: Any) -> Any:
    """Every name that a task manager knows, tasks, groups and tags; 0.5 calls the index its own."""
    index = getattr(manager, "task_index", None)
    return getattr(manager, "_task_index", manager.all_tasks) if index is None else index


def _apply_shots(task: Any, num_fewshot: int | None) -> None:
    """As ``simple_evaluate`` does: a task that fixes zero shots keeps them."""
    fixed = task.get_config("num_fewshot")
    if num_fewshot is not None and fixed != 0:
        task.set_config(key="num_fewshot", value=num_fewshot)
    elif fixed is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=SEEDS["fewshot"])


@contextmanager
def _their_bar_hidden() -> Iterator[None]:
    """One progress bar is enough, and it is ours."""
    bar = inner_part(*THEIR_BARS, without="its own progress bars are shown beside ours")
    if bar is None:
        yield
        return
    module = next(one for one in map(sys.modules.get, THEIR_BAR_MODULES) if getattr(one, "tqdm", None) is bar)
    module.tqdm = lambda items, **_: items  # type: ignore[union-attr]
    try:
        yield
    finally:
        module.tqdm = bar  # type: ignore[union-attr]


def _build_once(task: Any, limit: int | None) -> None:
    """Build the requests now; when lm-eval asks again, for the next checkpoint, the same ones come without answers."""
    with _their_bar_hidden():
        task.build_all_requests(limit=limit)

    def forget_answers(**_: Any) -> None:
        for instance in task.instances:
            instance.resps = []
            instance.filtered_resps = {}

    task.build_all_requests = forget_answers
