"""The numbers of one tensor to merge: every input block by block, in buffers that stay.

Blocks have one fixed size, since whatever is added up over a tensor is added up block by block in order.
Shape suffix: N numbers of a block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xxhash

from e2lm.errors import UserError
from e2lm.merge_strategy import (
    FunctionMerge,
    RowwiseMerge,
    TensorGroup,
    Value,
    WeightedSum,
    WholeTensorMerge,
)
from e2lm_merge.numbers.compiled import CompiledSums, StoredBlock
from e2lm_merge.numbers.formats import TYPE_BYTES, Bytes, Floats, Narrower, all_finite, empty_bytes, widen, widen_apart
from e2lm_merge.numbers.stored import StoredNumbers

#: Numbers per block. 2**18 float32 are 1 MiB: the blocks of four models stay in the cache of one core complex, and a
#: call costs less than a hundredth of its work (measured: 0.9 ns per number against 1.5 with 2**15).
BLOCK_NUMBERS = 1 << 18

#: Tensors that are walked over more than once are read once where all inputs together are at most this: 24 M numbers in
#: bfloat16, every matrix of a layer of a 7 B model with three inputs. Each thread may hold so much.
HELD_BYTES = 48_000_000


@dataclass(frozen=True, slots=True)
class TensorMerge:
    """Everything that decides the numbers of one output tensor; ``shape`` is that of every input."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    strategy: FunctionMerge | WeightedSum
    sources: tuple[StoredNumbers, ...]
    base: StoredNumbers | None
    weights: tuple[float, ...]
    parameters: Mapping[str, Value] = field(default_factory=dict)
    model_parameters: tuple[Mapping[str, Value], ...] = ()
    seed: int = 0
    layer: int | None = None
    layers: int = 0
    allow_nonfinite: bool = False
    identities: tuple[str, ...] = ()

    @property
    def numel(self) -> int:
        """Numbers in the tensor."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the output tensor."""
        return self.numel * TYPE_BYTES[self.dtype]

    @property
    def inputs(self) -> tuple[StoredNumbers, ...]:
        """The sources, then the base where there is one."""
        return self.sources if self.base is None else (*self.sources, self.base)

    def works_apart(self, count: int) -> bool:
        """Whether sums of blocks of ``count`` numbers go from bfloat16 to bfloat16, so that their order is free."""
        return count % 2 == 0 and all(kind == "BF16" for kind in (self.dtype, *(one.dtype for one in self.inputs)))

    def group(self) -> TensorGroup:
        """The group without numbers."""
        return TensorGroup(
            name=self.name,
            tensors=(),
            base=None,
            weights=self.weights,
            parameters=self.parameters,
            seed=self.seed,
            models=tuple(source.label for source in self.sources),
            model_parameters=self.model_parameters,
            shape=self.shape,
            layer=self.layer,
            layers=self.layers,
            with_base=self.base is not None,
            identities=self.identities,
        )

    def block_ranges(self) -> list[tuple[int, int]]:
        """Start and length of every block: whole rows where the strategy needs them, everything where it needs that."""
        numel, step = self.numel, BLOCK_NUMBERS
        if isinstance(self.strategy, WholeTensorMerge):
            step = numel
        elif isinstance(self.strategy, RowwiseMerge):
            step = max(1, BLOCK_NUMBERS // max(1, self.shape[-1])) * self.shape[-1] if len(self.shape) > 1 else numel
        return [(start, min(step, numel - start)) for start in range(0, numel, step)] if numel else []


class Workspace:
    """Buffers of one thread, kept from tensor to tensor: fresh memory for every block would cost more than the sums.

    ``compiled`` does what it knows of in the place of numpy.
    """

    def __init__(self, compiled: CompiledSums | None = None) -> None:
        self.compiled = compiled
        self._buffers: dict[tuple[str, int], Bytes] = {}
        self._narrowers: dict[str, Narrower] = {}

    def buffer(self, role: str, index: int, nbytes: int) -> Bytes:
        """``nbytes`` bytes that stay valid until the same role and index are asked for again."""
        key = (role, index)
        if key not in self._buffers or len(self._buffers[key]) < nbytes:
            self._buffers.pop(key, None)
            self._buffers[key] = empty_bytes(nbytes)
        return self._buffers[key][:nbytes]

    def narrower(self, kind: str) -> Narrower:
        """What turns float32 into ``kind``."""
        return self._narrowers.setdefault(kind, Narrower(kind))

    def forget_large(self) -> None:
        """Give back what one big tensor needed."""
        limits = {"held": HELD_BYTES // 2}
        self._buffers = {
            key: kept for key, kept in self._buffers.items() if len(kept) <= limits.get(key[0], 4 * BLOCK_NUMBERS)
        }
        self._narrowers.clear()


@dataclass(frozen=True, slots=True)
class Block:
    """One block of every input in float32, flat; the base last where there is one."""

    start: int
    count: int
    numbers: tuple[Floats, ...]


class BlockWalk:
    """The blocks of one tensor as a strategy's ``look`` sees them; numbers are valid until the next block."""

    def __init__(self, merge: TensorMerge, workspace: Workspace) -> None:
        self.merge = merge
        self.workspace = workspace
        self.group = merge.group()
        self._held: list[Bytes] | None = None

    def hold(self) -> None:
        """Read all inputs now, for several walks, where they are small enough."""
        sizes = [self.merge.numel * TYPE_BYTES[source.dtype] for source in self.merge.inputs]
        if sum(sizes) <= HELD_BYTES:
            self._held = [self.workspace.buffer("held", index, size) for index, size in enumerate(sizes)]
            for source, held in zip(self.merge.inputs, self._held, strict=True):
                source.read(0, held)

    def __iter__(self) -> Iterator[TensorGroup]:
        return (self.as_group(block, whole=True) for block in self.blocks())

    def sample(self, part: int) -> Iterator[TensorGroup]:
        """The first ``1/part`` of every block."""
        return (self.as_group(block, whole=False) for block in self.blocks(part))

    def blocks(
        self,
        part: int = 1,
        hashers: Sequence[xxhash.xxh3_128] | None = None,
        finite: bool = False,
        order_is_free: bool = False,
    ) -> Iterator[Block]:
        """Every block, or its first ``1/part``; with ``hashers`` what is read is hashed, ``finite`` refuses NaN.

        ``order_is_free`` allows numbers to come as ``widen_apart`` orders them.
        """
        merge = self.merge
        for start, whole in merge.block_ranges():
            count = whole if part == 1 else max(1, whole // part)
            apart = order_is_free and merge.works_apart(count)
            numbers = []
            for index, source in enumerate(merge.inputs):
                numbers_N = self.workspace.buffer("numbers", index, count * 4).view(np.float32)
                size = TYPE_BYTES[source.dtype]
                room = numbers_N.view(np.uint8) if size == 4 else self.workspace.buffer("stored", 0, count * size)
                stored = self._read(index, start, room, hashers, finite)
                if apart:
                    widen_apart(stored, numbers_N)
                elif size != 4 or self._held is not None:
                    widen(stored, source.dtype, numbers_N)
                numbers.append(numbers_N)
            yield Block(start, count, tuple(numbers))

    def stored_blocks(
        self, hashers: Sequence[xxhash.xxh3_128] | None = None, finite: bool = False
    ) -> Iterator[tuple[int, int, tuple[StoredBlock, ...]]]:
        """Start and length of every block, and its inputs as they are stored, the base last where there is one."""
        for start, count in self.merge.block_ranges():
            blocks = []
            for index, source in enumerate(self.merge.inputs):
                room = self.workspace.buffer("stored", index, count * TYPE_BYTES[source.dtype])
                blocks.append(StoredBlock(self._read(index, start, room, hashers, finite), source.dtype))
            yield start, count, tuple(blocks)

    def _read(
        self, index: int, start: int, room: Bytes, hashers: Sequence[xxhash.xxh3_128] | None, finite: bool
    ) -> Bytes:
        """The bytes of one input from number ``start`` on, as many as ``room`` has; held, or read into it."""
        source = self.merge.inputs[index]
        first = start * TYPE_BYTES[source.dtype]
        if self._held is not None:
            stored = self._held[index][first : first + len(room)]
        else:
            stored = room
            source.read(first, stored)
        if hashers is not None:
            hashers[index].update(stored.data)
        if finite and not all_finite(stored, source.dtype):
            raise _nonfinite(self.merge.name, source.label)
        return stored

    def as_group(self, block: Block, whole: bool, found: Any = None) -> TensorGroup:
        """The block as torch tensors that share its memory."""
        import torch

        shape = self._block_shape(block.count, whole)
        tensors = [torch.from_numpy(numbers_N).view(shape) for numbers_N in block.numbers]
        base = tensors.pop() if self.merge.base is not None else None
        return replace(self.group, tensors=tuple(tensors), base=base, start=block.start, found=found)

    def _block_shape(self, count: int, whole: bool) -> tuple[int, ...]:
        if whole and isinstance(self.merge.strategy, WholeTensorMerge):
            return self.merge.shape
        if whole and isinstance(self.merge.strategy, RowwiseMerge):
            columns = self.merge.shape[-1] if self.merge.shape else 1
            return (count // columns, columns)
        return (count,)


def _nonfinite(name: str, label: str) -> UserError:
    return UserError(
        f"{label}: tensor {name!r} holds NaN or infinity; take another checkpoint, or set allow_nonfinite: true to "
        "merge it all the same"
    )
