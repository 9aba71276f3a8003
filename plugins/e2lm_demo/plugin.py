"""The hooks of this plugin."""

from __future__ import annotations

from collections.abc import Iterable

from e2lm import Command, Verb, hookimpl


@hookimpl
def e2lm_register_commands() -> Iterable[Command]:
    """``e2lm demo``."""
    from e2lm_demo.command import DEMO_COMMAND

    return [DEMO_COMMAND]


@hookimpl
def e2lm_register_verbs() -> Iterable[Verb]:
    """What ``e2lm.demo(...)`` does from Python."""
    return [
        Verb(
            "demo",
            "(out=None, **options)",
            "Train recipes whose order is known, and see what tells it, offline.",
            "e2lm_demo.verb:demo",
        )
    ]
