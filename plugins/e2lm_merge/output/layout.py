"""Where every output tensor will lie: files, headers and offsets, decided before the first number is written.

Format: 8 bytes little-endian header length, a JSON header, then the tensors (safetensors README).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from e2lm.weights import SHARD_INDEX, SINGLE_FILE
from e2lm_merge.numbers.blocks import TensorMerge

#: transformers' default, which is also what the Hub serves well.
DEFAULT_SHARD_BYTES = 5_000_000_000

#: The format wants the first tensor at a multiple of 8.
ALIGNMENT = 8


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """File and byte range of one tensor."""

    file: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class FileLayout:
    """One output file: its header, ready to be written, and its whole size."""

    name: str
    header: bytes
    size: int


@dataclass(frozen=True, slots=True)
class WeightLayout:
    """All output files and the place of every tensor by name."""

    files: tuple[FileLayout, ...]
    places: dict[str, TensorPlace]
    total_size: int

    @property
    def index(self) -> dict[str, object] | None:
        """The content of ``model.safetensors.index.json``; None for a single file."""
        if len(self.files) == 1:
            return None
        weight_map = {name: place.file for name, place in sorted(self.places.items())}
        return {"metadata": {"total_size": self.total_size}, "weight_map": weight_map}


def lay_out(merges: Sequence[TensorMerge], shard_bytes: int = DEFAULT_SHARD_BYTES) -> WeightLayout:
    """The layout of ``merges`` in shards of at most ``shard_bytes`` (one tensor at least)."""
    shards: list[list[TensorMerge]] = [[]]
    filled = 0
    for merge in merges:
        if shards[-1] and filled + merge.nbytes > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(merge)
        filled += merge.nbytes
    files, places = [], {}
    for number, shard in enumerate(shards, start=1):
        name = SINGLE_FILE if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        file, inside = _file(name, shard)
        files.append(file)
        places.update(inside)
    return WeightLayout(tuple(files), places, sum(merge.nbytes for merge in merges))


def _file(name: str, shard: Sequence[TensorMerge]) -> tuple[FileLayout, dict[str, TensorPlace]]:
    # Widest types first keeps every tensor aligned to its own type without gaps, which the format forbids.
    ordered = sorted(shard, key=lambda merge: (-(merge.nbytes // max(1, merge.numel)), merge.name))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for merge in ordered:
        end = offset + merge.nbytes
        header[merge.name] = {"dtype": merge.dtype, "shape": list(merge.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % ALIGNMENT)
    begin = 8 + len(text)
    places = {}
    offset = begin
    for merge in ordered:
        places[merge.name] = TensorPlace(name, offset, offset + merge.nbytes)
        offset += merge.nbytes
    return FileLayout(name, struct.pack("<Q", len(text)) + text, offset), places


__all__ = ["DEFAULT_SHARD_BYTES", "SHARD_INDEX", "FileLayout", "TensorPlace", "WeightLayout", "lay_out"]
