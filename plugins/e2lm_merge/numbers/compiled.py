"""Weighted sums and masks in one pass over memory, by a C compiler where there is one: the bits are those of numpy.

numpy makes a pass per operation, and a weighted sum of bfloat16 takes fifteen. ``weighted_sums.c`` is compiled once and
kept in the user's cache (``$XDG_CACHE_HOME/e2lm/merge``). Without a compiler, with ``E2LM_COMPILED_SUMS=0``, or
where a sample does not come out as numpy has it, numpy does the work. Shape suffixes: P pairs of inputs, S stretches.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from itertools import combinations_with_replacement, product
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from e2lm.atomic_file import whole_file
from e2lm.merge_strategy import Combination
from e2lm_merge.numbers.combination import STRETCH, combined, sum_terms
from e2lm_merge.numbers.formats import FLOAT_BYTES, HALF_BITS, Bytes, Floats, Narrower, empty_bytes, widen
from e2lm_merge.numbers.sign_and_rank import MagnitudeBits, Words, elected_total_, rank_factor, rank_mask

SOURCE_FILE = Path(__file__).with_name("weighted_sums.c")
SWITCH_VARIABLE = "E2LM_COMPILED_SUMS"
CACHE_VARIABLE = "XDG_CACHE_HOME"

#: The compiler and its options, as every build system takes them. Fused multiply-adds would round once, not twice;
#: nobody asks whether an operation on NaN was signalled, and a choice between numbers is slow where somebody may.
COMPILER_VARIABLE = "CC"
COMPILER = "cc"
FLAGS = ("-O3", "-fno-fast-math", "-fno-trapping-math", "-ffp-contract=off", "-shared", "-fPIC")
COMPILER_LIMIT_S = 60.0

#: Numbers of a merge from which on a library that is not there yet is made: compiling takes 0.9 CPU seconds, once, and
#: saves 1.2 ns per number of three bfloat16 models, so the third merge of this size is ahead.
COMPILED_FROM = 250_000_000

#: The stored types that the library knows, as weighted_sums.c numbers them. float16 the processor converts, and
#: numpy asks it in its own way.
KIND_CODES = {"F32": 0, "BF16": 1}

#: The numbers that numpy's pairwise sum adds up in rows, before it goes by pairs.
PAIRWISE_BLOCK = 128

#: Others may not write what is run in the user's name.
WRITABLE_BY_OTHERS = 0o022

SAMPLE_STRETCHES = 4
SAMPLE_NUMBERS = SAMPLE_STRETCHES * STRETCH + 37
SAMPLE_COLUMNS = 37
SAMPLE_LIMITS = (0x3F100000, 0xBF200000)
SIGNLESS = 0x7FFFFFFF
SAMPLE_SHARES = ((0.3, 0.45, 0.25), (0.25, 0.5, 0.25))


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """Numbers of one input, or room for those of the output, as they are stored."""

    bytes_: Bytes
    kind: str

    @property
    def address(self) -> int:
        """Where the first number is."""
        return int(self.bytes_.ctypes.data)


class CompiledSums:
    """The compiled functions; safe from many threads, which they do not hold up."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._weighted_sum = library.weighted_sum
        self._weighted_sum.restype = ctypes.c_int
        self._product_sums = library.product_sums
        self._product_sums.restype = None
        self._elected_total = library.elected_total
        self._elected_total.restype = ctypes.c_int
        self._rank_mask = library.rank_mask
        self._rank_mask.restype = None

    @staticmethod
    def knows(inputs: Sequence[str], output: str) -> bool:
        """Whether it works on inputs of these types, which have to be one, and on an output of that type."""
        return len(set(inputs)) == 1 and inputs[0] in KIND_CODES and output in KIND_CODES

    def combined(self, inputs: Sequence[StoredBlock], models: int, how: Combination, out: StoredBlock) -> bool:
        """What :func:`~e2lm_merge.numbers.combination.combined` gives, put into ``out``; False where not all is finite.

        ``inputs`` are ``models`` many and the base where there is one. Without success what stands in ``out`` is of no
        use: which NaN comes out is for numpy to say. ``how`` is not wide, and not all of it is zero.
        """
        terms, pivot = sum_terms(how, models)
        shares = [share for share, _ in terms]
        done = self._weighted_sum(
            _addresses([inputs[place].bytes_ for _, place in terms]),
            (ctypes.c_float * len(shares))(*shares),
            len(shares),
            None if pivot is None else ctypes.c_void_p(inputs[pivot].address),
            KIND_CODES[inputs[0].kind],
            ctypes.c_void_p(out.address),
            KIND_CODES[out.kind],
            ctypes.c_size_t(len(out.bytes_) // FLOAT_BYTES[out.kind]),
        )
        return bool(done)

    def product_sums(self, inputs: Sequence[StoredBlock], pivot: StoredBlock | None, stretches: int) -> Floats:
        """Sums of the products of every two inputs (less the pivot) over stretches of ``STRETCH`` numbers, P×S.

        The pairs are (0, 0), (0, 1), …, (1, 1), …
        """
        count = len(inputs)
        pairs = count * (count + 1) // 2
        room = np.empty((count + pairs) * PAIRWISE_BLOCK, dtype=np.float32)
        sums_PS = np.empty((pairs, stretches), dtype=np.float32)
        self._product_sums(
            _addresses([block.bytes_ for block in inputs]),
            count,
            None if pivot is None else ctypes.c_void_p(pivot.address),
            KIND_CODES[inputs[0].kind],
            ctypes.c_size_t(stretches),
            ctypes.c_void_p(room.ctypes.data),
            ctypes.c_void_p(sums_PS.ctypes.data),
        )
        return sums_PS

    def elected_total(self, deltas: Sequence[Floats], weights: Sequence[float], normalize: bool) -> Floats | None:
        """What :func:`e2lm_merge.numbers.sign_and_rank.elected_total_` gives; None where not all of it is finite."""
        total_N = np.empty_like(deltas[0])
        finite = self._elected_total(
            _addresses(deltas),
            (ctypes.c_float * len(weights))(*weights),
            len(deltas),
            int(normalize),
            ctypes.c_size_t(total_N.size),
            ctypes.c_void_p(total_N.ctypes.data),
        )
        return total_N if finite else None

    def rank_mask(
        self, words_N: Words, magnitudes_N: MagnitudeBits, ordered_N: MagnitudeBits, columns: int, low: int, high: int
    ) -> NDArray[np.bool_]:
        """What :func:`e2lm_merge.numbers.sign_and_rank.rank_mask` gives; overwrites ``ordered_N``."""
        factor, shift = rank_factor(columns, low, high)
        kept_N = np.empty(len(words_N), dtype=np.bool_)
        self._rank_mask(
            *(ctypes.c_void_p(array_N.ctypes.data) for array_N in (words_N, magnitudes_N, ordered_N)),
            ctypes.c_size_t(columns),
            ctypes.c_size_t(len(words_N)),
            ctypes.c_uint32(low),
            ctypes.c_uint32(high),
            ctypes.c_uint32(factor),
            shift,
            ctypes.c_void_p(kept_N.ctypes.data),
        )
        return kept_N


def _addresses(arrays: Sequence[NDArray[Any]]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))


