"""Torch's distributed checkpoints: which pieces of which tensor lie where, read without running the pickled table.

``.metadata``, written last, is a plain pickle, which torch itself loads with all that this allows; here it is inspected
only. The pieces are small files of ``torch.save`` within ``*.distcp``, loaded with ``weights_only=True``.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2lm.errors import UserError, one_line
from e2lm_adapters.checkpoints.formats.torch_file import Inert, files_of, inspected_pickle

if TYPE_CHECKING:
    import torch

METADATA = ".metadata"
#: In which accelerate and the Trainer of transformers put the model of a checkpoint.
DISTRIBUTED_FOLDERS = ("pytorch_model_fsdp_0",)


@dataclass(frozen=True, slots=True)
class TensorBlock:
    """A block of a tensor: where it begins in it, its shape, and which bytes of which file hold it."""

    offsets: tuple[int, ...]
    shape: tuple[int, ...]
    file: Path
    start: int
    length: int


def distributed_folder(place: Path) -> Path | None:
    """The folder of the distributed checkpoint at ``place``, finished or not; None where there is none."""
    if not place.is_dir():
        return None
    for folder in (place, *(place / name for name in DISTRIBUTED_FOLDERS)):
        if (folder / METADATA).is_file() or any(files_of(folder, "*.distcp")):
            return folder
    return None


def distributed_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor by name."""
    table = _table(folder).state_dict_metadata
    sizes = {str(name): _extents(getattr(one, "size", None), None) for name, one in table.items()}
    return {name: size for name, size in sizes.items() if size is not None}


def why_pieces_missing(folder: Path) -> str:
    """Why the checkpoint is not whole: no table, or a file that is shorter than the table says; empty where it is."""
    if not (folder / METADATA).is_file():
        return f"{METADATA!r}, written last, is missing"
    ends: dict[Path, int] = {}
    for piece in (one for pieces in _pieces(folder).values() for one in pieces):
        ends[piece.file] = max(ends.get(piece.file, 0), piece.start + piece.length)
    for file, end in sorted(ends.items()):
        size = file.stat().st_size if file.is_file() else 0
        if size < end:
            return f"{file.name} is cut short, {size} of {end} bytes are there" if size else f"{file.name} is missing"
    return ""


def distributed_tensors(folder: Path, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """The tensors called ``names``, put together from their pieces; a :class:`UserError` where one has a gap."""
    import torch

    shapes, pieces = distributed_shapes(folder), _pieces(folder)
    found = {}
    for name in names:
        whole: torch.Tensor | None = None
        filled = 0
        for piece in pieces.get(name, ()):
            part = _part(piece)
            if whole is None:
                whole = torch.empty(shapes[name], dtype=part.dtype)
            place = tuple(slice(at, at + extent) for at, extent in zip(piece.offsets, piece.shape, strict=True))
            whole[place].copy_(part)
            filled += part.numel()
        if whole is None or filled != whole.numel():
            raise UserError(f"{folder}: pieces of the tensor {name!r} are missing")
        found[name] = whole
    return found


def _part(piece: TensorBlock) -> torch.Tensor:
    import torch

    with open(piece.file, "rb") as handle:
        handle.seek(piece.start)
        stream = handle.read(piece.length)
    try:
        part = torch.load(io.BytesIO(stream), map_location="cpu", weights_only=True)
    except Exception as error:  # torch and pickle raise many kinds
        raise UserError(f"{piece.file}: a piece of a tensor cannot be read ({one_line(error):.120})") from error
    if not isinstance(part, torch.Tensor) or tuple(part.shape) != piece.shape:
        raise UserError(f"{piece.file}: a piece of a tensor has another shape than {METADATA} says")
    return part


def _table(folder: Path) -> Inert:
    file = folder / METADATA
    try:
        table = inspected_pickle(file.read_bytes(), file)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from error
    if not isinstance(table, Inert) or not isinstance(table.state.get("state_dict_metadata"), dict):
        raise UserError(f"{file}: not the table of a distributed checkpoint")
    return table


def _pieces(folder: Path) -> dict[str, list[TensorBlock]]:
    table = _table(folder)
    chunks = {
        (str(name), _extents(chunk.offsets)): _extents(chunk.sizes)
        for name, one in table.state_dict_metadata.items()
        for chunk in (getattr(one, "chunks", None) or ())
    }
    found: dict[str, list[TensorBlock]] = {}
    for name, offsets, stored in _stored(table):
        shape = chunks.get((name, offsets))
        if shape is not None:
            if stored.transform_descriptors:
                raise UserError(f"{folder}: the pieces of {name!r} are packed ({stored.transform_descriptors})")
            file = folder / Path(str(stored.relative_path)).name
            found.setdefault(name, []).append(TensorBlock(offsets, shape, file, int(stored.offset), int(stored.length)))
    return found


def _stored(table: Inert) -> Iterator[tuple[str, tuple[int, ...], Inert]]:
    """Name and offsets of every piece, and where it is."""
    entries = table.state.get("storage_data")
    for index, stored in entries.items() if isinstance(entries, dict) else ():
        if isinstance(index, Inert) and isinstance(stored, Inert) and index.offset is not None:
            yield str(index.fqn), _extents(index.offset), stored


def _extents(size: Any, otherwise: Any = ()) -> Any:
    """A ``torch.Size`` as a tuple of numbers."""
    if isinstance(size, Inert) and size.made_of:
        size = size.made_of[0]
    if not isinstance(size, list | tuple):
        return otherwise
    return tuple(int(extent) for extent in size)
