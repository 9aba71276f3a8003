"""How often each tenth of the examples, by difficulty, was seen in an arm.

Shape suffixes: D tenths, X examples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from e2lm_curriculum.comparison_runs import FinishedRun
from e2lm_curriculum.online_record import trained_plan
from e2lm_curriculum.plan_command import exposure_by_part
from e2lm_curriculum.prepared_corpus import PREPARED_FOLDER, SCORES_FILE


def exposure_by_decile(runs: Sequence[FinishedRun]) -> dict[tuple[str, str], list[float]]:
    """Per arm and schedule the draws of each tenth over what uniform sampling gives it, mean over seeds.

    Tenths are by the curriculum's difficulty in every arm, easiest first; examples of equal difficulty share alike.
    """
    ratios: dict[tuple[str, str], list[np.ndarray]] = {}
    for run in runs:
        folder = run.folder / PREPARED_FOLDER
        scores_X = np.load(folder / SCORES_FILE)
        counts_X = trained_plan(folder, run.series_folder).exposure(len(scores_X))
        ratios.setdefault(run.cell, []).append(exposure_by_part(counts_X, scores_X))
    return {cell: [float(ratio) for ratio in np.mean(rows, axis=0)] for cell, rows in ratios.items()}


def unique_examples(run: FinishedRun) -> int:
    """How many different examples were seen."""
    plan = trained_plan(run.folder / PREPARED_FOLDER, run.series_folder)
    return int((plan.exposure(run.prepared.examples) > 0).sum())
