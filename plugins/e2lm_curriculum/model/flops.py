"""What an arm costs: tokens and FLOPs, all passes of the model counted, and how arms are made to cost the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from e2lm.curriculum import TrainingBudget
from e2lm_curriculum.cli.plan import unique_examples
from e2lm_curriculum.compare.runs import FinishedRun
from e2lm_curriculum.plan.builder import chosen_curriculum

if TYPE_CHECKING:
    from e2lm_curriculum.config.training import TrainingConfig


@dataclass(frozen=True, slots=True)
class ArmCost:
    """The cost of one run of an arm, mean over seeds. ``flops`` counts every pass of the model.

    ``scoring_cpu_s`` is what the difficulty took on a CPU, without a model.
    """

    arm: str
    schedule: str
    tokens: float
    unique_tokens: float
    epochs: float
    flops: float
    wall_s: float
    scoring_cpu_s: float


def arm_costs(runs: Sequence[FinishedRun]) -> list[ArmCost]:
    """One row per arm and schedule."""
    cells = dict.fromkeys(run.cell for run in runs)
    return [_cost(*cell, [run for run in runs if run.cell == cell]) for cell in cells]


def _cost(arm: str, schedule: str, runs: Sequence[FinishedRun]) -> ArmCost:
    def mean(values: list[float]) -> float:
        return float(np.mean(values))

    length = runs[0].prepared.sequence_length
    return ArmCost(
        arm=arm,
        schedule=schedule,
        tokens=mean([run.tokens for run in runs]),
        unique_tokens=mean([unique_examples(run) * length for run in runs]),
        epochs=mean([run.tokens / (run.prepared.examples * length) for run in runs]),
        flops=mean([run.flops for run in runs]),
        wall_s=mean([run.record.wall_s or 0.0 for run in runs]),
        scoring_cpu_s=mean([run.prepared.scoring_cpu_s or 0.0 for run in runs]),
    )


def equal_cost_tokens(config: TrainingConfig) -> int:
    """Training tokens with which the curriculum of ``config`` costs what plain training on ``config.tokens`` does.

    A step on two objectives takes two forward and backward passes, so it counts twice.
    """
    budget = config.budget
    steps = budget.steps
    for _ in range(_ROUNDS):
        passes = _forward_passes(config, steps)
        if abs(passes - budget.steps) <= _PASSES_OFF:
            break
        steps = max(1, round(steps * budget.steps / passes))
    return steps * budget.batch_size * budget.sequence_length


#: The share of doubled steps can change with the number of steps; a few rounds settle it.
_ROUNDS = 5
_PASSES_OFF = 1


def _forward_passes(config: TrainingConfig, steps: int) -> int:
    budget = TrainingBudget(steps, config.batch_size, config.sequence_length)
    curriculum = chosen_curriculum(config.curriculum)
    # The number of passes does not depend on which examples are drawn; mixtures want some of every corpus file.
    files = len(config.corpus)
    scores_X = np.arange(max(config.batch_size, files), dtype=np.float64) % files
    plan = curriculum.plan(scores_X, budget, np.random.default_rng(0))
    return plan.forward_passes
