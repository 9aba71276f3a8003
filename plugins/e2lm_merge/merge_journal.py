"""The journal of a merge under way: one line per finished tensor, with the checksum of its bytes.

A line is written after its tensor. After a kill the page cache still holds both; after a power cut it may hold either
one alone, so a tensor counts as done only if the bytes in the file still have the checksum in the line.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

JOURNAL_FILE = "journal.jsonl"


@dataclass(frozen=True, slots=True)
class FinishedTensor:
    """A tensor that was written: XXH3-128 of its bytes and of every input's, in hexadecimal digits."""

    name: str
    output: str
    inputs: tuple[str, ...]


class MergeJournal:
    """Appends to and reads the journal in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL_FILE
        self._lock = Lock()
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def add(self, finished: FinishedTensor) -> None:
        """Append one line in one write, so that a kill leaves it whole or leaves a last line that does not parse."""
        line = json.dumps([finished.name, finished.output, list(finished.inputs)]) + "\n"
        assert self._descriptor is not None
        with self._lock:
            os.write(self._descriptor, line.encode())

    def read(self) -> dict[str, FinishedTensor]:
        """Every whole line by name of its tensor; none where there is no journal."""
        if not self.path.is_file():
            return {}
        found = {}
        for line in self.path.read_bytes().split(b"\n"):
            try:
                name, output, inputs = json.loads(line)
            except ValueError:
                continue
            found[name] = FinishedTensor(name, output, tuple(inputs))
        return found
