"""The hooks of this plugin."""

from __future__ import annotations

from collections.abc import Iterable

from e2lm import Command, hookimpl


@hookimpl
def e2lm_register_commands() -> Iterable[Command]:
    """``e2lm view``."""
    from e2lm_view.command import VIEW_COMMAND

    return [VIEW_COMMAND]
