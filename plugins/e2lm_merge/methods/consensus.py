"""Number-wise rules: nearswap and consensus task arithmetic. Shape suffix: N numbers of a block."""

from __future__ import annotations

from typing import TYPE_CHECKING

from e2lm.merge_strategy import MergeStrategy, TensorGroup
from e2lm_merge.methods.deltas import SHARED_DEFAULTS, add_to_base, total, weighted_deltas_

if TYPE_CHECKING:
    import torch

#: Distances below this count as this; mergekit's bound.
TINY_DISTANCE = 1e-6


def merge_nearswap(group: TensorGroup) -> torch.Tensor:
    """(1 − w)θ₀ + wθ₁ with w = clip(t / |θ₀ − θ₁|, 0, 1)."""
    assert group.base is not None
    near_N = group.tensors[0]
    share_N = (group.base - near_N).abs_().clamp_(min=TINY_DISTANCE).reciprocal_().mul_(group.number("t")).clamp_(0, 1)
    # Added to the base as a difference, so that equal models stay what they are.
    return near_N.sub_(group.base).mul_(share_N).add_(group.base)


def merge_consensus(group: TensorGroup) -> torch.Tensor:
    """θ₀ + λ Σ wᵢδᵢ where at least ``agreement`` models have use for it.

    Model i has use for a number of the sum τ where |δᵢ| > mask_lambda·|τ − δᵢ| (TALL mask: θ₀ is nearer to θᵢ without
    the others than the multi-task model is).
    """
    import torch

    deltas = weighted_deltas_(group)
    total_N = total(deltas)
    useful_N = torch.zeros_like(total_N)
    for delta_N in deltas:
        others_N = (total_N - delta_N).abs_().mul_(group.number("mask_lambda"))
        useful_N.add_(delta_N.abs_() > others_N)
    return add_to_base(group, total_N.mul_(useful_N >= group.number("agreement")))


def consensus_strategies() -> list[MergeStrategy]:
    """Nearswap and consensus."""
    return [
        MergeStrategy(
            "nearswap",
            "Take the other model where it is near, stay with the base where it is far.",
            merge_nearswap,
            needs_base=True,
            ordered=True,
            inputs=(1, 1),
            formula="(1−w)θ₀ + wθ₁, w = clip(t/|θ₀−θ₁|, 0, 1)",
            defaults={"t": 0.001},
            ranges={"t": "[0, inf)"},
            source="mergekit (alchemonaut/QuartetAnemoi-70B-t0.0001)",
            scope="element",
        ),
        MergeStrategy(
            "consensus",
            "Task arithmetic on the numbers that several models have use for.",
            merge_consensus,
            needs_base=True,
            inputs=(2, None),
            formula="θ₀ + λ Σ wᵢδᵢ · [at least k of |δᵢ| > λₘ|Σwδ − δᵢ|]",
            defaults={"agreement": 2.0, "mask_lambda": 0.4, **SHARED_DEFAULTS},
            model_defaults={"weight": 1.0},
            ranges={"agreement": "[0, inf)", "mask_lambda": "[0, inf)"},
            source="Wang et al. 2024 (TALL masks, Consensus TA), arXiv 2405.07813",
            scope="element",
        ),
    ]
