"""A sub-command of ``e2lm`` that a plugin brings."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass

from e2lm.kind import checked_name


@dataclass(frozen=True, slots=True)
class Command:
    """``e2lm NAME ...``: ``configure`` adds the arguments, ``run`` does the work and returns the exit code.

    ``configure`` is called only when this command was typed, so it must be cheap but need not be instant; heavy
    imports belong into ``run``. ``run`` reports mistakes of the user by raising :class:`e2lm.UserError`.
    A command with ``takes_rest=True`` gets every argument after its name, unparsed, as ``arguments.rest``.
    """

    name: str
    help: str
    configure: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]
    takes_rest: bool = False

    def __post_init__(self) -> None:
        checked_name(self.name, "command")
