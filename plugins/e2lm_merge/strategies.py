"""Every built-in strategy, in the order of ``e2lm merge strategies``."""

from __future__ import annotations

from e2lm.merge_strategy import MergeStrategy
from e2lm_merge.consensus import consensus_strategies
from e2lm_merge.linear import linear_strategies
from e2lm_merge.model_stock import model_stock_strategies
from e2lm_merge.parameter_competition import pcb_strategies
from e2lm_merge.random_drop import random_drop_strategies
from e2lm_merge.sce import sce_strategies
from e2lm_merge.scored_strategies import scored_strategies
from e2lm_merge.spectral import spectral_strategies
from e2lm_merge.spherical import spherical_strategies
from e2lm_merge.task_arithmetic import task_arithmetic_strategies
from e2lm_merge.trajectory import trajectory_strategies
from e2lm_merge.trimming import trimming_strategies


def built_in_strategies() -> list[MergeStrategy]:
    """All of them; what a stranger's plugin registers is used in the same way."""
    return [
        *linear_strategies(),
        *trajectory_strategies(),
        *scored_strategies(),
        *task_arithmetic_strategies(),
        *spherical_strategies(),
        *trimming_strategies(),
        *random_drop_strategies(),
        *model_stock_strategies(),
        *sce_strategies(),
        *consensus_strategies(),
        *spectral_strategies(),
        *pcb_strategies(),
    ]
