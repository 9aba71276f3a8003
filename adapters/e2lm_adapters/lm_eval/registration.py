"""Puts what plugins registered into lm-eval's own registries, where lm-eval does not do so itself."""

from __future__ import annotations

import functools
import inspect
import logging
from pathlib import Path
from typing import Any

from e2lm.evaluation_model import EvaluationModel
from e2lm.plugin_manager import plugin_manager
from e2lm.task_suite import TaskSuite
from e2lm_adapters.lm_eval.release import inner_part, models_read_by_lm_eval, release, say_once

log = logging.getLogger("e2lm")


def register_models() -> None:
    """Make ``--model NAME`` known for every registered model. Call after ``lm_eval.models`` has been imported.

    lm-eval's own names always win, and those that it finds by entry points are left to it. Strings are registered, not
    classes: nothing is imported before it is used.
    """
    registry = inner_part(
        "lm_eval.api.registry:model_registry", without="models of plugins are not known there; `e2lm eval` knows them"
    )
    if registry is None:
        return
    theirs = models_read_by_lm_eval()
    for claims in plugin_manager().registered("e2lm_register_models", EvaluationModel).values():
        model = claims[0].item
        if len(claims) > 1:
            log.error("model %r is claimed by %s and %s: left out", model.name, *(c.plugin.label for c in claims[:2]))
        elif model.name not in registry and model.name not in theirs:
            registry.register(model.name, target=model.target)


def task_folders() -> list[Path]:
    """Folders of tasks that plugins registered, in plugin order."""
    suites = plugin_manager().registered("e2lm_register_tasks", TaskSuite).values()
    return [Path(claim.item.folder) for claims in suites for claim in claims]


def include_task_folders(task_manager: type[Any]) -> None:
    """Let every ``TaskManager`` see the registered tasks, before the user's ``include_path``, which wins."""
    original = task_manager.__init__
    if getattr(original, "includes_e2lm_tasks", False):
        return
    if not {"include_path", "include_defaults"} <= set(inspect.signature(original).parameters):
        say_once(
            f"lm-eval {release()} has no TaskManager(include_path, include_defaults): tasks of plugins are found by "
            "--include_path only"
        )
        return

    @functools.wraps(original)
    def with_plugin_tasks(
        self: Any, verbosity: Any = None, include_path: Any = None, include_defaults: bool = True, **options: Any
    ) -> None:
        paths = include_path
        if include_defaults:
            try:
                given = [] if include_path is None else include_path
                given = list(given) if isinstance(given, list | tuple) else [given]
                paths = [*map(str, task_folders()), *given] or None
            except Exception:
                log.exception("e2lm tasks could not be added to lm-eval (set E2LM_AUTOLOAD=0 to switch this off)")
        original(self, verbosity, include_path=paths, include_defaults=include_defaults, **options)
        self.include_path = include_path

    with_plugin_tasks.includes_e2lm_tasks = True  # type: ignore[attr-defined]
    task_manager.__init__ = with_plugin_tasks
