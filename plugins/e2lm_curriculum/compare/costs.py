"""What the runs of an arm were shown and what they cost: tokens, FLOPs of all passes, exposure by difficulty.

Shape suffixes: X examples, D tenths of them by difficulty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2lm_curriculum.compare.runs import FinishedRun
from e2lm_curriculum.plan.file import read_array
from e2lm_curriculum.plan.ranking import exposure_by_part
from e2lm_curriculum.train.prepared import PREPARED_FOLDER, SCORES_FILE
from e2lm_curriculum.train.segments import trained_plan


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
        unique_tokens=mean([int((_exposure_X(run) > 0).sum()) * length for run in runs]),
        epochs=mean([run.tokens / (run.prepared.examples * length) for run in runs]),
        flops=mean([run.flops for run in runs]),
        wall_s=mean([run.record.wall_s or 0.0 for run in runs]),
        scoring_cpu_s=mean([run.prepared.scoring_cpu_s or 0.0 for run in runs]),
    )


def exposure_by_decile(runs: Sequence[FinishedRun]) -> dict[tuple[str, str], list[float]]:
    """Per arm and schedule the draws of each tenth over what uniform sampling gives it, mean over seeds.

    Tenths are by the curriculum's difficulty in every arm, easiest first; examples of equal difficulty share alike.
    """
    ratios: dict[tuple[str, str], list[NDArray[np.float64]]] = {}
    for run in runs:
        scores_X = read_array(run.folder / PREPARED_FOLDER / SCORES_FILE)
        ratios.setdefault(run.cell, []).append(exposure_by_part(_exposure_X(run), scores_X))
    return {cell: [float(ratio) for ratio in np.mean(rows_D, axis=0)] for cell, rows_D in ratios.items()}


def _exposure_X(run: FinishedRun) -> NDArray[np.int64]:
    return trained_plan(run.folder / PREPARED_FOLDER, run.series_folder).exposure(run.prepared.examples)
