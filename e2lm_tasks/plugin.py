"""The hooks of this plugin."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from pathlib import Path

from e2lm import Command, TaskSuite, hookimpl


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
    """``e2lm tasks``."""
    return [Command("tasks", "List task suites, or build one from held-out text.", _configure, _run)]


def _configure(parser: ArgumentParser) -> None:
    from e2lm_tasks.building.command import configure

    configure(parser)


def _run(arguments: Namespace) -> int:
    from e2lm_tasks.building.command import run

    return run(arguments)
