"""Pickled weights, where the user allowed them: their files, and where in these the tensors lie.

Torch's own reader does the unpickling, with ``weights_only=True``: it refuses everything but tensors and plain
containers, so a pickle cannot run code of its own choice. It has had holes (CVE-2025-32434, closed in torch 2.6),
therefore a flag and no default. No number is read: a file that ``torch.save`` wrote is a zip archive whose tensors lie
there uncompressed, as those of safetensors do, so whatever reads the latter reads them.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2lm.errors import UserError, nearest_names, one_line
from e2lm.weights import PICKLES, SHARD_INDEX, SINGLE_FILE, StoredTensor, WeightIndex

if TYPE_CHECKING:
    import torch

#: Bytes of a local header of a zip archive before the entry's name, and where the lengths of name and extra stand.
LOCAL_HEADER = 30
LENGTHS = slice(26, 30)

#: Torch's names of types, and those of the safetensors format.
SAFETENSORS_KINDS = {
    "float64": "F64", "float32": "F32", "bfloat16": "BF16", "float16": "F16", "bool": "BOOL", "uint8": "U8",
    "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip

CONVERT = "load it with torch.load and save its tensors as safetensors"


def is_pickled(folder: Path) -> bool:
    """Whether the weights in ``folder`` are there as pickles only."""
    if (folder / SINGLE_FILE).is_file() or (folder / SHARD_INDEX).is_file():
        return False
    return any((folder / name).is_file() for name in PICKLES)


def pickled_files(folder: Path) -> list[Path]:
    """The pickles of the checkpoint in ``folder``."""
    index = folder / "pytorch_model.bin.index.json"
    if not index.is_file():
        return [folder / "pytorch_model.bin"]
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{index}: not a shard index ({one_line(error)}); copy it from the source again") from error
    files = [folder / str(name) for name in names]
    for file in files:
        if file.parent != folder or not file.is_file():
            raise UserError(f"{index}: {file.name!r} is no file beside it. {nearest_names(file.name, _names(folder))}")
    return files


def read_pickled_index(folder: Path) -> WeightIndex:
    """Every tensor of the pickled checkpoint in ``folder``; a :class:`UserError` for what is damaged or more."""
    files = pickled_files(folder)
    tensors: dict[str, StoredTensor] = {}
    for file in files:
        tensors |= pickled_tensors(file)
    if not tensors:
        raise UserError(f"{folder}: the checkpoint holds no tensors")
    return WeightIndex(folder, tuple(files), tensors)


def pickled_tensors(file: Path) -> dict[str, StoredTensor]:
    """Every tensor that ``torch.save`` wrote into ``file``, by name, with its place in it.

    A :class:`UserError` where the file holds more than tensors by name, or such as do not lie there in one piece.
    """
    places = _entry_places(file)
    return {name: _stored(file, name, tensor, places) for name, tensor in _without_numbers(file).items()}


def _entry_places(file: Path) -> dict[int, int]:
    """Where uncompressed entries of the archive begin, and how many bytes they have."""
    found = {}
    try:
        with zipfile.ZipFile(file) as archive, open(file, "rb") as handle:
            for entry in archive.infolist():
                if entry.filename.endswith("/byteorder") and archive.read(entry) != b"little":
                    raise UserError(f"{file}: its numbers are big-endian; {CONVERT}")
                handle.seek(entry.header_offset)
                lengths = handle.read(LOCAL_HEADER)[LENGTHS]
                name, extra = int.from_bytes(lengths[:2], "little"), int.from_bytes(lengths[2:], "little")
                if entry.compress_type == zipfile.ZIP_STORED:
                    found[entry.header_offset + LOCAL_HEADER + name + extra] = entry.file_size
    except zipfile.BadZipFile as error:
        raise UserError(f"{file}: damaged, or saved by a torch before 1.6 ({one_line(error)}); {CONVERT}") from error
    return found


def unpickled(file: Path) -> dict[str, torch.Tensor]:
    """The tensors in ``file`` by name; a :class:`UserError` for what ``weights_only`` refuses or is no weights."""
    import torch

    try:
        loaded: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and pickle raise many kinds
        raise UserError(f"{file}: refused, damaged or more than tensors ({one_line(error):.160})") from error
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise UserError(f"{file}: not the weights of a model (expected tensors by name)")
    return {str(name): value for name, value in loaded.items()}


def _without_numbers(file: Path) -> dict[str, torch.Tensor]:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        return unpickled(file)


def _stored(file: Path, name: str, tensor: torch.Tensor, places: dict[int, int]) -> StoredTensor:
    storage: Any = tensor.untyped_storage()
    place, size = getattr(storage, "_checkpoint_offset", None), tensor.element_size()
    start = int(place or 0) + int(tensor.storage_offset()) * size
    end = start + tensor.numel() * size
    # The archive's own directory says the same of the place: a torch that counted otherwise would be read wrongly.
    in_archive = place in places and end <= int(place or 0) + places[place]
    kind = SAFETENSORS_KINDS.get(str(tensor.dtype).removeprefix("torch."))
    if not in_archive or kind is None or not tensor.is_contiguous():
        raise UserError(f"{file}: tensor {name!r} ({tensor.dtype}) does not lie there in one piece; {CONVERT}")
    return StoredTensor(file, kind, tuple(tensor.shape), start, end)


def _names(folder: Path) -> list[str]:
    return [child.name for child in folder.iterdir()]
