"""Torch tensors as inputs and outputs of a merge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from e2lm.errors import UserError
from e2lm_merge.numbers.formats import Bytes
from e2lm_merge.numbers.stored import FileNumbers, OpenFiles
from e2lm_merge.plan.source import ModelSource

#: Torch's name of every type that safetensors stores and a merge reads.
TORCH_TYPES = {
    "F32": torch.float32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "U16": torch.uint16,
    "I32": torch.int32,
    "U32": torch.uint32,
    "I64": torch.int64,
    "U64": torch.uint64,
}
STORED_TYPES = {kind: name for name, kind in TORCH_TYPES.items()}


@dataclass(frozen=True, slots=True)
class TensorNumbers:
    """A tensor in memory as an input of a merge."""

    label: str
    tensor: torch.Tensor

    @property
    def dtype(self) -> str:
        """The type of the tensor."""
        return STORED_TYPES.get(self.tensor.dtype, str(self.tensor.dtype))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor."""
        return tuple(self.tensor.shape)

    def read(self, start: int, into: Bytes) -> None:
        """Fill ``into`` with bytes of the tensor from byte ``start`` on."""
        into[:] = tensor_bytes(self.tensor)[start : start + len(into)]


def tensor_bytes(tensor: torch.Tensor) -> Bytes:
    """The memory of a contiguous tensor as bytes; of another one, a copy."""
    bytes_: Bytes = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
    return bytes_


def read_tensors(model: ModelSource) -> dict[str, torch.Tensor]:
    """Every tensor of a model, as stored; a :class:`UserError` names one that is not finite."""
    files = OpenFiles()
    found = {}
    try:
        for name, stored in sorted(model.index.tensors.items()):
            if stored.dtype not in TORCH_TYPES:
                raise UserError(f"{model.label}: tensor {name!r} is stored as {stored.dtype}, which is not merged")
            tensor = torch.empty(stored.shape, dtype=TORCH_TYPES[stored.dtype])
            FileNumbers(model.label, stored, files).read(0, tensor_bytes(tensor))
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise UserError(f"{model.label}: tensor {name!r} holds NaN or infinity; leave this checkpoint out")
            found[name] = tensor
    finally:
        files.close()
    return found


def empty_tensor(shape: tuple[int, ...], dtype: str) -> tuple[torch.Tensor, Bytes]:
    """A new tensor and its memory."""
    tensor = torch.empty(shape, dtype=TORCH_TYPES[dtype])
    return tensor, np.asarray(tensor_bytes(tensor))
