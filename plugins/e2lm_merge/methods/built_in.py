"""Every built-in strategy, in the order of ``e2lm merge strategies``.

Strategies that find their weights by scoring candidates; what they come to is another recipe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from e2lm.errors import UserError
from e2lm.merge_strategy import MergeStrategy, TensorGroup
from e2lm_merge.methods.consensus import consensus_strategies
from e2lm_merge.methods.dare import random_drop_strategies
from e2lm_merge.methods.iso_tsv import spectral_strategies
from e2lm_merge.methods.linear import linear_strategies
from e2lm_merge.methods.model_stock import model_stock_strategies
from e2lm_merge.methods.pcb import pcb_strategies
from e2lm_merge.methods.sce import sce_strategies
from e2lm_merge.methods.slerp import spherical_strategies
from e2lm_merge.methods.task_arithmetic import task_arithmetic_strategies
from e2lm_merge.methods.ties import trimming_strategies
from e2lm_merge.methods.trajectory import trajectory_strategies

if TYPE_CHECKING:
    import torch


def _unscored(group: TensorGroup) -> torch.Tensor:
    raise UserError(f"tensor {group.name!r}: this strategy scores candidates first; give the field score")


def scored_strategies() -> list[MergeStrategy]:
    """greedy_soup and hi_merging."""
    return [
        MergeStrategy(
            "greedy_soup",
            "Mean of the models that help: best first, each kept if the mean's score does not drop.",
            _unscored,
            formula="(1/|S|) Σ θᵢ over S, grown greedily by held-out score",
            source="Wortsman et al. 2022 (model soups), arXiv 2203.05482, recipe 1",
            scope="element",
            inputs=(2, None),
            needs_score=True,
        ),
        MergeStrategy(
            "hi_merging",
            "Prune and scale every model's differences, then settle conflicts between models layer by layer.",
            _unscored,
            needs_base=True,
            formula="θ₀ + Σ s·TopK_p(δᵢ), p and s lowered or a δᵢ dropped where layers conflict",
            source="Fu et al. 2025 (Hi-Merging), ACL 2025 long.1588, arXiv 2506.12379",
            scope="element",
            inputs=(2, None),
            needs_score=True,
            model_defaults={"density": 0.1, "weight": 0.9},
            ranges={"density": "(0, 1]"},
            defaults={
                "trim_scope": "tensor",
                "combine": "sum",
                "partial_target": "harmful",
                "layer_density_of": "kept",
                "contribution_unit": "gain",
                "recompute": False,
                "z": 1.0,
                "layer_factor": 0.5,
                "search": False,
            },
            choices={
                "trim_scope": ("tensor", "global"),
                "combine": ("sum", "average"),
                "partial_target": ("harmful", "harmed"),
                "layer_density_of": ("kept", "whole"),
                "contribution_unit": ("gain", "raw"),
            },
        ),
    ]


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
