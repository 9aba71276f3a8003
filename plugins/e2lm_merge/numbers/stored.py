"""Where the numbers of one tensor of one model come from: a safetensors file, or anything that can fill bytes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Protocol

from e2lm.errors import UserError
from e2lm.weights import StoredTensor
from e2lm_merge.numbers.formats import Bytes


class StoredNumbers(Protocol):
    """One tensor of one model: ``label`` names the model as the user wrote it."""

    @property
    def label(self) -> str:
        """The model, as the user wrote it."""
        ...

    @property
    def dtype(self) -> str:
        """The type in which the numbers are stored, as safetensors names it."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole tensor."""
        ...

    def read(self, start: int, into: Bytes) -> None:
        """Fill ``into`` with stored bytes from byte ``start`` of the tensor on."""
        ...


class OpenFiles:
    """File descriptors of weight files, each opened once; reading at an offset is safe from many threads."""

    def __init__(self) -> None:
        self._descriptors: dict[Path, int] = {}
        self._lock = Lock()

    def descriptor(self, file: Path) -> int:
        """The descriptor of ``file``, opened on first use."""
        with self._lock:
            if file not in self._descriptors:
                self._descriptors[file] = os.open(file, os.O_RDONLY)
            return self._descriptors[file]

    def close(self) -> None:
        """Close all of them; a later read opens anew."""
        with self._lock:
            for descriptor in self._descriptors.values():
                os.close(descriptor)
            self._descriptors.clear()


@dataclass(frozen=True, slots=True)
class FileNumbers:
    """A tensor in a safetensors file."""

    label: str
    stored: StoredTensor
    files: OpenFiles = field(compare=False)

    @property
    def dtype(self) -> str:
        """The stored type."""
        return self.stored.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole tensor."""
        return self.stored.shape

    def read(self, start: int, into: Bytes) -> None:
        """Fill ``into``; see :class:`StoredNumbers`."""
        read_bytes(self.files.descriptor(self.stored.file), self.stored.start + start, into, self.stored.file)


def read_bytes(descriptor: int, start: int, into: Bytes, file: Path) -> None:
    """Fill ``into`` from ``start``; a :class:`UserError` where the file ends before."""
    view, done = into.data, 0
    while done < len(view):
        got = os.preadv(descriptor, [view[done:]], start + done)
        if got == 0:
            raise UserError(f"{file}: the file became shorter while it was read; copy it again")
        done += got


def write_bytes(descriptor: int, start: int, bytes_: Bytes) -> None:
    """Write all of ``bytes_`` at ``start``."""
    view, done = bytes_.data, 0
    while done < len(view):
        done += os.pwrite(descriptor, view[done:], start + done)
