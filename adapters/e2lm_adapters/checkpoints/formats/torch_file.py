"""What ``torch.save`` wrote into a file, known without torch and without running anything of it.

A pickle names functions and has them called. Here every name stands for an inert object that remembers what it was
called with, so nothing of the file is imported or run; tensors are told by their shapes, their numbers are not read.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2lm.errors import UserError, one_line

#: Of the archive that torch >= 1.6 writes, and of the pickles before it.
_ARCHIVE, _PICKLE = b"PK\x03\x04", b"\x80"
_TENSORS = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3")
_WRAPPED = ("_rebuild_parameter", "_rebuild_parameter_with_state", "_rebuild_from_type_v2")


@dataclass(frozen=True, slots=True)
class TensorShape:
    """A tensor of the file: its shape, and no number of it."""

    shape: tuple[int, ...]


class Inert:
    """Any object of a pickle: what it was made with, ``made_of``, and what was put into it, ``state``."""

    made_of: tuple[Any, ...]
    state: dict[Any, Any]

    def __new__(cls, *made_of: Any, **named: Any) -> Inert:
        """Pickles make objects with and without ``__init__``."""
        made = super().__new__(cls)
        made.made_of, made.state = made_of, dict(named)
        return made

    def __init__(self, *made_of: Any, **named: Any) -> None:
        """Nothing more."""

    def __setstate__(self, state: Any) -> None:
        parts = state if isinstance(state, tuple) else (state,)  # a second one where the class has slots
        for part in parts:
            self.state.update(part if isinstance(part, dict) else {})

    def __setitem__(self, key: Any, value: Any) -> None:
        self.state[_hashable(key)] = value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("made_of", "state"):
            raise AttributeError(name)
        return self.state.get(name)

    def append(self, _: Any) -> None:
        """Items of a list of its own kind are nothing that is asked for."""

    def extend(self, _: Any) -> None:
        """As :meth:`append`."""


class _Inspector(pickle.Unpickler):
    """An unpickler that finds nothing but inert classes and the plain ordered mapping."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if name in _TENSORS:
            return _shape_of
        if name in _WRAPPED:
            return _wrapped
        return type(name, (Inert,), {})

    def persistent_load(self, pid: Any) -> Any:
        return pid


def _shape_of(*parts: Any) -> TensorShape:
    size = next((part for part in parts[2:3]), ())
    size = size.made_of[0] if isinstance(size, Inert) and size.made_of else size
    return TensorShape(tuple(int(extent) for extent in size))


def _wrapped(*parts: Any) -> Any:
    """The tensor that a parameter, or a tensor of a class of its own, is made of."""
    inside = [part for part in parts if isinstance(part, TensorShape)]
    return inside[0] if inside else _shape_of(*parts[2]) if len(parts) > 2 and isinstance(parts[2], tuple) else None


def _hashable(key: Any) -> Any:
    try:
        hash(key)
    except TypeError:
        return repr(key)
    return key


def inspected_pickle(stream: bytes, file: Path) -> Any:
    """What the pickle ``stream`` of ``file`` holds, inert; a :class:`UserError` where it is none."""
    try:
        return _Inspector(io.BytesIO(stream)).load()
    except Exception as error:  # a damaged pickle raises anything
        raise UserError(f"{file}: cannot be read ({one_line(error):.120})") from error


def inspected(file: Path) -> Any:
    """What ``file`` holds, inert; a :class:`UserError` where it is not whole or not of ``torch.save``."""
    why = why_not_whole(file)
    if why:
        raise UserError(f"{file}: {why}")
    with zipfile.ZipFile(file) as archive:
        name = next((one for one in archive.namelist() if one.rpartition("/")[2] == "data.pkl"), None)
        if name is None:
            raise UserError(f"{file}: an archive without data.pkl, so not of torch.save")
        return inspected_pickle(archive.read(name), file)


def why_not_whole(file: Path) -> str:
    """Why ``file`` is not, or not yet, what ``torch.save`` writes; empty where it is.

    The table of contents stands at the end of the archive and is written last.
    """
    try:
        with open(file, "rb") as handle:
            first = handle.read(4)
    except OSError as error:
        return f"{file.name} cannot be read ({error.strerror})"
    if first[:1] == _PICKLE:
        return f"{file.name} is of torch before 1.6; load and save it again"
    if not zipfile.is_zipfile(file):
        begun = first == _ARCHIVE[: len(first)]
        return f"{file.name} is cut short or still being written" if begun else f"{file.name} is not of torch.save"
    return ""


def shapes_in(stored: Any) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor in a mapping of names to tensors; other entries are left out."""
    if not isinstance(stored, Mapping):
        return {}
    return {str(name): one.shape for name, one in stored.items() if isinstance(one, TensorShape)}


def numbers_in(shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """Numbers in tensors of these shapes; None where there is no tensor."""
    return sum(math.prod(shape) for shape in shapes.values()) if shapes else None


def files_of(folder: Path, *patterns: str) -> Iterator[Path]:
    """Files below ``folder`` that match, in order."""
    for pattern in patterns:
        yield from sorted(one for one in folder.glob(pattern) if one.is_file())
