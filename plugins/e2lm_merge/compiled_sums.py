"""Weighted sums in one pass over memory, by a C compiler where the machine has one: the bits are those of numpy.

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
from pathlib import Path

import numpy as np

from e2lm.atomic_file import whole_file
from e2lm.merge_strategy import Combination
from e2lm_merge.combination import STRETCH, combined
from e2lm_merge.number_format import Bytes, Floats, Narrower, empty_bytes, widen

SOURCE_FILE = Path(__file__).with_name("weighted_sums.c")
SWITCH_VARIABLE = "E2LM_COMPILED_SUMS"
CACHE_VARIABLE = "XDG_CACHE_HOME"

#: The compiler and its options, as every build system takes them. Fused multiply-adds would round once, not twice.
COMPILER_VARIABLE = "CC"
COMPILER = "cc"
FLAGS = ("-O3", "-fno-fast-math", "-ffp-contract=off", "-shared", "-fPIC")
COMPILER_LIMIT_S = 60.0

#: Numbers of a merge from which on a library that is not there yet is made: compiling takes 0.5 CPU seconds, once, and
#: saves 1.2 ns per number of three bfloat16 models, so the second merge of this size has it back.
COMPILED_FROM = 250_000_000

#: The stored types that the library knows, as weighted_sums.c numbers them. float16 the processor converts, and
#: numpy asks it in its own way.
KIND_CODES = {"F32": 0, "BF16": 1}

#: Others may not write what is run in the user's name.
WRITABLE_BY_OTHERS = 0o022

SAMPLE_NUMBERS = STRETCH + 37


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

    @staticmethod
    def knows(*kinds: str) -> bool:
        """Whether all of ``kinds`` are types that it works on."""
        return all(kind in KIND_CODES for kind in kinds)

    def weighted_sum(
        self, inputs: Sequence[StoredBlock], shares: Sequence[float], pivot: StoredBlock | None, out: StoredBlock
    ) -> bool:
        """Σ cᵢxᵢ, or with a pivot x + Σ cᵢ(xᵢ − x), into ``out``; False where not all of it is finite.

        What stands in ``out`` is then of no use: which NaN comes out is for numpy to say.
        """
        blocks, kinds = _pointers(inputs)
        pivot_address, pivot_code = _pointer(pivot)
        factors = (ctypes.c_float * len(shares))(*shares)
        size = len(out.bytes_) // (4 if out.kind == "F32" else 2)
        done = self._weighted_sum(
            blocks,
            kinds,
            factors,
            len(inputs),
            pivot_address,
            pivot_code,
            ctypes.c_void_p(out.address),
            KIND_CODES[out.kind],
            ctypes.c_size_t(size),
        )
        return bool(done)

    def product_sums(self, inputs: Sequence[StoredBlock], pivot: StoredBlock | None, stretches: int) -> Floats:
        """Sums of the products of every two inputs (less the pivot) over stretches of ``STRETCH`` numbers, P×S.

        The pairs are (0, 0), (0, 1), …, (1, 1), …
        """
        count = len(inputs)
        blocks, kinds = _pointers(inputs)
        pivot_address, pivot_code = _pointer(pivot)
        room = np.empty((count + 1) * STRETCH, dtype=np.float32)
        sums_PS = np.empty((count * (count + 1) // 2, stretches), dtype=np.float32)
        self._product_sums(
            blocks,
            kinds,
            count,
            pivot_address,
            pivot_code,
            ctypes.c_size_t(stretches),
            ctypes.c_void_p(room.ctypes.data),
            ctypes.c_void_p(sums_PS.ctypes.data),
        )
        return sums_PS


def _pointers(blocks: Sequence[StoredBlock]) -> tuple[ctypes.Array[ctypes.c_void_p], ctypes.Array[ctypes.c_int]]:
    count = len(blocks)
    return (
        (ctypes.c_void_p * count)(*(block.address for block in blocks)),
        (ctypes.c_int * count)(*(KIND_CODES[block.kind] for block in blocks)),
    )


def _pointer(block: StoredBlock | None) -> tuple[ctypes.c_void_p | None, int]:
    return (None, 0) if block is None else (ctypes.c_void_p(block.address), KIND_CODES[block.kind])


def compiled_sums(numbers: int) -> CompiledSums | None:
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
    digest = sha256(SOURCE_FILE.read_bytes())
    digest.update(repr([_compiler(), FLAGS, machine.sysname, machine.machine]).encode())
    return cache_folder / "e2lm" / "merge" / f"weighted_sums-{digest.hexdigest()[:32]}.so"


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
    samples = [_sample(index) for index in range(3)]
    shares = (0.3, 0.45, 0.25)
    for kind in KIND_CODES:
        for form in ("sum", "mean"):
            pivot = 1 if form == "mean" else None
            rest = [index for index in range(3) if index != pivot]
            expected = Narrower(kind).narrow(combined(_wide(samples), None, Combination(shares, form=form)), "sample")
            out = StoredBlock(empty_bytes(len(expected)), kind)
            pivot_block = None if pivot is None else samples[pivot]
            inputs, parts = [samples[index] for index in rest], [shares[index] for index in rest]
            if not sums.weighted_sum(inputs, parts, pivot_block, out) or not np.array_equal(out.bytes_, expected):
                return False
    left_N, right_N = _wide(samples[:2])
    expected_S = (left_N[:STRETCH] * right_N[:STRETCH]).reshape(-1, STRETCH).sum(axis=1)
    return bool(np.array_equal(sums.product_sums(samples[:2], None, 1)[1], expected_S))


def _sample(index: int) -> StoredBlock:
    """bfloat16 below 2 in magnitude, from a multiplicative hash of the place."""
    places = np.arange(1 + index, 1 + index + SAMPLE_NUMBERS, dtype=np.uint32) * np.uint32(2_654_435_761 + 2 * index)
    stored = empty_bytes(2 * SAMPLE_NUMBERS)
    stored.view(np.uint16)[:] = (places >> np.uint32(16)) & np.uint32(0xBFFF)
    return StoredBlock(stored, "BF16")


def _wide(blocks: Sequence[StoredBlock]) -> list[Floats]:
    wide = [np.empty(SAMPLE_NUMBERS, dtype=np.float32) for _ in blocks]
    for block, numbers_N in zip(blocks, wide, strict=True):
        widen(block.bytes_, block.kind, numbers_N)
    return wide
