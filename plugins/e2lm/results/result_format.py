"""What a format of result files takes and gives: one file of other people's, and what it says of tasks."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from functools import cache
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from e2lm.errors import UserError, one_line
from e2lm.kind import checked_name
from e2lm.results.result import Notes, Reading, TaskResult

#: Bytes up to which reading JSON is as cheap as looking for words in it.
_SMALL = 2**16


#: Stands for what nobody has asked for yet.
_UNREAD = object()


@dataclass(slots=True)
class ResultFile:
    """A file that may hold results, found below ``root``; it is read once, whatever number of formats look at it.

    ``alone``: the user named this very file, so whatever lies around it was not meant. ``beside``: the names of
    ``.jsonl`` files in its folder, None where nobody has looked.
    """

    path: Path
    root: Path
    reading: Reading = field(default_factory=Reading)
    notes: Notes = field(default_factory=Notes)
    alone: bool = False
    beside: frozenset[str] | None = None
    #: ``path`` as the system gave it; made of the path again it takes a third of the time of reading.
    text: str = ""
    _content: bytes | None = field(default=None, init=False, repr=False, compare=False)
    _data: Any = field(default=_UNREAD, init=False, repr=False, compare=False)

    @property
    def content(self) -> bytes:
        """What is in it; a :class:`UserError` where it cannot be read."""
        if self._content is None:
            try:
                self._content = _read(self.text or str(self.path))
            except OSError as error:
                raise UserError(f"{self.path}: cannot be read ({error.strerror})") from error
        return self._content

    @property
    def data(self) -> Any:
        """The JSON in it; a :class:`UserError` where it is none."""
        if self._data is _UNREAD:
            try:
                self._data = from_json(self.content, cache_strings="keys")  # twice as fast as ``json``, the same bits
            except ValueError:  # or what only ``json`` takes: a byte order mark, half a surrogate pair
                self._data = self._data_by_json()
        return self._data

    def _data_by_json(self) -> Any:
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self.path}: not valid JSON ({one_line(error)})") from error

    def says(self, *words: str) -> bool:
        """Whether all ``words`` stand in it, which is found out sooner than what they mean there."""
        return all(word.encode() in self.content for word in words)

    def has_keys(self, *keys: str) -> bool:
        """Whether it is an object of JSON with all ``keys``; a large file of somebody else is not parsed for that."""
        if self._data is _UNREAD and len(self.content) > _SMALL and not self.says(*(f'"{one}"' for one in keys)):
            return False
        data = self.data
        return isinstance(data, dict) and all(map(data.__contains__, keys))


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

    @property
    def looked_at(self) -> re.Pattern[str]:
        """Names of files that are shown to it."""
        return shell_pattern((*self.patterns, *self.own))

    @property
    def owned(self) -> re.Pattern[str]:
        """Names of files that are surely meant to be of this format."""
        return shell_pattern(self.own)


def _read(path: str) -> bytes:
    """What is in the file, in half the time that ``open`` takes for a small one."""
    opened = os.open(path, os.O_RDONLY)
    try:
        parts = [os.read(opened, _SMALL)]
        if len(parts[0]) == _SMALL:
            parts.append(os.read(opened, os.fstat(opened).st_size))
        while parts[-1]:
            parts.append(os.read(opened, _SMALL))
    finally:
        os.close(opened)
    return b"".join(parts)


@cache
def shell_pattern(shell: tuple[str, ...]) -> re.Pattern[str]:
    """Names that fit one of the ``shell`` patterns; none of them fits nothing."""
    return re.compile("|".join(map(translate, shell)) if shell else r"(?!)")
