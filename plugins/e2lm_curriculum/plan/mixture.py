"""Staged mixtures of corpus files: exact shares in every stretch of training, not only on average.

Shape suffixes: X examples, S steps, B examples per step, N draws (S * B), F corpus files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm.arrays import Indices
from e2lm.curriculum import TrainingBudget
from e2lm.errors import UserError
from e2lm_curriculum.plan.draws import epoch_draws, index_type, plan_array
from e2lm_curriculum.plan.pacing import step_fractions
from e2lm_curriculum.plan.setting import MixtureStage


def mixture_order(
    scores_X: NDArray[Any],
    budget: TrainingBudget,
    stages: Sequence[MixtureStage],
    rng: np.random.Generator,
) -> Indices:
    """Examples by the weights of each stage; each file is read in shuffled epochs that go on across stages."""
    sources_X = np.asarray(scores_X, dtype=np.int64)
    sizes_F = np.bincount(sources_X)
    stage_S = stage_of_step([stage.start for stage in stages], budget.steps)
    chosen_N = plan_array(budget.draws, np.int16)
    for number, stage in enumerate(stages):
        steps = np.flatnonzero(stage_S == number)
        if len(steps):
            count = len(steps) * budget.batch_size
            start = int(steps[0]) * budget.batch_size
            chosen_N[start : start + count] = source_sequence(stage_weights(stage, sizes_F), count, rng)
    return draws_from_sources(chosen_N, sources_X, rng).reshape(budget.steps, budget.batch_size)


def stage_of_step(starts: Sequence[float], steps: int) -> NDArray[np.int64]:
    """Which of the stages that begin at ``starts`` (shares of the tokens, rising from 0) each step belongs to.

    >>> stage_of_step([0.0, 0.5], 5).tolist()
    [0, 0, 0, 1, 1]
    """
    return np.searchsorted(np.asarray(starts), step_fractions(steps), side="right") - 1


def stage_weights(stage: MixtureStage, sizes_F: NDArray[np.int64]) -> NDArray[np.float64]:
    """The share of each file, summing to 1; a :class:`UserError` if their number is not that of the files.

    >>> stage_weights(MixtureStage(start=0.0, weights="natural"), np.array([30, 10])).tolist()
    [0.75, 0.25]
    """
    if stage.weights == "natural":
        weights_F = sizes_F.astype(float)
    elif stage.weights == "stratified":
        weights_F = (sizes_F > 0).astype(float)
    else:
        weights_F = np.asarray(stage.weights, dtype=float)
        if len(weights_F) != len(sizes_F) or weights_F.sum() <= 0:
            raise UserError(
                f"field 'curriculum.mixture': weights {list(stage.weights)}, but the corpus has {len(sizes_F)} files; "
                "give one number per file, not all 0"
            )
        if (weights_F[sizes_F == 0] > 0).any():
            raise UserError("field 'curriculum.mixture': a file with weight above 0 has no example of its own")
    return np.asarray(weights_F / weights_F.sum())


def source_sequence(weights_F: NDArray[np.float64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """``count`` file numbers whose counts are ``weights_F`` times ``count`` to within one, also in every stretch.

    Systematic sampling: one random offset decides all.

    >>> np.bincount(source_sequence(np.array([0.75, 0.25]), 8, np.random.default_rng(0))).tolist()
    [6, 2]
    """
    # Golden-ratio steps spread every file evenly over the sequence (a low-discrepancy sequence of Weyl).
    golden = (np.sqrt(5.0) - 1.0) / 2.0
    rank_N = np.argsort(np.argsort((rng.random() + golden * np.arange(count)) % 1.0, kind="stable"))
    points_N = (rank_N + rng.random()) / max(count, 1)
    last = int(np.flatnonzero(weights_F)[-1])
    return np.minimum(np.searchsorted(np.cumsum(weights_F), points_N, side="right"), last)


def draws_from_sources(chosen_N: Indices, sources_X: NDArray[np.int64], rng: np.random.Generator) -> Indices:
    """For each file number of ``chosen_N`` one of its examples, each file in shuffled epochs."""
    indices_N = plan_array(len(chosen_N), index_type(len(sources_X)))
    for source in np.unique(chosen_N):
        places = np.flatnonzero(chosen_N == source)
        examples_G = np.flatnonzero(sources_X == source).astype(indices_N.dtype)
        indices_N[places] = epoch_draws(examples_G, len(places), rng)
    return indices_N
