"""What is stored in the safetensors files of a checkpoint, read from their headers alone.

Format: 8 bytes little-endian header length, a JSON header, then the tensors (safetensors README). Only safetensors are
read: a pickle can run code.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from e2lm.errors import UserError, one_line
from e2lm.parameter_count import ParameterCount, StoredShape, count_parameters

CONFIG_FILE = "config.json"
SINGLE_FILE = "model.safetensors"
SHARD_INDEX = "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
#: What helps whoever has a run that another program wrote.
OTHER_LAYOUTS = "`e2lm checkpoints RUN --write DIR` writes such folders of other layouts, or names what converts them"

_SHARD = re.compile(r"model-([0-9]+)-of-([0-9]+)\.safetensors")

#: The format's own limit on the header (safetensors README).
MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where one tensor is: its file, type (``"F32"``, ``"BF16"`` ...), shape, and byte range within the file."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class WeightIndex:
    """Every tensor of a checkpoint by name, and the files that hold them."""

    folder: Path
    files: tuple[Path, ...]
    tensors: dict[str, StoredTensor]

    def parameters(self, config: Mapping[str, Any] | None = None) -> ParameterCount:
        """What of it is trained; ``config`` is the ``config.json`` of a checkpoint that is not on this machine."""
        stored = {name: StoredShape(one.shape, one.dtype) for name, one in self.tensors.items()}
        return count_parameters(stored, read_config(self.folder) if config is None else config)

    @property
    def params(self) -> int:
        """Numbers that are trained, each once."""
        return self.parameters().params

    @property
    def params_non_embedding(self) -> int:
        """Numbers that are trained outside of embeddings and output head."""
        return self.parameters().params_non_embedding

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor by name."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}


def other_shape(first: WeightIndex, other: WeightIndex) -> str:
    """Which tensor of ``other`` has another shape than in ``first``; empty where each that both hold has the same.

    A tensor that one of them lacks (a mask that older releases stored, a tied head written out, names without the
    model's prefix) is the loader's matter: it knows what the model needs.
    """
    theirs = other.shapes
    for name, shape in sorted(first.shapes.items()):
        if theirs.get(name, shape) != shape:
            return (
                f"tensor {name!r} has shape {list(theirs[name])}, in {first.folder.name} of the same series "
                f"{list(shape)}; a series holds checkpoints of one model"
            )
    return ""


def read_config(folder: Path) -> dict[str, Any]:
    """The ``config.json`` of the checkpoint in ``folder``; empty where there is none that can be read."""
    try:
        found = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def holds_weights(folder: Path) -> bool:
    """Whether weights lie directly in ``folder``, pickled ones and single shards included."""
    names = (SINGLE_FILE, SHARD_INDEX, *PICKLES)
    return any((folder / name).is_file() for name in names) or any(folder.glob("model-*-of-*.safetensors"))


def read_weight_index(folder: Path) -> WeightIndex:
    """The index of the checkpoint in ``folder``; a :class:`UserError` for missing, damaged or pickled weights."""
    files = _weight_files(folder)
    tensors: dict[str, StoredTensor] = {}
    for file in files:
        for name, tensor in _read_header(file).items():
            if name in tensors:
                raise UserError(f"{file}: tensor {name!r} is also in {tensors[name].file.name}")
            tensors[name] = tensor
    if not tensors:
        raise UserError(f"{folder}: the checkpoint holds no tensors")
    return WeightIndex(folder, files, tensors)


def _weight_files(folder: Path) -> tuple[Path, ...]:
    # In this order, as in from_pretrained: a folder may hold a later save beside the shards of an earlier one.
    if (folder / SINGLE_FILE).is_file() and not _is_a_shard(folder / SINGLE_FILE):
        return (folder / SINGLE_FILE,)
    if (folder / SHARD_INDEX).is_file():
        return _sharded_files(folder)
    shards = sorted(folder.glob("model-*-of-*.safetensors"))
    if shards:
        return _numbered_files(folder, shards)
    for pickle in PICKLES:
        if (folder / pickle).is_file():
            raise UserError(
                f"{folder}: only {pickle} was found, and pickled weights can run code; convert them to safetensors "
                "(e2lm eval --allow-pickle does so, and `e2lm checkpoints RUN --allow-pickle --write DIR`), or let "
                "e2lm merge --allow-pickle read them"
            )
    raise UserError(f"{folder}: no weights; expected {SINGLE_FILE} or {SHARD_INDEX}; {OTHER_LAYOUTS}")


def _is_a_shard(single: Path) -> bool:
    """Whether the index beside it names it as one file of several, all of which must be there."""
    index = single.with_name(SHARD_INDEX)
    return index.is_file() and single.name.encode() in index.read_bytes()


def _numbered_files(folder: Path, shards: list[Path]) -> tuple[Path, ...]:
    """Shards without an index: their names say how many belong together, so all of them are known to be there."""
    counts = [_SHARD.fullmatch(shard.name) for shard in shards]
    told = {(int(one[1]), int(one[2])) for one in counts if one is not None}
    if {of for _, of in told} == {len(shards)} and {number for number, _ in told} == set(range(1, len(shards) + 1)):
        return tuple(shards)
    raise UserError(f"{folder}: {SHARD_INDEX} is missing beside {shards[0].name}; copy it from the source")


def _sharded_files(folder: Path) -> tuple[Path, ...]:
    path = folder / SHARD_INDEX
    try:
        names = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: not a shard index ({one_line(error)}); copy it from the source again") from error
    files = tuple(folder / str(name) for name in names)
    for file in files:
        if file.parent != folder:
            raise UserError(f"{path}: shard {file.name!r} lies outside the checkpoint folder")
        if not file.is_file():
            raise UserError(f"{folder}: shard {file.name} is missing ({len(files)} are listed in {SHARD_INDEX})")
    return files


def tensors_in(file: Path) -> dict[str, StoredTensor]:
    """Every tensor of one safetensors file by name; a :class:`UserError` where the file is damaged or cut short."""
    return _read_header(file)


def _read_header(file: Path) -> dict[str, StoredTensor]:
    size = file.stat().st_size
    with open(file, "rb") as handle:
        first = handle.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else MAX_HEADER_BYTES + 1
        if length > min(MAX_HEADER_BYTES, max(size - 8, 0)):
            raise UserError(f"{file}: damaged (header of {length} bytes in a file of {size}); copy it again")
        raw = handle.read(length)
    try:
        header = json.loads(raw)
        tensors = {
            name: StoredTensor(
                file,
                str(entry["dtype"]),
                tuple(int(extent) for extent in entry["shape"]),
                8 + length + int(entry["data_offsets"][0]),
                8 + length + int(entry["data_offsets"][1]),
            )
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(f"{file}: not a safetensors file ({one_line(error)})") from error
    for name, tensor in tensors.items():
        if min(tensor.shape, default=0) < 0 or not 8 + length <= tensor.start <= tensor.end:
            raise UserError(f"{file}: tensor {name!r} has an impossible shape or place; copy the file again")
    end = max((tensor.end for tensor in tensors.values()), default=8 + length)
    if end > size:
        raise UserError(f"{file}: cut short, {size} of {end} bytes are there; copy it again")
    return tensors


def weights_hash(index: WeightIndex) -> str:
    """SHA-256 over the files of a checkpoint: the same bytes give the same hash, wherever they lie."""
    digest = sha256()
    for file in index.files:
        digest.update(file.name.encode() + b"\0")
        with open(file, "rb") as handle:
            while block := handle.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()