def compiled_sums(numbers: int = 0) -> CompiledSums | None:
    """The compiled functions for a merge of so many numbers; None where numpy is to do the work.

    They are compiled where they are not there yet and ``numbers`` is large enough to be worth it.
    """
    if os.environ.get(SWITCH_VARIABLE) == "0":
        return None
    try:
        library = library_file()
        if not library.is_file() and numbers >= COMPILED_FROM:
            compile_to(library)
        return _loaded(library) if library.is_file() else None
    except (OSError, RuntimeError, ValueError, AttributeError, subprocess.SubprocessError):
        # No home, no compiler, a compiler that fails, a cache that cannot be written or executed: numpy can do it all.
        return None


def library_file() -> Path:
    """Where the library for this source, compiler and machine is kept."""
    cache_folder = Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache")
    machine = os.uname()
    digest = sha256(_source(SOURCE_FILE))
    digest.update(repr([_compiler(), FLAGS, machine.sysname, machine.machine]).encode())
    return cache_folder / "e2lm" / "merge" / f"weighted_sums-{digest.hexdigest()[:32]}.so"


@cache
def _source(file: Path) -> bytes:
    return file.read_bytes()


def _compiler() -> list[str]:
    return shlex.split(os.environ.get(COMPILER_VARIABLE) or COMPILER)


def compile_to(library: Path) -> None:
    """Compile the library; an OSError without a compiler, a SubprocessError where it fails."""
    library.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with whole_file(library) as partial:
        subprocess.run(
            [*_compiler(), *FLAGS, "-o", str(partial), str(SOURCE_FILE)],
            check=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=COMPILER_LIMIT_S,
        )
        partial.chmod(0o700)


@cache
def _loaded(library: Path) -> CompiledSums | None:
    """The functions of ``library``, if it is the user's own and does on a sample what numpy does."""
    owner = library.stat()
    if owner.st_uid != os.getuid() or owner.st_mode & WRITABLE_BY_OTHERS:
        return None
    sums = CompiledSums(ctypes.CDLL(str(library)))
    return sums if agrees_with_numpy(sums) else None


