"""Loads lm-eval tasks by name, our own quickly and all others on demand.

Templates are compiled once: lm-eval 0.4.13 compiles a task's templates anew for every document and every use
(``lm_eval.utils.apply_template``), which takes about a third of the CPU time of a series of small models. The cache
changes no text: same source, same template.
"""

from __future__ import annotations

import functools
import json
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from e2lm.errors import UserError, nearest_names, one_line
from e2lm_adapters.lm_eval.registration import include_task_folders, task_folders
from e2lm_adapters.lm_eval.release import inner_part

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


#: Raised when tasks whose choices are contexts, or that have several right answers, come out as other Samples.
SAMPLES_VERSION = 2

#: Modules that show a bar while requests are built: of 0.5, of releases before.
THEIR_BAR_MODULES = ("lm_eval.api.task._task", "lm_eval.api.task")
THEIR_BARS = tuple(f"{name}:tqdm" for name in THEIR_BAR_MODULES)

#: lm-eval's own defaults (``lm_eval run --seed``): Python, numpy, torch, few-shot.
SEEDS = {"python": 0, "numpy": 1234, "torch": 1234, "fewshot": 1234}


@dataclass(frozen=True, slots=True)
class LoadedTasks:
    """Tasks ready for ``lm_eval.evaluator.evaluate``; ``hashes`` identify what each of them asks and expects."""

    task_dict: dict[str, Any]
    hashes: dict[str, str]

    @property
    def names(self) -> list[str]:
        """Names of the tasks, groups taken apart."""
        return list(self.task_dict["tasks"])


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
            raise UserError(f"--include-path {path}: no such folder")
    cache_templates()
    manager = _manager(names, include_paths, model_arguments)
    set_seeds()
    with _told_as_mistake(f"tasks {', '.join(names)}: cannot be loaded"):
        task_dict = manager.load(list(names))
    hashes = {}
    for name, task in task_dict["tasks"].items():
        with _told_as_mistake(f"task {name}: its requests cannot be made"):
            _apply_shots(task, num_fewshot)
            if hasattr(task, "reports_item_metrics"):
                task.reports_item_metrics = False  # computed from Samples, for all items at once
            hashes[name] = _task_hash(task, limit)
    return LoadedTasks(task_dict, hashes)


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


def _task_hash(task: Any, limit: int | None) -> str:
    """SHA-256 over every request, its target and how it is judged: what is asked, not how the YAML spells it."""
    _build_once(task, limit)
    config = task.dump_config()
    judged = {
        key: config.get(key) for key in ("output_type", "metric_list", "filter_list", "generation_kwargs", "repeats")
    }
    if getattr(task, "multiple_input", False) or getattr(task, "multiple_target", False):
        judged["samples"] = SAMPLES_VERSION
    digest = sha256(json.dumps([task.task_name, judged], sort_keys=True, default=str).encode())
    for instance in task.instances:
        # surrogatepass: damaged text must not stop the evaluation of a benchmark that has it
        target = task.doc_to_target(instance.doc) if hasattr(task, "doc_to_target") else ""
        digest.update(repr((instance.request_type, instance.args, target)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
