"""Draws of examples: without replacement within a batch, or in epochs that cover everything once, as ``shuffle`` does.

Arrays of a plan are in memory while they are small, in an unnamed file beyond.

Shape suffixes: X examples, S steps, B examples per step, C steps of one chunk, N draws (S * B), G examples of a group.
"""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm.arrays import Indices
from e2lm.curriculum import Curriculum, Plan, TrainingBudget

#: Larger arrays are memory-mapped.
IN_MEMORY_BYTES = 256 << 20

LARGEST_INT32 = 1 << 31


def index_type(examples: int) -> type[np.int32] | type[np.int64]:
    """The smallest of the two types that holds every index."""
    return np.int32 if examples < LARGEST_INT32 else np.int64


def every_example(examples: int) -> Indices:
    """0 to ``examples`` - 1."""
    numbers_X: Indices = np.arange(examples, dtype=index_type(examples))
    return numbers_X


def plan_array(length: int, dtype: Any) -> NDArray[Any]:
    """An uninitialised array; the file behind a large one is gone when the array is."""
    size = length * np.dtype(dtype).itemsize
    if size <= IN_MEMORY_BYTES:
        return np.empty(length, dtype=dtype)
    # The map keeps the unnamed file alive.
    with tempfile.TemporaryFile() as file:
        file.truncate(size)
        return np.memmap(file, dtype=dtype, mode="r+", shape=(length,))


#: Random numbers made at once.
DRAWS_PER_CHUNK = 1 << 21


def pool_draws(order_X: Indices, pool_sizes_S: NDArray[np.int64], batch_size: int, rng: np.random.Generator) -> Indices:
    """For each step ``batch_size`` different examples, uniform among the first ``pool_sizes_S`` of ``order_X``.

    With fewer examples in the pool than a batch has, as many rounds through the pool as a batch takes.
    """
    steps = len(pool_sizes_S)
    indices_SB = plan_array(steps * batch_size, index_type(len(order_X))).reshape(steps, batch_size)
    chunk = max(1, DRAWS_PER_CHUNK // batch_size)
    for start in range(0, steps, chunk):
        sizes_C = pool_sizes_S[start : start + chunk]
        indices_SB[start : start + chunk] = order_X[_different_places(sizes_C, batch_size, rng)]
    return indices_SB


def _different_places(sizes_C: NDArray[np.int64], batch_size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows of different integers below ``sizes_C``: rows with a repetition are drawn anew, which is exact."""
    places_CB = np.empty((len(sizes_C), batch_size), dtype=np.int64)
    # From here on a row has no repetition with probability exp(-1/2) or more.
    is_large_C = sizes_C >= batch_size**2
    waiting = np.flatnonzero(is_large_C)
    while len(waiting):
        drawn_CB = rng.integers(0, sizes_C[waiting, None], size=(len(waiting), batch_size))
        sorted_CB = np.sort(drawn_CB, axis=1)
        places_CB[waiting] = drawn_CB
        waiting = waiting[(sorted_CB[:, 1:] == sorted_CB[:, :-1]).any(axis=1)]
    for row in np.flatnonzero(~is_large_C):
        size = int(sizes_C[row])
        rounds = [rng.permutation(size) for _ in range(-(-batch_size // size))]
        places_CB[row] = np.concatenate(rounds)[:batch_size]
    return places_CB


def epoch_draws(group_G: Indices, draws: int, rng: np.random.Generator) -> Indices:
    """``draws`` examples of ``group_G``: each epoch a fresh permutation, each example once; the last may be cut."""
    examples = len(group_G)
    indices_N = plan_array(draws, group_G.dtype)
    for start in range(0, draws, examples):
        count = min(examples, draws - start)
        indices_N[start : start + count] = rng.permutation(group_G)[:count]
    return indices_N


def epochs_SB(examples: int, budget: TrainingBudget, rng: np.random.Generator) -> Indices:
    """Shuffled epochs of all examples, over the whole budget."""
    return epoch_draws(every_example(examples), budget.draws, rng).reshape(budget.steps, budget.batch_size)


def shuffled_plan(scores_X: NDArray[np.float64], budget: TrainingBudget, rng: np.random.Generator) -> Plan:
    """A plan in which every epoch sees each example once, in an order of its own; the last epoch may be cut short.

    An epoch need not end at a step: examples go on across the border, so that none is dropped.

    >>> plan = shuffled_plan(np.zeros(6), TrainingBudget(3, 4, 8), np.random.default_rng(0))
    >>> plan.indices_SB.shape, sorted(plan.indices_SB.ravel()[:6].tolist())
    ((3, 4), [0, 1, 2, 3, 4, 5])
    """
    return Plan(epochs_SB(len(scores_X), budget, rng))


SHUFFLE = Curriculum(
    name="shuffle",
    description="Each epoch a fresh permutation without replacement: the baseline of every comparison.",
    plan=shuffled_plan,
)
