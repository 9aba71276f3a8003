"""The hooks of this plugin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from e2lm import Command, TaskSuite, Verb, hookimpl
from e2lm.answer import Answer
from e2lm.command import Action


@hookimpl
def e2lm_register_tasks() -> Iterable[TaskSuite]:
    """The suites that come with this package."""
    return [
        TaskSuite(
            "e2lm-early",
            Path(__file__).parent / "early",
            "Tasks made from the prose of Python's own documentation, sensitive from the first steps of training on.",
        ),
        TaskSuite(
            "e2lm-science-facts",
            Path(__file__).parent / "science_facts",
            "Plain facts of science against coherent but false twins, in five grades from a child's to a handbook's.",
        ),
        TaskSuite(
            "e2lm-hub",
            Path(__file__).parent / "hub",
            "MMLU, ARC, SciQ, HellaSwag and others as texts, not letters; from the Hub or from files (E2LM_DATA).",
        ),
        TaskSuite(
            "e2lm-minimal-pairs",
            Path(__file__).parent / "minimal_pairs",
            "BLiMP, its BabyLM-filtered part and Zorro from local files (E2LM_DATA), ties shared, with baselines.",
        ),
    ]


@hookimpl
def e2lm_register_commands() -> Iterable[Command]:
    """``e2lm tasks`` and ``e2lm compete``."""
    entry = {
        name: Action(help, f"e2lm_tasks.compete.command:configure_{name}", f"e2lm_tasks.compete.command:run_{name}")
        for name, help in {
            "check": "what in an entry breaks the published rules",
            "export": "write submission.zip: evaluation.patch and metadata.yaml",
            "bundle": "write the entry as a bundle for a season of e2lm leaderboard",
        }.items()
    }
    return [
        _tasks_command(),
        Command.with_actions("compete", "Enter the E2LM competition: check and export an entry.", entry),
    ]


def _tasks_command() -> Command:
    actions = {
        name: Action(help, f"e2lm_tasks.building.command:configure_{name}", f"e2lm_tasks.building.command:run_{name}")
        for name, help in {
            "list": "list the task suites of the installed plugins",
            "build": "build multiple-choice tasks from text that no model was trained on",
            "ladder": "at which checkpoint each rung of the ladder turns on in a run",
        }.items()
    }
    return Command.with_actions("tasks", "List task suites, or build one from held-out text.", actions)


@hookimpl
def e2lm_register_verbs() -> Iterable[Verb]:
    """What ``e2lm.build_tasks(...)`` does from Python."""
    return [
        Verb("build_tasks", "(corpus, out, **options)", "Tasks from text that no model was trained on.",
             "e2lm_tasks.plugin:build_tasks"),
    ]  # fmt: skip


def build_tasks(
    corpus: str | PathLike[str] | Sequence[str | PathLike[str]], out: str | PathLike[str], **options: Any
) -> Answer:
    """The card of the tasks that were made of ``corpus`` into the folder ``out``; options are those of the command."""
    return _tasks_command().answer({"corpus": corpus, "out": out, **options}, "build")
