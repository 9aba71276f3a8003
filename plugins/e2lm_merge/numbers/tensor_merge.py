"""One tensor's merge: its inputs block by block through the strategy, once per look and once to merge.

Weighted sums go through the compiled functions where there are some, else through numpy; the bits depend on nothing but
inputs, parameters and seed. Shape suffix: N numbers of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from e2lm.errors import E2LMError, UserError
from e2lm.merge_strategy import Combination, FunctionMerge, WeightedSum, WholeTensorMerge
from e2lm_merge.numbers.blocks import BlockWalk, TensorMerge, Workspace
from e2lm_merge.numbers.combination import LONG_NUMBERS, STRETCH, InnerProducts, combined
from e2lm_merge.numbers.compiled import CompiledSums, StoredBlock, compiled_sums
from e2lm_merge.numbers.formats import EXACT_BYTES, TYPE_BYTES, Bytes, Floats, Narrower, empty_bytes, widen

if TYPE_CHECKING:
    import torch


def weighted_sums(
    strategy: WeightedSum, walk: BlockWalk, hashers: Sequence[xxhash.xxh3_128], narrower: Narrower
) -> Iterator[tuple[int, Bytes]]:
    """Blocks of a weighted sum, as they are to be stored."""
    merge = walk.merge
    wanted = strategy.products_of(walk.group) if strategy.products_of is not None else None
    products = None if wanted is None else _inner_products(walk, wanted == "deltas" and merge.base is not None).matrix
    how = strategy.combine(walk.group, products)
    if not isinstance(how, Combination) or len(how.coefficients) != len(merge.sources):
        raise E2LMError(
            f"strategy {strategy.name!r}: tensor {merge.name!r}: combine gave {how!r:.60}, expected a Combination with "
            f"{len(merge.sources)} coefficients; tell its authors"
        )
    # An input that takes no part leaves no trace in the sum, so it is looked at itself.
    idle = not all(how.coefficients) and not merge.allow_nonfinite
    compiled = _compiled_for(walk) if not how.wide and any((*how.coefficients, how.base)) else None
    if compiled is None:
        summed = _numpy_sums(walk, how, narrower, hashers, idle)
    else:
        summed = _compiled_sums(walk, how, narrower, hashers, idle, compiled)
    for start, stored, finite in summed:
        if not finite and not merge.allow_nonfinite:
            _blame_input(walk)
        yield start, stored


def _blame_input(walk: BlockWalk) -> None:
    """Name the input that made a sum infinite or NaN: looking at sums alone is a check less per input and block."""
    for _ in walk.blocks(finite=True):
        pass
    raise UserError(
        f"tensor {walk.merge.name!r}: the merged numbers are too large for {walk.merge.dtype}; lower weights"
    )


def _compiled_for(walk: BlockWalk) -> CompiledSums | None:
    """The compiled functions, where there are any that know all types of this tensor."""
    compiled, merge = walk.workspace.compiled, walk.merge
    known = compiled is not None and compiled.knows([source.dtype for source in merge.inputs], merge.dtype)
    return compiled if known else None


def _inner_products(walk: BlockWalk, deltas: bool) -> InnerProducts:
    """Of the inputs, or of the models less the base."""
    merge = walk.merge
    inner = InnerProducts(len(merge.sources) if deltas else len(merge.inputs), merge.numel)
    walk.hold()
    compiled = _compiled_for(walk) if merge.numel >= LONG_NUMBERS else None
    if compiled is not None:
        for _, count, inputs in walk.stored_blocks():
            taken, pivot = (inputs[:-1], inputs[-1]) if deltas else (inputs, None)
            stretches = count // STRETCH
            rest = [_widened(block, stretches * STRETCH) for block in inputs]
            inner.add_stretches(compiled.product_sums(taken, pivot, stretches), _less_base(rest) if deltas else rest)
        return inner
    for block in walk.blocks():
        inner.add(_less_base(block.numbers) if deltas else block.numbers)
    return inner


def _less_base(numbers: Sequence[Floats]) -> Sequence[Floats]:
    """The models less the base, which comes last, in place."""
    for numbers_N in numbers[:-1]:
        np.subtract(numbers_N, numbers[-1], out=numbers_N)
    return numbers[:-1]


def _widened(block: StoredBlock, start: int = 0) -> Floats:
    """The numbers of ``block`` from ``start`` on in float32, in new memory."""
    stored = block.bytes_[start * TYPE_BYTES[block.kind] :]
    numbers_N = np.empty(len(stored) // TYPE_BYTES[block.kind], dtype=np.float32)
    widen(stored, block.kind, numbers_N)
    return numbers_N


def _numpy_sums(
    walk: BlockWalk, how: Combination, narrower: Narrower, hashers: Sequence[xxhash.xxh3_128], idle: bool
) -> Iterator[tuple[int, Bytes, bool]]:
    """Start, bytes, and whether all are finite."""
    merge = walk.merge
    for block in walk.blocks(hashers=hashers, finite=idle, order_is_free=True):
        numbers = list(block.numbers)
        base_N = numbers.pop() if merge.base is not None else None
        summed_N = combined(numbers, base_N, how)
        stored = narrower.narrow(summed_N, f"tensor {merge.name!r}", merge.works_apart(block.count))
        yield block.start, stored, narrower.finite


def _compiled_sums(
    walk: BlockWalk,
    how: Combination,
    narrower: Narrower,
    hashers: Sequence[xxhash.xxh3_128],
    idle: bool,
    compiled: CompiledSums,
) -> Iterator[tuple[int, Bytes, bool]]:
    """The same in one pass; a block that is not finite is done over by numpy."""
    merge = walk.merge
    for start, count, inputs in walk.stored_blocks(hashers, idle):
        out = StoredBlock(walk.workspace.buffer("out", 0, count * TYPE_BYTES[merge.dtype]), merge.dtype)
        if compiled.combined(inputs, len(merge.sources), how, out):
            yield start, out.bytes_, True
            continue
        numbers = [_widened(block) for block in inputs]
        base_N = numbers.pop() if merge.base is not None else None
        stored = narrower.narrow(combined(numbers, base_N, how), f"tensor {merge.name!r}")
        yield start, stored, narrower.finite


#: Receives the position of a block's first byte in the output tensor, and the block as stored.
Sink = Callable[[int, Bytes], None]


def merge_tensor(merge: TensorMerge, workspace: Workspace, sink: Sink, found_in_all: Any = None) -> tuple[str, ...]:
    """Merge one tensor into ``sink``; the XXH3-128 checksum of every input comes out, in hexadecimal digits."""
    hashers = tuple(xxhash.xxh3_128() for _ in merge.inputs)
    if merge.dtype in EXACT_BYTES:
        _copy_exact(merge, sink, hashers)
    else:
        narrower, size = workspace.narrower(merge.dtype), TYPE_BYTES[merge.dtype]
        walk = BlockWalk(merge, workspace)
        if isinstance(merge.strategy, WeightedSum):
            for start, stored in weighted_sums(merge.strategy, walk, hashers, narrower):
                sink(start * size, stored)
        else:
            for start, numbers_N in _merged(merge.strategy, walk, hashers, found_in_all):
                stored = narrower.narrow(numbers_N, f"tensor {merge.name!r}")
                if not narrower.finite and not merge.allow_nonfinite:
                    raise UserError(
                        f"strategy {merge.strategy.name!r}: tensor {merge.name!r}: the merged numbers are not all "
                        "finite though those of every model are; change its parameters, or set allow_nonfinite: true"
                    )
                sink(start * size, stored)
        workspace.forget_large()
    return tuple(hasher.hexdigest() for hasher in hashers)


def _merged(
    strategy: FunctionMerge, walk: BlockWalk, hashers: Sequence[xxhash.xxh3_128], found_in_all: Any
) -> Iterator[tuple[int, Floats]]:
    """Blocks through the strategy's own ``merge``."""
    found = found_in_all
    if strategy.look is not None:
        walk.hold()
        found = strategy.look(walk, found_in_all)
    for block in walk.blocks(hashers=hashers, finite=not walk.merge.allow_nonfinite):
        group = walk.as_group(block, whole=True, found=found)
        expected = group.tensors[0].shape
        merged: torch.Tensor = strategy.merge(group)
        if getattr(merged, "shape", None) != expected or not hasattr(merged, "detach"):
            shape = getattr(merged, "shape", None)
            found = f"merge gave {merged!r:.60}" if shape is None else f"the merged shape is {tuple(shape)}"
            raise E2LMError(
                f"strategy {strategy.name!r}: tensor {walk.merge.name!r}: {found}, expected a tensor of shape "
                f"{tuple(expected)}; tell its authors"
            )
        yield block.start, merged.detach().float().contiguous().view(-1).numpy()


