"""Examples from easy to hard: how many are in the pool at a percentile, how often each part of them was seen.

Shape suffixes: X examples, S steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2lm.arrays import Indices, Reals
from e2lm.errors import E2LMError
from e2lm_curriculum.plan.draws import LARGEST_INT32, every_example

EXAMPLES_AT_ONCE = 1 << 22

#: Exposure is told by tenths of the examples.
PARTS = 10
_SIGN_BIT = np.uint32(1 << 31)
_HALVES = np.dtype([("place", "<i4"), ("key", "<u4")])


@dataclass(frozen=True, slots=True)
class Ranking:
    """``order_X`` are the examples from easy to hard; ``keys_X`` their scores, in that order, as sortable integers.

    Scores are compared in single precision: 1e8 of them are then sorted within 0.8 GB.
    """

    order_X: Indices
    keys_X: NDArray[np.uint32]

    @property
    def examples(self) -> int:
        """How many there are."""
        return len(self.order_X)

    def pool_sizes(self, shares_S: NDArray[np.float64], smallest: int) -> NDArray[np.int64]:
        """How many examples score at most the percentile 100 * ``shares_S`` (linear interpolation, as in numpy).

        All that tie with the percentile are in, so with few distinct scores the pool grows in jumps. It is never
        smaller than ``smallest`` (a batch), unless there are fewer examples.
        """
        # In numpy's own steps, so that a share at a rounding boundary falls to the same side.
        quantile_S = 100.0 * np.clip(shares_S, 0.0, 1.0) / 100.0
        position_S = np.floor(quantile_S * (self.examples - 1)).astype(np.int64)
        sizes_S = np.searchsorted(self.keys_X, self.keys_X[position_S], side="right")
        return np.clip(sizes_S, min(smallest, self.examples), self.examples)

    def groups(self) -> NDArray[np.int64]:
        """Where in ``order_X`` each run of equal scores begins, and the number of examples at the end."""
        return np.concatenate([[0], np.flatnonzero(np.diff(self.keys_X)) + 1, [self.examples]]).astype(np.int64)


def ranking(scores_X: Reals) -> Ranking:
    """The examples sorted by score, equal ones by index.

    >>> found = ranking(np.array([3.0, 1.0, 2.0, 1.0]))
    >>> found.order_X.tolist(), found.pool_sizes(np.array([0.0, 0.5, 1.0]), 1).tolist()
    ([1, 3, 2, 0], [2, 2, 4])
    """
    examples = len(scores_X)
    if examples >= LARGEST_INT32:
        raise E2LMError(f"{examples} examples: a ranking holds fewer than {LARGEST_INT32}; use longer sequences")
    packed_X = np.empty(examples, dtype="<u8")
    for start in range(0, examples, EXAMPLES_AT_ONCE):
        part_X = slice(start, min(start + EXAMPLES_AT_ONCE, examples))
        packed_X[part_X] = _sortable(scores_X[part_X]).astype(np.uint64) << np.uint64(32)
        packed_X[part_X] |= np.arange(part_X.start, part_X.stop, dtype=np.uint64)
    packed_X.sort()
    # Both halves are views: 1e8 examples fit into 0.8 GB.
    halves_X = packed_X.view(_HALVES)
    return Ranking(halves_X["place"], halves_X["key"])


def ranking_with_mixed_ties(scores_X: Reals, rng: np.random.Generator) -> Ranking:
    """Like :func:`ranking`, with equal scores in random order."""
    mixed_X = rng.permutation(every_example(len(scores_X)))
    found = ranking(scores_X[mixed_X])
    return Ranking(mixed_X[found.order_X], found.keys_X)


def exposure_by_part(counts_X: NDArray[np.int64], scores_X: Reals, parts: int = PARTS) -> NDArray[np.float64]:
    """The draws of each of ``parts`` equal parts, by rising score, over what uniform sampling gives it.

    >>> exposure_by_part(np.array([3, 1]), np.array([0.0, 1.0]), parts=2).tolist()
    [1.5, 0.5]
    """
    ranked = ranking(scores_X)
    starts_G = ranked.groups()
    draws_G = np.add.reduceat(counts_X[ranked.order_X], starts_G[:-1])
    # Draws up to a place: linear inside a run of equal scores.
    places = np.linspace(0, len(scores_X), parts + 1)
    drawn = np.interp(places, starts_G, np.concatenate([[0], np.cumsum(draws_G)]))
    return np.asarray(np.diff(drawn) / np.diff(places) * len(scores_X) / counts_X.sum())


def _sortable(scores_X: Reals) -> NDArray[np.uint32]:
    """Unsigned integers in the order of the floats: positive ones with the sign bit set, negative ones inverted."""
    bits_X = (scores_X.astype(np.float32) + np.float32(0.0)).view(np.uint32)
    return np.where(bits_X & _SIGN_BIT, ~bits_X, bits_X | _SIGN_BIT)
