"""Weighted sums of blocks, and the inner products that weights may follow from.

Every product and sum is rounded by itself (no fused multiply-add), and sums over a tensor are pairwise within a block
and in order of blocks, so processors of all kinds agree. Shape suffixes: M inputs, N numbers of a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm.merge_strategy import Combination

Block = NDArray[Any]
Matrix = NDArray[np.float64]


def combined(blocks: Sequence[Block], base_N: Block | None, how: Combination) -> Block:
    """The combination of one block, written over ``blocks`` and ``base_N`` or into new memory; see the class.

    >>> x = np.float32([1, 2])
    >>> combined([x.copy(), x.copy()], None, Combination((0.3, 0.7), form="mean"))
    array([1., 2.], dtype=float32)
    """
    if how.wide:
        wide = [block_N.astype(np.float64) for block_N in blocks]
        wide_base = None if base_N is None else base_N.astype(np.float64)
        return _combined(wide, wide_base, how).astype(np.float32)
    return _combined(list(blocks), base_N, how)


def _combined(blocks: list[Block], base_N: Block | None, how: Combination) -> Block:
    parts = [(share, block_N) for share, block_N in zip(how.coefficients, blocks, strict=True) if share != 0]
    if how.form == "deltas":
        assert base_N is not None
        return _from_pivot(parts, base_N)
    if base_N is not None and how.base != 0:
        parts.insert(0, (how.base, base_N))
    if not parts:
        blocks[0].fill(0)
        return blocks[0]
    if how.form == "mean":
        pivot = max(range(len(parts)), key=lambda index: abs(parts[index][0]))
        _, pivot_N = parts.pop(pivot)
        return _from_pivot(parts, pivot_N)
    return _total(parts)


def _from_pivot(parts: list[tuple[float, Block]], pivot_N: Block) -> Block:
    """X + Σ cᵢ(xᵢ − x)."""
    for _, block_N in parts:
        np.subtract(block_N, pivot_N, out=block_N)
    if not parts:
        return pivot_N
    total_N = _total(parts)
    return np.add(pivot_N, total_N, out=total_N)


def _total(parts: list[tuple[float, Block]]) -> Block:
    for share, block_N in parts:
        if share != 1:
            np.multiply(block_N, block_N.dtype.type(share), out=block_N)
    total_N = parts[0][1]
    for _, block_N in parts[1:]:
        np.add(total_N, block_N, out=total_N)
    return total_N


class InnerProducts:
    """Adds up the Gram matrix of the inputs in float64, block by block; products of float32 numbers are exact there."""

    def __init__(self, count: int) -> None:
        self.sums = np.zeros((count, count))
        self._wide: list[NDArray[np.float64]] = []

    def add(self, blocks: Sequence[Block]) -> None:
        """Add one block of every input."""
        size = len(blocks[0])
        if not self._wide or len(self._wide[0]) < size:
            self._wide = [np.empty(size) for _ in range(len(blocks) + 1)]
        *wide, product_N = (buffer[:size] for buffer in self._wide)
        for wide_N, block_N in zip(wide, blocks, strict=True):
            wide_N[:] = block_N
        for row, left_N in enumerate(wide):
            for column in range(row, len(wide)):
                np.multiply(left_N, wide[column], out=product_N)
                self.sums[row, column] += product_N.sum()

    @property
    def matrix(self) -> Matrix:
        """The symmetric matrix, M×M."""
        full: Matrix = np.triu(self.sums) + np.triu(self.sums, 1).T
        return full
