"""Which numbers are among the k largest in magnitude, exactly, without a sort and without holding the tensor.

A sample brackets the k-th magnitude, one walk counts what lies above the bracket and keeps what lies inside, and a
selection within the bracket finds the rest. Should the sample mislead, a histogram over the float bits brackets for
certain. Of equal magnitudes those with the lowest index count as larger, so a cut has one answer on every machine.

Shape suffixes: M models, N numbers of a block, H histogram bins, K cuts.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from e2lm.merge_strategy import TensorBlocks, TensorGroup
from e2lm_merge.numbers.formats import Floats

if TYPE_CHECKING:
    import torch

#: Below this many numbers all magnitudes are held and selected from directly: a selection costs 7 ns per number, a
#: bracket a tenth of that.
HELD_NUMBERS = 1 << 16

#: The sample is the start of every block: 1/16 of it, less where that still makes so many numbers.
SAMPLE_PART = 16
SAMPLE_NUMBERS = 1 << 18

#: Half width of the bracket in ranks: a share of the sample, and standard errors of a rank at most. Blocks follow rows,
#: and rows differ in scale, so the sample is worse than an independent one of its size; 1 % held on every tensor tried.
BRACKET_SHARE = 0.01
BRACKET_ERRORS = 8

#: How many numbers are looked at for values worth trying, and how many values are tried at most.
TRIED_SAMPLE = 1024
TRIED_VALUES = 512

#: Float32 bits without sign, cut to their upper 16: sign is 0, so 2**15 bins cover every magnitude.
BIN_SHIFT = 16
BINS = 1 << 15

#: The magnitudes of a block, one array per model, N each.
Magnitudes = Callable[[TensorGroup], Sequence["torch.Tensor"]]


@dataclass(frozen=True, slots=True)
class TopCut:
    """The k numbers of largest magnitude: those above ``threshold``, and of those equal to it the first few.

    ``kept_equal`` says how many equal ones are kept; ``equal_starts`` and ``equal_counts`` how many there are in each
    block that has some.
    """

    threshold: float
    kept_equal: int
    all_equal_kept: bool
    equal_starts: tuple[int, ...] = ()
    equal_counts: tuple[int, ...] = ()

    def equal_here(self, start: int) -> tuple[int, int]:
        """How many equal ones the block that begins at ``start`` keeps, and how many it has."""
        place = bisect.bisect_left(self.equal_starts, start)
        if place == len(self.equal_starts) or self.equal_starts[place] != start:
            return 0, 0
        left = max(0, self.kept_equal - sum(self.equal_counts[:place]))
        return min(left, self.equal_counts[place]), self.equal_counts[place]

    def mask(self, magnitudes_N: torch.Tensor, start: int) -> torch.Tensor:
        """True where a number of the block that begins at ``start`` is among the k largest."""
        import torch

        if self.all_equal_kept:
            return magnitudes_N >= self.threshold
        mask_N = magnitudes_N > self.threshold
        kept, _ = self.equal_here(start)
        if kept:
            equal_E = torch.nonzero(magnitudes_N.reshape(-1) == self.threshold).view(-1)
            mask_N.view(-1)[equal_E[:kept]] = True
        return mask_N

    def shrunk(self, numbers_N: torch.Tensor, start: int) -> torch.Tensor:
        """``numbers_N`` with all but the k largest set to zero, in new memory."""
        import torch

        kept, found = (1, 1) if self.all_equal_kept else self.equal_here(start)
        if kept == found and kept and self.threshold > 0:
            below = float(np.nextafter(np.float32(self.threshold), np.float32(0)))
            return torch.nn.functional.hardshrink(numbers_N, below)
        if not kept and np.isfinite(self.threshold):
            return torch.nn.functional.hardshrink(numbers_N, self.threshold)
        return numbers_N.mul(self.mask(numbers_N.abs(), start))


#: Every number is kept.
EVERYTHING = TopCut(-1.0, 0, True)
#: No number is kept.
NOTHING = TopCut(float("inf"), 0, False)


@dataclass(slots=True)
class _Bracket:
    """Magnitudes from ``low`` to ``high``, and what one walk finds there."""

    low: float
    high: float
    above: int = 0
    inside: list[tuple[int, Floats]] = field(default_factory=list)

    def add(self, magnitudes_N: Floats, start: int) -> None:
        self.above += int(np.count_nonzero(magnitudes_N > np.float32(self.high)))
        among_N = magnitudes_N[(magnitudes_N >= np.float32(self.low)) & (magnitudes_N <= np.float32(self.high))]
        if len(among_N):
            self.inside.append((start, among_N))

    def cut(self, count: int) -> TopCut | None:
        """The cut of the ``count`` largest; None where it lies outside the bracket."""
        found = sum(len(values) for _, values in self.inside)
        if not self.above < count <= self.above + found:
            return None
        values = np.concatenate([values for _, values in self.inside])
        rank = count - self.above
        threshold = kth_largest(values, rank)
        kept_equal = rank - int(np.count_nonzero(values > threshold))
        starts, counts = [], []
        for start, among in self.inside:
            equal = int(np.count_nonzero(among == threshold))
            if equal:
                starts.append(start)
                counts.append(equal)
        if kept_equal == sum(counts):
            return TopCut(float(threshold), kept_equal, True)
        return TopCut(float(threshold), kept_equal, False, tuple(starts), tuple(counts))


def kth_largest(values: Floats, rank: int) -> np.float32:
    """The ``rank``-th largest of ``values``, 1 the largest.

    Differences of 16-bit weights take few values each many times, where a selection is at its slowest; so a handful of
    values is tried first, each of which two counts prove or rule out.

    >>> float(kth_largest(np.float32([1, 3, 3, 2]), 3))
    2.0
    """
    tried = np.unique(values[:: max(1, len(values) // TRIED_SAMPLE)])
    low, high = 0, len(tried) - 1
    while low <= high and len(tried) <= TRIED_VALUES:
        middle = (low + high) // 2
        if int(np.count_nonzero(values > tried[middle])) >= rank:
            low = middle + 1
        elif int(np.count_nonzero(values >= tried[middle])) < rank:
            high = middle - 1
        else:
            return np.float32(tried[middle])
    place = len(values) - rank
    return np.float32(np.partition(values, place)[place])


def top_cuts(blocks: TensorBlocks, magnitudes: Magnitudes, counts_MK: Sequence[Sequence[int]]) -> list[list[TopCut]]:
    """The cuts of one tensor: for model m the ``counts_MK[m][k]`` numbers of largest magnitude."""
    numel = int(np.prod(blocks.group.shape, dtype=np.int64))
    trivial = all(count in (0, numel) or count < 0 for counts in counts_MK for count in counts)
    if trivial:
        return [[EVERYTHING if count >= numel else NOTHING for count in counts] for counts in counts_MK]
    if numel <= HELD_NUMBERS:
        brackets = [[_Bracket(0.0, np.inf) for _ in counts] for counts in counts_MK]
    else:
        brackets = _sampled_brackets(blocks, magnitudes, counts_MK, numel)
    cuts = _cuts_within(iter(blocks), magnitudes, counts_MK, brackets, numel)
    if any(cut is None for row in cuts for cut in row):
        brackets = _certain_brackets([blocks], magnitudes, counts_MK)
        cuts = _cuts_within(iter(blocks), magnitudes, counts_MK, brackets, numel)
    return [[cut for cut in row if cut is not None] for row in cuts]


def top_cuts_of_all(
    tensors: Sequence[TensorBlocks], magnitudes: Magnitudes, shares_MK: Sequence[Sequence[float]]
) -> list[list[TopCut]]:
    """Cuts over all tensors together: for model m the shares ``shares_MK[m]``, and all that equal the last of them.

    Keeping all equal ones is how the TIES authors trim; across tensors there is no order among equals to prefer.
    """
    numel = sum(int(np.prod(blocks.group.shape, dtype=np.int64)) for blocks in tensors)
    counts_MK = [[max(1, int(share * numel)) for share in shares] for shares in shares_MK]
    brackets = _certain_brackets(tensors, magnitudes, counts_MK)
    found = _cuts_within((group for blocks in tensors for group in blocks), magnitudes, counts_MK, brackets, numel)
    return [
        [EVERYTHING if cut is None or cut is EVERYTHING else TopCut(cut.threshold, 0, True) for cut in row]
        for row in found
    ]


def _cuts_within(
    groups: Iterator[TensorGroup],
    magnitudes: Magnitudes,
    counts_MK: Sequence[Sequence[int]],
    brackets: Sequence[Sequence[_Bracket]],
    numel: int,
) -> list[list[TopCut | None]]:
    for group in groups:
        for magnitudes_N, row in zip(magnitudes(group), brackets, strict=True):
            array_N: Floats = magnitudes_N.reshape(-1).numpy()
            for bracket in row:
                bracket.add(array_N, group.start)
    return [
        [
            EVERYTHING if count >= numel else NOTHING if count <= 0 else bracket.cut(count)
            for count, bracket in zip(counts, row, strict=True)
        ]
        for counts, row in zip(counts_MK, brackets, strict=True)
    ]


def _sampled_brackets(
    blocks: TensorBlocks, magnitudes: Magnitudes, counts_MK: Sequence[Sequence[int]], numel: int
) -> list[list[_Bracket]]:
    kept: list[list[Floats]] = [[] for _ in counts_MK]
    for group in blocks.sample(max(SAMPLE_PART, numel // SAMPLE_NUMBERS)):
        for magnitudes_N, parts in zip(magnitudes(group), kept, strict=True):
            parts.append(magnitudes_N.reshape(-1).numpy().copy())
    brackets = []
    for parts, counts in zip(kept, counts_MK, strict=True):
        sample = np.concatenate(parts)
        size = len(sample)
        # The standard error of a rank is at most half the root of the sample's size.
        margin = int(BRACKET_SHARE * size + BRACKET_ERRORS * size**0.5 / 2)
        ranks = [round((numel - count) / numel * size) for count in counts]
        places = [(max(0, rank - margin), min(size - 1, rank + margin)) for rank in ranks]
        edges = [(kth_largest(sample, size - low), kth_largest(sample, size - high)) for low, high in places]
        brackets.append(
            [
                _Bracket(0.0 if low == 0 else float(under), np.inf if high == size - 1 else float(over))
                for (low, high), (under, over) in zip(places, edges, strict=True)
            ]
        )
    return brackets


def _certain_brackets(
    tensors: Sequence[TensorBlocks], magnitudes: Magnitudes, counts_MK: Sequence[Sequence[int]]
) -> list[list[_Bracket]]:
    """Brackets one histogram bin wide, which surely hold the wanted ranks: magnitudes sort as their bits do."""
    counts_MH = np.zeros((len(counts_MK), BINS), dtype=np.int64)
    for blocks in tensors:
        for group in blocks:
            for magnitudes_N, counts_H in zip(magnitudes(group), counts_MH, strict=True):
                bits_N = magnitudes_N.reshape(-1).numpy().view(np.uint32) >> np.uint32(BIN_SHIFT)
                counts_H += np.bincount(bits_N, minlength=BINS)
    brackets = []
    for counts_H, counts in zip(counts_MH, counts_MK, strict=True):
        from_top_H = np.cumsum(counts_H[::-1])[::-1]
        row = []
        for count in counts:
            place = int(np.count_nonzero(from_top_H >= count)) - 1
            edges = np.array([max(place, 0) << BIN_SHIFT, ((max(place, 0) + 1) << BIN_SHIFT) - 1], dtype=np.uint32)
            low, high = edges.view(np.float32)
            row.append(_Bracket(float(low), float(high) if np.isfinite(high) else np.inf))
        brackets.append(row)
    return brackets
