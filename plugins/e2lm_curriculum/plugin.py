"""The hooks of this plugin."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from e2lm import hookimpl

if TYPE_CHECKING:
    from e2lm import Command, Curriculum, Verb


@hookimpl
def e2lm_register_commands() -> Iterable[Command]:
    """``e2lm train``."""
    from e2lm_curriculum.cli.command import TRAIN_COMMAND

    return [TRAIN_COMMAND]


@hookimpl
def e2lm_register_curricula() -> Iterable[Curriculum]:
    """``shuffle``, the arm every other order is compared with, and the presets."""
    from e2lm_curriculum.plan.draws import SHUFFLE
    from e2lm_curriculum.plan.preset import preset_curricula

    return [SHUFFLE, *preset_curricula()]


@hookimpl
def e2lm_register_verbs() -> Iterable[Verb]:
    """What ``e2lm.train(...)`` does from Python."""
    from e2lm import Verb

    return [
        Verb(
            "train",
            "(config=None, **options)",
            "Train a ladder of small models, or compare curricula.",
            "e2lm_curriculum.verb:train",
        )
    ]
