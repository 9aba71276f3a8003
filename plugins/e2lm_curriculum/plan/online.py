"""Curricula that look at the model while it trains, as planners of one segment at a time.

Shape suffixes: X examples, S steps of the segment, B examples per step, F corpus files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from e2lm.arrays import Indices, Reals
from e2lm.curriculum import Plan, Segment, SegmentPlanner, TrainingBudget
from e2lm_curriculum.plan.mixture import draws_from_sources, source_sequence
from e2lm_curriculum.plan.setting import OnlineSetting

#: Plans a whole run, from scores that are known.
Planner: TypeAlias = Callable[[Reals, TrainingBudget, np.random.Generator], Plan]


def segment_planner(online: OnlineSetting, planner: Planner) -> SegmentPlanner:
    """The planner that ``online`` names; ``planner`` makes an order of the scores that it finds."""
    next_order = _self_perplexity if online.kind == "self-perplexity" else _skill_it

    def next_segment(segment: Segment) -> tuple[Indices, dict[str, Any]]:
        return next_order(online, planner, segment)

    return next_segment


def _self_perplexity(online: OnlineSetting, planner: Planner, segment: Segment) -> tuple[Indices, dict[str, Any]]:
    """CLIMB: the first ranking is by the given scores, each later one by the model's own loss at that moment."""
    scores_X = np.asarray(segment.scores_X, dtype=np.float64)
    if segment.start_step:
        scores_X = segment.probe(np.arange(len(scores_X)))
    order_SB = planner(scores_X, segment.budget, segment.rng).indices_SB[segment.start_step : segment.end_step]
    return np.ascontiguousarray(order_SB), {"scored": bool(segment.start_step)}


def _skill_it(online: OnlineSetting, planner: Planner, segment: Segment) -> tuple[Indices, dict[str, Any]]:
    """Chen et al. 2023 (Skill-it) with the identity as skills graph: w ~ exp(rate * losses summed over a window)."""
    sources_X = np.asarray(segment.scores_X, dtype=np.int64)
    sizes_F = np.bincount(np.abs(sources_X))
    history = [list(losses) for losses in segment.state.get("losses", [])]
    if segment.start_step:
        history = [*history, _file_losses(online, segment, sizes_F)][-online.window :]
    log_weights_F = online.rate * np.sum(history, axis=0) if history else np.zeros(len(sizes_F))
    weights_F = np.where(sizes_F > 0, np.exp(log_weights_F - np.max(log_weights_F)), 0.0)
    weights_F /= weights_F.sum()
    steps = segment.end_step - segment.start_step
    budget = TrainingBudget(steps, segment.budget.batch_size, segment.budget.sequence_length)
    chosen_N = source_sequence(weights_F, budget.draws, segment.rng)
    order_SB = draws_from_sources(chosen_N, np.abs(sources_X), segment.rng).reshape(steps, budget.batch_size)
    return order_SB, {"losses": history, "weights": weights_F.tolist()}


def _file_losses(online: OnlineSetting, segment: Segment, sizes_F: NDArray[np.int64]) -> list[float]:
    sources_X = np.abs(np.asarray(segment.scores_X, dtype=np.int64))
    losses = []
    for source, size in enumerate(sizes_F):
        if not size:
            losses.append(0.0)
            continue
        count = min(online.probed, int(size))
        examples = segment.rng.choice(np.flatnonzero(sources_X == source), count, replace=False)
        losses.append(float(segment.probe(examples).mean()))
    return losses
