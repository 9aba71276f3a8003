"""What a pacing and a ranking make of each other: the order of examples.

Shape suffixes: X examples, S steps, B examples per step, N draws (S * B).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from e2lm.arrays import Indices, Reals
from e2lm.curriculum import TrainingBudget
from e2lm_curriculum.plan.draws import epoch_draws, epochs_SB, index_type, plan_array, pool_draws
from e2lm_curriculum.plan.pacing import Pacing, step_fractions
from e2lm_curriculum.plan.ranking import ranking, ranking_with_mixed_ties
from e2lm_curriculum.plan.setting import CurriculumSetting


def pool_order(
    scores_X: Reals, budget: TrainingBudget, setting: CurriculumSetting, rng: np.random.Generator
) -> Indices:
    """CLIMB's data curriculum: every batch from the examples that score at most the pacing's percentile.

    Different examples within a batch, uniform; from batch to batch the pool is the same again, so easy examples are
    seen more often than hard ones. The pool is never smaller than a batch.
    """
    ranked = ranking(scores_X)
    sizes_S = ranked.pool_sizes(setting.pacing.share(step_fractions(budget.steps)), budget.batch_size)
    return pool_draws(ranked.order_X, sizes_S, budget.batch_size, rng)


def staged_order(
    scores_X: Reals, budget: TrainingBudget, setting: CurriculumSetting, rng: np.random.Generator
) -> Indices:
    """Distinct stages from easy to hard, each as many tokens as it has examples, each in epochs of its own.

    Equal scores are never split: with at most ``stages`` different scores each is a stage, else the borders are the
    ones nearest to equal sizes.
    """
    ranked = ranking_with_mixed_ties(scores_X, rng)
    borders = stage_borders(ranked.groups(), setting.stages)
    indices_N = plan_array(budget.draws, ranked.order_X.dtype)
    for low, high in pairwise(borders):
        start, end = (round(budget.draws * place / ranked.examples) for place in (low, high))
        indices_N[start:end] = epoch_draws(ranked.order_X[low:high], end - start, rng)
    return indices_N.reshape(budget.steps, budget.batch_size)


def stage_borders(group_starts: NDArray[np.int64], stages: int) -> list[int]:
    """At most ``stages`` + 1 of the places where a new score begins, the first and the last among them.

    >>> stage_borders(np.array([0, 5, 6, 10, 20]), 2)
    [0, 10, 20]
    """
    if len(group_starts) - 1 <= stages:
        return [int(place) for place in group_starts]
    wanted = np.linspace(0, group_starts[-1], stages + 1)
    nearest = group_starts[[int(np.argmin(np.abs(group_starts - place))) for place in wanted]]
    return sorted({int(place) for place in nearest})


def full_coverage_order(
    scores_X: Reals, budget: TrainingBudget, setting: CurriculumSetting, rng: np.random.Generator
) -> Indices:
    """Every epoch each example once, from easy to hard; equal scores in an order that is new in each epoch."""
    indices_N = plan_array(budget.draws, index_type(len(scores_X)))
    for start in range(0, budget.draws, len(scores_X)):
        count = min(len(scores_X), budget.draws - start)
        indices_N[start : start + count] = ranking_with_mixed_ties(scores_X, rng).order_X[:count]
    return indices_N.reshape(budget.steps, budget.batch_size)


def warm_up_order(
    scores_X: Reals, budget: TrainingBudget, setting: CurriculumSetting, rng: np.random.Generator
) -> Indices:
    """A pool that grows over the first ``share`` of the tokens, then shuffled epochs.

    The pacing is squeezed into the warm-up: its last value is reached where the warm-up ends.
    """
    warm_steps = max(1, round(setting.share * budget.steps))
    warm = TrainingBudget(warm_steps, budget.batch_size, budget.sequence_length)
    indices_SB = plan_array(budget.draws, index_type(len(scores_X))).reshape(budget.steps, budget.batch_size)
    indices_SB[:warm_steps] = pool_order(scores_X, warm, setting, rng)
    rest = TrainingBudget(budget.steps - warm_steps, budget.batch_size, budget.sequence_length)
    indices_SB[warm_steps:] = epochs_SB(len(scores_X), rest, rng)
    return indices_SB


def grouped_order(
    scores_X: Reals, budget: TrainingBudget, setting: CurriculumSetting, rng: np.random.Generator
) -> Indices:
    """Batches of equal difficulty in random order: what remains of a curriculum without its order.

    Every epoch sees each example once, but for those that do not fill the last batch of an epoch.
    """
    indices_SB = plan_array(budget.draws, index_type(len(scores_X))).reshape(budget.steps, budget.batch_size)
    batches = len(scores_X) // budget.batch_size
    if batches == 0:
        return pool_order(scores_X, budget, setting.model_copy(update={"pacing": Pacing(kind="constant")}), rng)
    for start in range(0, budget.steps, batches):
        order_X = ranking_with_mixed_ties(scores_X, rng).order_X
        # Which examples are left out is new in each epoch.
        skipped = int(rng.integers(len(order_X) - batches * budget.batch_size + 1))
        batches_SB = order_X[skipped : skipped + batches * budget.batch_size].reshape(batches, budget.batch_size)
        count = min(batches, budget.steps - start)
        indices_SB[start : start + count] = batches_SB[rng.permutation(batches)[:count]]
    return indices_SB


def random_order(
    scores_X: Reals, budget: TrainingBudget, setting: CurriculumSetting, rng: np.random.Generator
) -> Indices:
    """Shuffled epochs, whatever the scores."""
    return epochs_SB(len(scores_X), budget, rng)


OrderMaker = Callable[[Reals, TrainingBudget, CurriculumSetting, np.random.Generator], Indices]

MODES: Mapping[str, OrderMaker] = {
    "pool": pool_order,
    "staged": staged_order,
    "full-coverage": full_coverage_order,
    "warm-up": warm_up_order,
    "grouped": grouped_order,
    "random": random_order,
}