def agrees_with_numpy(sums: CompiledSums) -> bool:
    """Whether three sampled inputs, subnormals among them, come out bit by bit as numpy has them."""
    samples = {kind: [_sample(index, kind) for index in range(3)] for kind in KIND_CODES}
    signed = samples["F32"]
    # Of a number and its opposite the sum is zero, and the terms are not.
    elections: tuple[tuple[list[StoredBlock], tuple[float, ...]], ...] = (
        (signed, SAMPLE_SHARES[0]),
        (signed[:1] * 2, (1.0, -1.0)),
    )
    return (
        all(_same_sums(sums, inputs, kind) for inputs, kind in product(samples.values(), KIND_CODES))
        and all(_same_products(sums, inputs) for inputs in samples.values())
        and all(_same_elections(sums, _wide(inputs), shares) for inputs, shares in elections)
        and _same_masks(sums, *(one.bytes_.view(np.uint32) for one in signed[:2]))
    )


def _same_sums(sums: CompiledSums, inputs: Sequence[StoredBlock], kind: str) -> bool:
    forms: tuple[Literal["sum", "mean"], ...] = ("sum", "mean")
    # Sums of the second shares are exact, so that some lie halfway between two bfloat16.
    for form, shares in product(forms, SAMPLE_SHARES):
        how = Combination(shares, form=form)
        expected = Narrower(kind).narrow(combined(_wide(inputs), None, how), "sample")
        out = StoredBlock(empty_bytes(len(expected)), kind)
        if not sums.combined(inputs, len(inputs), how, out) or not np.array_equal(out.bytes_, expected):
            return False
    return True


def _same_products(sums: CompiledSums, inputs: Sequence[StoredBlock]) -> bool:
    stretches = [numbers_N[: SAMPLE_STRETCHES * STRETCH].reshape(-1, STRETCH) for numbers_N in _wide(inputs)]
    pairs = combinations_with_replacement(stretches, 2)
    expected_PS = np.stack([(one * other).sum(axis=1) for one, other in pairs])
    return np.array_equal(sums.product_sums(inputs, None, SAMPLE_STRETCHES), expected_PS)


def _same_elections(sums: CompiledSums, deltas: Sequence[Floats], shares: Sequence[float]) -> bool:
    for normalize in (True, False):
        total_N = sums.elected_total(deltas, shares, normalize)
        expected_N = elected_total_([delta_N.copy() for delta_N in deltas], shares, normalize)
        if total_N is None or not np.array_equal(total_N.view(np.uint32), expected_N.view(np.uint32)):
            return False
    return True


def _same_masks(sums: CompiledSums, words_N: Words, numbers_N: Words) -> bool:
    whole_rows = SAMPLE_NUMBERS // SAMPLE_COLUMNS * SAMPLE_COLUMNS
    words_N, bits_N = words_N[:whole_rows], (numbers_N[:whole_rows] & np.uint32(SIGNLESS)).view(np.int32)
    ordered_N = np.sort(bits_N.reshape(-1, SAMPLE_COLUMNS), axis=1).reshape(-1)
    expected_N = rank_mask(words_N, bits_N, ordered_N, SAMPLE_COLUMNS, *SAMPLE_LIMITS)
    return np.array_equal(sums.rank_mask(words_N, bits_N, ordered_N, SAMPLE_COLUMNS, *SAMPLE_LIMITS), expected_N)


def _sample(index: int, kind: str) -> StoredBlock:
    """Numbers from a hash of the place (the finish of MurmurHash3), most of them around one, all below 2."""
    bits = np.arange(index * SAMPLE_NUMBERS, (index + 1) * SAMPLE_NUMBERS, dtype=np.uint32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits = (bits ^ (bits >> np.uint32(shift))) * np.uint32(factor)
    bits = (bits ^ (bits >> np.uint32(16))) & np.uint32(0xBFFFFFFF)
    bits[: SAMPLE_NUMBERS * 3 // 4] |= np.uint32(0x3F000000)
    stored = empty_bytes(FLOAT_BYTES[kind] * SAMPLE_NUMBERS)
    if kind == "F32":
        stored.view(np.uint32)[:] = bits
    else:
        stored.view(np.uint16)[:] = bits >> np.uint32(HALF_BITS)
    return StoredBlock(stored, kind)


def _wide(blocks: Sequence[StoredBlock]) -> list[Floats]:
    wide = [np.empty(SAMPLE_NUMBERS, dtype=np.float32) for _ in blocks]
    for block, numbers_N in zip(blocks, wide, strict=True):
        widen(block.bytes_, block.kind, numbers_N)
    return wide
