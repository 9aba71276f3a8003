"""The hooks of this plugin."""

from __future__ import annotations

from collections.abc import Iterable

from e2lm import Command, Judge, hookimpl


@hookimpl
def e2lm_register_commands() -> Iterable[Command]:
    """``e2lm leaderboard``."""
    from e2lm_leaderboard.cli.command import LEADERBOARD_COMMAND

    return [LEADERBOARD_COMMAND]


@hookimpl
def e2lm_register_judges() -> Iterable[Judge]:
    """Judges of science alignment: an offline one, and one that asks a model."""
    from e2lm_leaderboard.season.judges import MODEL_JUDGE, SCIENCE_JUDGE

    return [SCIENCE_JUDGE, MODEL_JUDGE]
