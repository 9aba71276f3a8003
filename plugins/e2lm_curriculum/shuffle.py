"""The plain arm: every epoch a fresh permutation, each example once.

Shape suffixes: X examples, S optimiser steps, B examples per step, N draws (N = S * B).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from e2lm.curriculum import Curriculum, Plan, TrainingBudget


def shuffled_plan(scores_X: NDArray[np.float64], budget: TrainingBudget, rng: np.random.Generator) -> Plan:
    """A plan in which every epoch sees each example once, in an order of its own; the last epoch may be cut short.

    An epoch need not end at a step: examples go on across the border, so that none is dropped.

    >>> plan = shuffled_plan(np.zeros(6), TrainingBudget(3, 4, 8), np.random.default_rng(0))
    >>> plan.indices_SB.shape, sorted(plan.indices_SB.ravel()[:6].tolist())
    ((3, 4), [0, 1, 2, 3, 4, 5])
    """
    examples = len(scores_X)
    draws = budget.steps * budget.batch_size
    indices_N = np.empty(draws, dtype=np.int64)
    for start in range(0, draws, examples):
        count = min(examples, draws - start)
        indices_N[start : start + count] = rng.permutation(examples)[:count]
    return Plan(indices_N.reshape(budget.steps, budget.batch_size))


SHUFFLE = Curriculum(
    name="shuffle",
    description="Each epoch a fresh permutation without replacement: the baseline of every comparison.",
    plan=shuffled_plan,
)
