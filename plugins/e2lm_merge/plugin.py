"""The hooks of this plugin."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from e2lm import hookimpl

if TYPE_CHECKING:
    from e2lm import Command, EvaluationModel, MergeStrategy, ScalingPredictor, Verb


@hookimpl
def e2lm_register_merge_strategies() -> Iterable[MergeStrategy]:
    """Every built-in strategy, in the order of ``e2lm merge strategies``."""
    from e2lm_merge.methods.arcee_fusion import arcee_fusion_strategies
    from e2lm_merge.methods.dare import random_drop_strategies
    from e2lm_merge.methods.iso_c_tsv_m import spectral_strategies
    from e2lm_merge.methods.linear import linear_strategies
    from e2lm_merge.methods.model_stock import model_stock_strategies
    from e2lm_merge.methods.pcb import pcb_strategies
    from e2lm_merge.methods.ram import ram_strategies
    from e2lm_merge.methods.sce import sce_strategies
    from e2lm_merge.methods.slerp import spherical_strategies
    from e2lm_merge.methods.task_arithmetic import task_arithmetic_strategies
    from e2lm_merge.methods.ties import trimming_strategies
    from e2lm_merge.methods.trajectory import trajectory_strategies
    from e2lm_merge.search.greedy_soup import greedy_soup_strategies
    from e2lm_merge.search.hi_merging import hi_merging_strategies

    return [
        *linear_strategies(),
        *trajectory_strategies(),
        *greedy_soup_strategies(),
        *hi_merging_strategies(),
        *task_arithmetic_strategies(),
        *spherical_strategies(),
        *trimming_strategies(),
        *random_drop_strategies(),
        *model_stock_strategies(),
        *sce_strategies(),
        *ram_strategies(),
        *arcee_fusion_strategies(),
        *spectral_strategies(),
        *pcb_strategies(),
    ]


@hookimpl
def e2lm_register_scaling_predictors() -> Iterable[ScalingPredictor]:
    """What an average of a run's checkpoints comes to, for ``e2lm predict decide --merge``."""
    from e2lm_merge.beforehand import merge_predictor

    return [merge_predictor()]


@hookimpl
def e2lm_register_models() -> Iterable[EvaluationModel]:
    """``lm_eval run --model e2lm-merge``."""
    from e2lm import EvaluationModel

    return [
        EvaluationModel(
            "e2lm-merge", "e2lm_merge.evaluation_model:E2lmMerge", "Merge in memory and evaluate; nothing is written."
        )
    ]


@hookimpl
def e2lm_register_commands() -> Iterable[Command]:
    """``e2lm merge``."""
    from e2lm_merge.cli.command import MERGE_COMMAND

    return [MERGE_COMMAND]


@hookimpl
def e2lm_register_verbs() -> Iterable[Verb]:
    """What ``e2lm.merge(...)`` does from Python."""
    from e2lm import Verb

    return [
        Verb(
            "merge",
            "(config, out, **options)",
            "Merge models as a config in mergekit's YAML says.",
            "e2lm_merge.verb:merge",
        )
    ]
