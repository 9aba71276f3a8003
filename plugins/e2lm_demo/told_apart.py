"""When a curve tells one recipe from another: beyond two seeds of one recipe, beyond the items, and for good.

Two seeds make one difference, with which no test of .05 can be made. So the rule is what one would ask of a picture,
and its errors are counted. Recipes a and b are told apart at a checkpoint where their means over seeds differ

* by more than 1.5 times the largest difference that the two seeds of the clean recipe have at any trained checkpoint;
* by more than the items explain: ``z sqrt(e_a^2 + e_b^2)``, with z the normal quantile of a two-sided .05 divided by
  all comparisons that were looked at, and e the standard errors, as if each recipe had items of its own (which
  overstates).

A pair is told from the first checkpoint on from which every later one, two at least, the last included, tells it the
same way: what one checkpoint says and the next takes back is not told.

How often two recipes that are one would be told apart by seeds alone, were there no items to doubt, of 100
comparisons: 2 or fewer where seeds differ by noise, white or AR(.7), or by when they learn, and 14 where they drift
apart like random walks (tests/e2lm_demo/test_told_apart.py).

Shape suffixes: R recipes, S seeds, K checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2lm.interval import normal_quantile

#: Two-sided, over all comparisons together, of the items.
LEVEL = 0.05
#: In largest differences between two seeds.
BEYOND_SEEDS = 1.5
#: Checkpoints that tell the same, the last of them the last of the run.
LEAST_CHECKPOINTS = 2


@dataclass(frozen=True, slots=True)
class RecipeCurves:
    """One task x metric of one recipe under each of its seeds, turned so that more is better."""

    name: str
    values_SK: NDArray[np.float64]
    stderr_SK: NDArray[np.float64]

    @property
    def mean_K(self) -> NDArray[np.float64]:
        """Over seeds."""
        return np.asarray(self.values_SK.mean(axis=0))

    @property
    def item_variance_K(self) -> NDArray[np.float64]:
        """That of one run: seeds share their items, so that more of them know no more. Unknown errors count as 0."""
        return np.asarray(np.nan_to_num(self.stderr_SK**2).mean(axis=0))


@dataclass(frozen=True, slots=True)
class PairTold:
    """``better`` before ``worse``, as planted; ``share`` of the run from which they are told apart, None where never.

    ``gap``, and ``error`` of it by the items, are those of the last checkpoint.
    """

    better: str
    worse: str
    share: float | None
    gap: float
    error: float

    @property
    def is_right(self) -> bool | None:
        """Whether what is told is what was planted; None where nothing is told."""
        return None if self.share is None else self.gap > 0


def seeds_apart(values_SK: NDArray[np.float64]) -> float:
    """The largest difference of two seeds at a trained checkpoint; the first one is not trained.

    >>> seeds_apart(np.array([[0.0, 0.1, 0.5], [0.9, 0.1, 0.25]]))
    0.25
    """
    return float(np.abs(np.diff(values_SK, axis=0)[0, 1:]).max())


def pairs_told(
    recipes: Sequence[RecipeCurves], shares_K: NDArray[np.float64], comparisons: int
) -> tuple[PairTold, ...]:
    """Every pair of ``recipes``, which stand best first and of which the first has two seeds."""
    of_seeds = BEYOND_SEEDS * seeds_apart(recipes[0].values_SK)
    pairs = ((one, other) for place, one in enumerate(recipes) for other in recipes[place + 1 :])
    return tuple(_told(one, other, of_seeds, shares_K, comparisons) for one, other in pairs)


def _told(
    one: RecipeCurves,
    other: RecipeCurves,
    of_seeds: float,
    shares_K: NDArray[np.float64],
    comparisons: int,
) -> PairTold:
    gap_K = one.mean_K - other.mean_K
    error_K = np.sqrt(one.item_variance_K + other.item_variance_K)
    needed_K = np.maximum(of_seeds, normal_quantile(1.0 - LEVEL / comparisons) * error_K)
    sign_K = np.where(np.abs(gap_K) > needed_K, np.sign(gap_K), 0.0)
    return PairTold(one.name, other.name, _from(sign_K, shares_K), float(gap_K[-1]), float(error_K[-1]))


def _from(sign_K: NDArray[np.float64], shares_K: NDArray[np.float64]) -> float | None:
    """The share from which on the sign is that of the end; None where the end has none, or is too short."""
    others = np.flatnonzero(sign_K != sign_K[-1])
    first = int(others[-1]) + 1 if len(others) else 0
    return None if sign_K[-1] == 0 or len(sign_K) - first < LEAST_CHECKPOINTS else float(shares_K[first])
