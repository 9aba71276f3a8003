"""The stored forms of numbers, and the way to float32 and back; in numpy, so that a plain merge starts without torch.

Shape suffix: N numbers of a block.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm.errors import UserError

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

#: Bytes per number of the types that are merged; names are those of the safetensors format.
FLOAT_BYTES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2}

#: Float types that no merge is written in: what is computed in float32 says no more than float32.
ONLY_READ = ("F64",)

#: Types that are counters, masks or tables: copied where all models agree, never averaged.
EXACT_BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "I32": 4, "U32": 4, "I64": 8, "U64": 8}

TYPE_BYTES = FLOAT_BYTES | EXACT_BYTES

#: bfloat16 is the upper half of float32.
HALF_BITS = 16
BF16_NAN = 0x7FC0

#: The odd one of two bfloat16 in a little-endian word is already where float32 has it.
ODD_BITS = np.uint32(0xFFFF0000)

F32_MAX = float(np.finfo(np.float32).max)

#: Exponent bits all set: infinity or NaN. The least such pattern of either sign, by type.
NONFINITE_FROM = {"BF16": (0x7F80, 0xFF80), "F16": (0x7C00, 0xFC00)}


def widen(stored_N: Bytes, kind: str, into_N: Floats) -> None:
    """Stored numbers of type ``kind`` as float32: exactly, but for float64, which is rounded."""
    if kind == "F32":
        into_N[:] = stored_N.view(np.float32)
    elif kind == "F64":
        with np.errstate(over="ignore"):
            into_N[:] = stored_N.view(np.float64)
    elif kind == "F16":
        into_N[:] = stored_N.view(np.float16)
    else:
        bits_N = into_N.view(np.uint32)
        bits_N[:] = stored_N.view(np.uint16)
        np.left_shift(bits_N, HALF_BITS, out=bits_N)


def widen_apart(stored_N: Bytes, into_N: Floats) -> None:
    """bfloat16 as float32, the numbers at even places first and those at odd ones behind: half the work of ``widen``.

    For what is done to every number by itself; :meth:`Narrower.narrow` puts them together again. N must be even.
    """
    words, bits_N, half = stored_N.view(np.uint32), into_N.view(np.uint32), len(into_N) // 2
    np.left_shift(words, HALF_BITS, out=bits_N[:half])
    np.bitwise_and(words, ODD_BITS, out=bits_N[half:])


class Narrower:
    """Turns float32 into a stored type, rounding to the nearest and to even; keeps its buffers from block to block.

    ``finite`` says of the last block whether no stored number is NaN or infinite.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.finite = True
        self._bits = np.empty(0, dtype=np.uint32)
        self._out = np.empty(0, dtype=np.uint16)

    def narrow(self, numbers_N: Floats, where: str, apart: bool = False) -> Bytes:
        """The stored bytes, valid until the next call; a :class:`UserError` where float16 is too small.

        ``apart`` says that ``numbers_N``, for bfloat16, are ordered as :func:`widen_apart` does it.
        """
        if self.kind == "F32":
            self.finite = all_finite(numbers_N.view(np.uint8), "F32")
            return numbers_N.view(np.uint8)
        if self.kind == "F64":
            self.finite = all_finite(numbers_N.view(np.uint8), "F32")
            return numbers_N.astype(np.float64).view(np.uint8)
        count = len(numbers_N)
        if len(self._out) < count:
            self._bits, self._out = np.empty(count, dtype=np.uint32), np.empty(count, dtype=np.uint16)
        out_N = self._out[:count]
        if self.kind == "F16":
            _to_float16(numbers_N, out_N.view(np.float16), where)
            self.finite = _bits_finite(out_N, "F16")
        else:
            self.finite = _to_bfloat16(numbers_N, self._bits[:count], out_N, apart)
        return out_N.view(np.uint8)


def _to_float16(numbers_N: Floats, out_N: NDArray[np.float16], where: str) -> None:
    with np.errstate(over="ignore"):
        out_N[:] = numbers_N
    if np.isinf(out_N).any() and not np.isinf(numbers_N).any():
        worst = float(np.abs(numbers_N).max())
        raise UserError(f"{where}: {worst:g} does not fit into float16; write out_dtype: bfloat16 or float32")


def _to_bfloat16(numbers_N: Floats, bits_N: NDArray[np.uint32], out_N: NDArray[np.uint16], apart: bool) -> bool:
    """Add half of the last kept place, less one where the kept part is even, and cut; whether all are finite."""
    source_N = numbers_N.view(np.uint32)
    np.right_shift(source_N, HALF_BITS, out=bits_N)
    np.bitwise_and(bits_N, 1, out=bits_N)
    np.add(bits_N, 0x7FFF, out=bits_N)
    np.add(bits_N, source_N, out=bits_N)
    half = len(bits_N) // 2
    even_N, odd_N = bits_N[:half], bits_N[half:]
    if apart:
        np.right_shift(even_N, HALF_BITS, out=even_N)
        np.bitwise_and(odd_N, ODD_BITS, out=odd_N)
        np.bitwise_or(even_N, odd_N, out=out_N.view(np.uint32))
    else:
        np.right_shift(bits_N, HALF_BITS, out=bits_N)
        out_N[:] = bits_N
    # A NaN whose lower bits are set can be carried over into a number; one that comes from bfloat16 has none set.
    finite = _bits_finite(out_N, "BF16") and (apart or not len(numbers_N) or not np.isnan(numbers_N.max()))
    if not finite:
        nan_N = np.isnan(numbers_N)
        if apart:
            nan_N = np.stack((nan_N[:half], nan_N[half:]), axis=1).reshape(-1)
        out_N[nan_N] = BF16_NAN
    return finite


def all_finite(stored_N: Bytes, kind: str) -> bool:
    """Whether no stored number is NaN, infinite or, in float64, too large for float32."""
    if kind == "F64":
        wide_N = stored_N.view(np.float64)
        return bool(len(wide_N) == 0 or (wide_N.max() <= F32_MAX and wide_N.min() >= -F32_MAX))
    # Seen from the largest number or bit pattern of either sign.
    if kind == "F32":
        numbers_N = stored_N.view(np.float32)
        # NaN is the greatest for numpy's max, so one comparison sees both.
        return bool(len(numbers_N) == 0 or (numbers_N.max() < np.inf and numbers_N.min() > -np.inf))
    return _bits_finite(stored_N.view(np.uint16), kind)


def _bits_finite(bits_N: NDArray[np.uint16], kind: str) -> bool:
    if not len(bits_N):
        return True
    positive, negative = NONFINITE_FROM[kind]
    # As signed numbers negative floats are negative, so the greatest is the largest positive float.
    return bool(int(bits_N.view(np.int16).max()) < positive and int(bits_N.max()) < negative)


def empty_bytes(count: int) -> Bytes:
    """``count`` bytes of memory, at the start of a cache line, as vector instructions like them."""
    raw: Any = np.empty(count + 64, dtype=np.uint8)
    offset = -raw.ctypes.data % 64
    aligned: Bytes = raw[offset : offset + count]
    return aligned
