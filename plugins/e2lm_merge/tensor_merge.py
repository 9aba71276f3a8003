"""One tensor's merge: its inputs block by block through the strategy, once per look and once to merge.

Bits depend on nothing but inputs, parameters and seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from e2lm.errors import UserError
from e2lm.merge_strategy import MergeStrategy
from e2lm_merge.block_walk import BlockWalk, TensorMerge, Workspace
from e2lm_merge.compiled_sums import CompiledSums, compiled_sums
from e2lm_merge.number_format import EXACT_BYTES, TYPE_BYTES, Bytes, Floats, empty_bytes
from e2lm_merge.weighted_sum import weighted_sums

if TYPE_CHECKING:
    import torch

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
        if merge.scope == "sum":
            for start, stored in weighted_sums(walk, hashers, narrower):
                sink(start * size, stored)
        else:
            for start, numbers_N in _merged(walk, hashers, found_in_all):
                sink(start * size, narrower.narrow(numbers_N, f"tensor {merge.name!r}"))
        workspace.forget_large()
    return tuple(hasher.hexdigest() for hasher in hashers)


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


def compiled_for(merges: Sequence[TensorMerge]) -> CompiledSums | None:
    """What works in the place of numpy; None where there is nothing, or nothing is merged block by block."""
    return compiled_sums(sum(merge.numel for merge in merges if merge.scope != "tensor"))


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
