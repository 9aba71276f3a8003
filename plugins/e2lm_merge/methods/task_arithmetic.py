"""Sums of task vectors: task arithmetic, LiNeS, and consensus (TALL masks).

Shape suffix: N numbers of a block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from e2lm.merge_strategy import Combination, ElementwiseMerge, MergeParameter, MergeStrategy, TensorGroup, WeightedSum
from e2lm_merge.methods.deltas import SHARED_PARAMETERS, add_to_base, total, weighted_deltas_
from e2lm_merge.methods.linear import MODEL_WEIGHT, ZERO_WEIGHT

if TYPE_CHECKING:
    import torch


def _scaled(group: TensorGroup, scale: float) -> Combination:
    total = sum(group.weights)
    if group.parameters["normalize"] and abs(total) >= ZERO_WEIGHT:
        scale /= total
    return Combination(tuple(weight * scale for weight in group.weights), form="deltas")


def combine_task_arithmetic(group: TensorGroup, products: Any) -> Combination:
    """θ₀ + λ Σ wᵢδᵢ."""
    del products
    return _scaled(group, group.number("lambda"))


def layer_scale(layer: int | None, layers: int, alpha: float, beta: float) -> float:
    """LiNeS' factor on the deltas of one layer: α + β·l/(L−1), and α outside the layers.

    >>> [layer_scale(layer, 3, 0.1, 0.9) for layer in (None, 0, 1, 2)]
    [0.1, 0.1, 0.55, 1.0]
    """
    if layer is None or layers < 2:
        return alpha
    return alpha + beta * layer / (layers - 1)


def combine_lines(group: TensorGroup, products: Any) -> Combination:
    """θ₀ + λ (α + β·l/(L−1)) Σ wᵢδᵢ."""
    del products
    scale = layer_scale(group.layer, group.layers, group.number("alpha"), group.number("beta"))
    return _scaled(group, group.number("lambda") * scale)


def merge_consensus(group: TensorGroup) -> torch.Tensor:
    """θ₀ + λ Σ wᵢδᵢ where at least ``agreement`` models have use for it.

    Model i has use for a number of the sum τ where |wᵢδᵢ| > mask_lambda·|τ − wᵢδᵢ| (TALL mask: θ₀ is nearer to θᵢ
    without the others than the multi-task model is).
    """
    import torch

    deltas = weighted_deltas_(group)
    total_N = total(deltas)
    useful_N = torch.zeros_like(total_N)
    for delta_N in deltas:
        others_N = (total_N - delta_N).abs_().mul_(group.number("mask_lambda"))
        useful_N.add_(delta_N.abs_() > others_N)
    return add_to_base(group, total_N.mul_(useful_N >= group.number("agreement")))


def task_arithmetic_strategies() -> list[MergeStrategy]:
    """task_arithmetic, lines and consensus."""
    return [
        WeightedSum(
            "task_arithmetic",
            "Weighted sum of differences from the base, added to it.",
            combine_task_arithmetic,
            needs_base=True,
            formula="θ₀ + λ Σ wᵢ(θᵢ − θ₀)",
            source="Ilharco et al. 2023, arXiv 2212.04089",
            parameters={"normalize": MergeParameter(False), **SHARED_PARAMETERS},
            model_parameters=MODEL_WEIGHT,
        ),
        WeightedSum(
            "lines",
            "Task arithmetic that changes shallow layers less than deep ones.",
            combine_lines,
            needs_base=True,
            formula="θ₀ + λ (α + β·l/(L−1)) Σ wᵢ(θᵢ − θ₀)",
            source="Wang et al. 2024 (LiNeS), arXiv 2410.17146; α and β are the user's, the defaults add up to 1",
            # With M models of weight 1/M, α = 1/M and β = 1 − 1/M keep the deepest layer at its full task vector.
            parameters={
                "alpha": MergeParameter(0.3),
                "beta": MergeParameter(0.7),
                "normalize": MergeParameter(False),
                **SHARED_PARAMETERS,
            },
            model_parameters=MODEL_WEIGHT,
        ),
        ElementwiseMerge(
            "consensus",
            "Task arithmetic on the numbers that several models have use for.",
            merge_consensus,
            needs_base=True,
            inputs=(2, None),
            formula="θ₀ + λ Σ wᵢδᵢ · [at least k of |wᵢδᵢ| > λₘ|Σwδ − wᵢδᵢ|]",
            source="Wang et al. 2024 (TALL masks, Consensus TA), arXiv 2405.07813",
            parameters={
                "agreement": MergeParameter(2.0, "[0, inf)"),
                "mask_lambda": MergeParameter(0.4, "[0, inf)"),
                **SHARED_PARAMETERS,
            },
            model_parameters=MODEL_WEIGHT,
        ),
    ]
