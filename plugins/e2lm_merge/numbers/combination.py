"""Weighted sums of blocks, and the inner products that weights may follow from.

Every product and sum is rounded by itself (no fused multiply-add), and sums over a tensor are pairwise within a block
and in order of blocks, so processors of all kinds agree. Shape suffixes: M inputs, N numbers of a block.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from e2lm.arrays import Reals, Values
from e2lm.merge_strategy import Combination


def combined(blocks: Sequence[Reals], base_N: Reals | None, how: Combination) -> Reals:
    """The combination of one block, written over ``blocks`` and ``base_N`` or into new memory; see the class.

    >>> x = np.float32([1, 2])
    >>> combined([x.copy(), x.copy()], None, Combination((0.3, 0.7), form="mean"))
    array([1., 2.], dtype=float32)
    """
    # What is too large is infinite, and whoever called looks for that.
    with np.errstate(over="ignore", invalid="ignore"):
        if how.wide:
            wide = [block_N.astype(np.float64) for block_N in blocks]
            wide_base = None if base_N is None else base_N.astype(np.float64)
            return _combined(wide, wide_base, how).astype(np.float32)
        return _combined(list(blocks), base_N, how)


def sum_terms(how: Combination, models: int) -> tuple[list[tuple[float, int]], int | None]:
    """Shares with the place of their input (``models`` of them, then the base), and the pivot's place.

    With a pivot the combination is x + Σ cᵢ(xᵢ − x), without one Σ cᵢxᵢ; no terms and no pivot are zeros.

    >>> sum_terms(Combination((0.25, 0.75, 0.0), form="mean"), 3)
    ([(0.25, 0)], 1)
    """
    terms = [(share, place) for place, share in enumerate(how.coefficients) if share != 0]
    if how.form == "deltas":
        return terms, models
    if how.base != 0:
        terms.insert(0, (how.base, models))
    if how.form == "mean" and terms:
        _, pivot = terms.pop(max(range(len(terms)), key=lambda index: abs(terms[index][0])))
        return terms, pivot
    return terms, None


def _combined(blocks: list[Reals], base_N: Reals | None, how: Combination) -> Reals:
    inputs = blocks if base_N is None else [*blocks, base_N]
    terms, pivot = sum_terms(how, len(blocks))
    parts = [(share, inputs[place]) for share, place in terms]
    if pivot is not None:
        return _from_pivot(parts, inputs[pivot])
    if not parts:
        blocks[0].fill(0)
        return blocks[0]
    return _total(parts)


def _from_pivot(parts: list[tuple[float, Reals]], pivot_N: Reals) -> Reals:
    """X + Σ cᵢ(xᵢ − x)."""
    for _, block_N in parts:
        np.subtract(block_N, pivot_N, out=block_N)
    if not parts:
        return pivot_N
    total_N = _total(parts)
    return np.add(pivot_N, total_N, out=total_N)


def _total(parts: list[tuple[float, Reals]]) -> Reals:
    for share, block_N in parts:
        if share != 1:
            np.multiply(block_N, block_N.dtype.type(share), out=block_N)
    total_N = parts[0][1]
    for _, block_N in parts[1:]:
        np.add(total_N, block_N, out=total_N)
    return total_N


#: From this many numbers on, products are summed in float32 over stretches of :data:`STRETCH` and in float64 beyond.
#: Each stretch is off by some 1e-7 of its own sum, either way alike, and 64 of them and more make that 1e-8.
LONG_NUMBERS = 1 << 18
STRETCH = 1 << 12


class InnerProducts:
    """Adds up the Gram matrix of the inputs, block by block: in float64, where products of float32 numbers are exact.

    Long tensors are summed in short stretches of float32 first, at a third of the cost.
    """

    def __init__(self, count: int, numel: int) -> None:
        self.sums = np.zeros((count, count))
        self._kind = np.float32 if numel >= LONG_NUMBERS else np.float64
        self._room: Reals = np.empty((count + 1, 0))

    def add(self, blocks: Sequence[Reals]) -> None:
        """Add one block of every input."""
        size = len(blocks[0])
        if self._room.shape[1] < size:
            self._room = np.empty((len(blocks) + 1, size), dtype=self._kind)
        product_N = self._room[-1, :size]
        inputs = list(blocks)
        if self._kind is np.float64:
            inputs = [self._room[index, :size] for index in range(len(blocks))]
            for wide_N, block_N in zip(inputs, blocks, strict=True):
                wide_N[:] = block_N
        for row, left_N in enumerate(inputs):
            for column in range(row, len(inputs)):
                np.multiply(left_N, inputs[column], out=product_N)
                self.sums[row, column] += self._total(product_N)

    def add_stretches(self, sums_PS: Reals, rest: Sequence[Reals]) -> None:
        """Add a block of which the sums over stretches are there, pair by pair, and ``rest`` numbers behind them."""
        pair = 0
        for row, left_N in enumerate(rest):
            for column in range(row, len(rest)):
                behind = float((left_N * rest[column]).sum(dtype=np.float64))
                self.sums[row, column] += float(sums_PS[pair].sum(dtype=np.float64)) + behind
                pair += 1

    def _total(self, product_N: Reals) -> float:
        whole = len(product_N) // STRETCH * STRETCH
        if self._kind is np.float64 or whole == 0:
            return float(product_N.sum(dtype=np.float64))
        stretches = product_N[:whole].reshape(-1, STRETCH).sum(axis=1)
        return float(stretches.sum(dtype=np.float64)) + float(product_N[whole:].sum(dtype=np.float64))

    @property
    def matrix(self) -> Values:
        """The symmetric matrix, M×M."""
        full: Values = np.triu(self.sums) + np.triu(self.sums, 1).T
        return full
