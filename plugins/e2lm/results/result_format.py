"""What a format of result files takes and gives: one file of other people's, and what it says of tasks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from e2lm.errors import UserError, one_line
from e2lm.kind import checked_name
from e2lm.results.result import Notes, Reading, TaskResult


@dataclass(frozen=True)
class ResultFile:
    """A file that may hold results, found below ``root``; it is read once, whatever number of formats look at it.

    ``alone``: the user named this very file, so whatever lies around it was not meant.
    """

    path: Path
    root: Path
    reading: Reading = field(default_factory=Reading)
    notes: Notes = field(default_factory=Notes)
    alone: bool = False

    @cached_property
    def content(self) -> bytes:
        """What is in it; a :class:`UserError` where it cannot be read."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror})") from error

    @cached_property
    def data(self) -> Any:
        """The JSON in it; a :class:`UserError` where it is none."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self.path}: not valid JSON ({one_line(error)})") from error

    def says(self, *words: str) -> bool:
        """Whether all ``words`` stand in it, which is found out sooner than what they mean there."""
        return all(word.encode() in self.content for word in words)


@dataclass(frozen=True, slots=True)
class ResultFormat:
    """Files of results that a program writes.

    ``read(file)`` gives a :class:`e2lm.results.result.TaskResult` for each task in a :class:`ResultFile`, None where
    the file is none of this format. It is shown files whose names fit one of ``patterns``. A damaged file is a
    :class:`UserError`, which costs that file, if its name fits one of ``own`` too; else it is somebody else's.
    """

    name: str
    description: str
    read: Callable[[ResultFile], Sequence[TaskResult] | None]
    patterns: tuple[str, ...] = ("*.json",)
    own: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checked_name(self.name, "result format")

    def looks_at(self, path: Path) -> bool:
        """Whether files of this name are shown to it."""
        return any(fnmatchcase(path.name, pattern) for pattern in (*self.patterns, *self.own))

    def owns(self, path: Path) -> bool:
        """Whether a file of this name is surely meant to be one of this format."""
        return any(fnmatchcase(path.name, pattern) for pattern in self.own)
