"""One tensor's merge: its inputs block by block through the strategy, once per look and once to merge.

Whatever is added up over a tensor is added up block by block in order, and blocks have one fixed size, so bits depend
on nothing but inputs, parameters and seed. Shape suffixes: N numbers of a block, R rows, C columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from e2lm.errors import UserError
from e2lm.merge_strategy import MergeStrategy, Scope, TensorGroup, Value
from e2lm_merge.combination import InnerProducts, combined
from e2lm_merge.number_format import (
    EXACT_BYTES,
    TYPE_BYTES,
    Bytes,
    Floats,
    Narrower,
    all_finite,
    empty_bytes,
    widen,
    widen_apart,
)
from e2lm_merge.stored_numbers import Numbers

if TYPE_CHECKING:
    import torch

#: Numbers per block. 2**18 float32 are 1 MiB: the blocks of four models stay in the cache of one core complex, and a
#: call costs less than a hundredth of its work (measured: 0.9 ns per number against 1.5 with 2**15).
BLOCK_NUMBERS = 1 << 18

#: Tensors that are walked over more than once are read once where all inputs together are at most this: 24 M numbers in
#: bfloat16, every matrix of a layer of a 7 B model with three inputs. Each thread may hold so much.
HELD_BYTES = 48_000_000

#: Receives the position of a block's first byte in the output tensor, and the block as stored.
Sink = Callable[[int, Bytes], None]


@dataclass(frozen=True, slots=True)
class TensorMerge:
    """Everything that decides the numbers of one output tensor; ``shape`` is that of every input."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    strategy: MergeStrategy
    sources: tuple[Numbers, ...]
    base: Numbers | None
    weights: tuple[float, ...]
    parameters: Mapping[str, Value] = field(default_factory=dict)
    model_parameters: tuple[Mapping[str, Value], ...] = ()
    seed: int = 0
    layer: int | None = None
    layers: int = 0
    allow_nonfinite: bool = False

    @property
    def numel(self) -> int:
        """Numbers in the tensor."""
        return math.prod(self.shape)

    @property
    def scope(self) -> Scope:
        """What the strategy sees of this tensor at once."""
        return self.strategy.scope_for(self.parameters)

    @property
    def nbytes(self) -> int:
        """Bytes of the output tensor."""
        return self.numel * TYPE_BYTES[self.dtype]

    @property
    def inputs(self) -> tuple[Numbers, ...]:
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
        )

    def block_ranges(self) -> list[tuple[int, int]]:
        """Start and length of every block: whole rows where the strategy needs them, everything where it needs that."""
        numel, scope, step = self.numel, self.scope, BLOCK_NUMBERS
        if scope == "tensor" or (scope == "row" and len(self.shape) < 2):
            step = numel
        elif scope == "row":
            step = max(1, BLOCK_NUMBERS // max(1, self.shape[-1])) * self.shape[-1]
        return [(start, min(step, numel - start)) for start in range(0, numel, step)] if numel else []


class Workspace:
    """Buffers of one thread, kept from tensor to tensor: fresh memory for every block would cost more than the sums."""

    def __init__(self) -> None:
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
                if self._held is not None:
                    stored = self._held[index][start * size : (start + count) * size]
                else:
                    stored = numbers_N.view(np.uint8) if size == 4 else self.workspace.buffer("stored", 0, count * size)
                    source.read(start * size, stored)
                if hashers is not None:
                    hashers[index].update(stored.data)
                if finite and not all_finite(stored, source.dtype):
                    raise _nonfinite(merge.name, source.label)
                if apart:
                    widen_apart(stored, numbers_N)
                elif size != 4 or self._held is not None:
                    widen(stored, source.dtype, numbers_N)
                numbers.append(numbers_N)
            yield Block(start, count, tuple(numbers))

    def as_group(self, block: Block, whole: bool, found: Any = None) -> TensorGroup:
        """The block as torch tensors that share its memory."""
        import torch

        shape = self._block_shape(block.count, whole)
        tensors = [torch.from_numpy(numbers_N).view(shape) for numbers_N in block.numbers]
        base = tensors.pop() if self.merge.base is not None else None
        return replace(self.group, tensors=tuple(tensors), base=base, start=block.start, found=found)

    def _block_shape(self, count: int, whole: bool) -> tuple[int, ...]:
        scope = self.merge.scope
        if not whole or scope == "element":
            return (count,)
        if scope == "tensor":
            return self.merge.shape
        columns = self.merge.shape[-1] if self.merge.shape else 1
        return (count // columns, columns)


def _nonfinite(name: str, label: str) -> UserError:
    return UserError(
        f"{label}: tensor {name!r} holds NaN or infinity; take another checkpoint, or set allow_nonfinite: true to "
        "merge it all the same"
    )


def merge_tensor(merge: TensorMerge, workspace: Workspace, sink: Sink, found_in_all: Any = None) -> tuple[str, ...]:
    """Merge one tensor into ``sink``; the XXH3-128 checksum of every input comes out, in hexadecimal digits."""
    hashers = tuple(xxhash.xxh3_128() for _ in merge.inputs)
    if merge.dtype in EXACT_BYTES:
        _copy_exact(merge, sink, hashers)
    else:
        narrower, size = workspace.narrower(merge.dtype), TYPE_BYTES[merge.dtype]
        walk = BlockWalk(merge, workspace)
        merged = _sums(walk, hashers) if merge.scope == "sum" else _merged(walk, hashers, found_in_all)
        for start, numbers_N in merged:
            apart = merge.scope == "sum" and merge.works_apart(len(numbers_N))
            stored = narrower.narrow(numbers_N, f"tensor {merge.name!r}", apart)
            if merge.scope == "sum" and not merge.allow_nonfinite and not narrower.finite:
                _blame_input(walk)
            sink(start * size, stored)
        workspace.forget_large()
    return tuple(hasher.hexdigest() for hasher in hashers)


def _blame_input(walk: BlockWalk) -> None:
    """Name the input that made a sum infinite or NaN: looking at sums alone is a check less per input and block."""
    for _ in walk.blocks(finite=True):
        pass
    raise UserError(
        f"tensor {walk.merge.name!r}: the merged numbers are too large for {walk.merge.dtype}; lower weights"
    )


def _sums(walk: BlockWalk, hashers: Sequence[xxhash.xxh3_128]) -> Iterator[tuple[int, Floats]]:
    """Blocks of a weighted sum."""
    merge, strategy = walk.merge, walk.merge.strategy
    assert strategy.combine is not None
    wanted = strategy.products_of(walk.group) if strategy.products_of is not None else None
    products = None
    if wanted is not None:
        deltas = wanted == "deltas" and merge.base is not None
        inner = InnerProducts(len(merge.sources) if deltas else len(merge.inputs), merge.numel)
        walk.hold()
        for block in walk.blocks():
            if deltas:
                for numbers_N in block.numbers[:-1]:
                    np.subtract(numbers_N, block.numbers[-1], out=numbers_N)
            inner.add(block.numbers[:-1] if deltas else block.numbers)
        products = inner.matrix
    how = strategy.combine(walk.group, products)
    # An input that takes no part leaves no trace in the sum, so it is looked at itself.
    idle = not all(how.coefficients) and not merge.allow_nonfinite
    for block in walk.blocks(hashers=hashers, finite=idle, order_is_free=True):
        numbers = list(block.numbers)
        base_N = numbers.pop() if merge.base is not None else None
        yield block.start, combined(numbers, base_N, how)


def _merged(walk: BlockWalk, hashers: Sequence[xxhash.xxh3_128], found_in_all: Any) -> Iterator[tuple[int, Floats]]:
    """Blocks through the strategy's own ``merge``."""
    strategy = walk.merge.strategy
    assert strategy.merge is not None
    if strategy.look is not None:
        walk.hold()
    found = strategy.look(walk, found_in_all) if strategy.look is not None else found_in_all
    for block in walk.blocks(hashers=hashers, finite=not walk.merge.allow_nonfinite):
        group = walk.as_group(block, whole=True, found=found)
        expected = group.tensors[0].shape
        merged: torch.Tensor = strategy.merge(group)
        if merged.shape != expected:
            raise UserError(
                f"strategy {strategy.name!r}: tensor {walk.merge.name!r}: the merged shape is {tuple(merged.shape)}, "
                f"expected {tuple(expected)}"
            )
        yield block.start, merged.detach().float().contiguous().view(-1).numpy()


def look_at_all(strategy: MergeStrategy, merges: Sequence[TensorMerge]) -> Any:
    """What the strategy finds in all tensors together, None where it does not look."""
    if strategy.look_at_all is None:
        return None
    workspace = Workspace()
    walks = [BlockWalk(merge, workspace) for merge in merges if merge.dtype not in EXACT_BYTES]
    return strategy.look_at_all(walks)


def _copy_exact(merge: TensorMerge, sink: Sink, hashers: tuple[xxhash.xxh3_128, ...]) -> None:
    """Counters, masks and tables: the bytes that all models agree on."""
    read = [empty_bytes(merge.nbytes) for _ in merge.inputs]
    for source, bytes_, hasher in zip(merge.inputs, read, hashers, strict=True):
        source.read(0, bytes_)
        hasher.update(bytes_.data)
        if not np.array_equal(bytes_, read[0]):
            raise UserError(
                f"tensor {merge.name!r} ({merge.dtype}) differs between {merge.inputs[0].label} and {source.label}, "
                "and whole numbers are not averaged; make them equal or leave one model out"
            )
    if merge.nbytes:
        sink(0, read[0])
