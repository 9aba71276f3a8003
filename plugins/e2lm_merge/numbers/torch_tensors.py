"""Torch tensors and their memory as bytes: what a merge in memory is written into."""

from __future__ import annotations

import numpy as np
import torch

from e2lm_merge.numbers.formats import Bytes

#: Torch's name of every type that safetensors stores and a merge reads.
TORCH_TYPES = {
    "F64": torch.float64,
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


def tensor_bytes(tensor: torch.Tensor) -> Bytes:
    """The memory of a contiguous tensor as bytes; of another one, a copy."""
    bytes_: Bytes = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
    return bytes_


def empty_tensor(shape: tuple[int, ...], dtype: str) -> tuple[torch.Tensor, Bytes]:
    """A new tensor and its memory."""
    tensor = torch.empty(shape, dtype=TORCH_TYPES[dtype])
    return tensor, np.asarray(tensor_bytes(tensor))
