"""Arrays of a plan: in memory while they are small, in an unnamed file beyond."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Larger arrays are memory-mapped.
IN_MEMORY_BYTES = 256 << 20

LARGEST_INT32 = 1 << 31


def index_type(examples: int) -> type[np.int32] | type[np.int64]:
    """The smallest of the two types that holds every index."""
    return np.int32 if examples < LARGEST_INT32 else np.int64


def every_example(examples: int) -> NDArray[np.integer[Any]]:
    """0 to ``examples`` - 1."""
    numbers_X: NDArray[np.integer[Any]] = np.arange(examples, dtype=index_type(examples))
    return numbers_X


def plan_array(length: int, dtype: Any) -> NDArray[Any]:
    """An uninitialised array; the file behind a large one is gone when the array is."""
    size = length * np.dtype(dtype).itemsize
    if size <= IN_MEMORY_BYTES:
        return np.empty(length, dtype=dtype)
    # The map keeps the unnamed file alive.
    with tempfile.TemporaryFile() as file:
        file.truncate(size)
        return np.memmap(file, dtype=dtype, mode="r+", shape=(length,))