def compiled_for(merges: Sequence[TensorMerge]) -> CompiledSums | None:
    """What works in the place of numpy; None where there is nothing, or nothing is merged block by block."""
    return compiled_sums(sum(merge.numel for merge in merges if not isinstance(merge.strategy, WholeTensorMerge)))


def look_at_all(merges: Sequence[TensorMerge]) -> Any:
    """What the strategy finds in all tensors together, None where it does not look."""
    looks = [merge.strategy.look_at_all for merge in merges if isinstance(merge.strategy, FunctionMerge)]
    look = next((one for one in looks if one is not None), None)
    if look is None:
        return None
    workspace = Workspace()
    floats = [merge for merge in merges if merge.dtype not in EXACT_BYTES]
    return look([BlockWalk(one, workspace) for one in floats if isinstance(one.strategy, FunctionMerge)])


def _copy_exact(merge: TensorMerge, sink: Sink, hashers: tuple[xxhash.xxh3_128, ...]) -> None:
    """Counters, masks and tables: the bytes that all models agree on."""
    bytes_ = agreed_numbers(merge, hashers)
    if merge.nbytes:
        sink(0, bytes_)


def agreed_numbers(merge: TensorMerge, hashers: Sequence[xxhash.xxh3_128] | None = None) -> Bytes:
    """The bytes of a tensor of whole numbers; a :class:`UserError` where models do not agree on them."""
    told = hashers or [xxhash.xxh3_128() for _ in merge.inputs]
    read = [empty_bytes(merge.nbytes) for _ in merge.inputs]
    for source, bytes_, hasher in zip(merge.inputs, read, told, strict=True):
        source.read(0, bytes_)
        hasher.update(bytes_.data)
        if not np.array_equal(bytes_, read[0]):
            one, other = sorted((merge.inputs[0].label, source.label))
            raise UserError(
                f"tensor {merge.name!r} ({merge.dtype}) differs between {one} and {other}, "
                "and whole numbers are not averaged; make them equal or leave one model out"
            )
    return read[0]
