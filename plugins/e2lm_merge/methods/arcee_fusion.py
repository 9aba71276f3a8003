"""Arcee Fusion: only the changes that matter most for a row's distribution are taken over.

Shape suffixes: R rows, C columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from e2lm.merge_strategy import MergeStrategy, TensorGroup, WholeTensorMerge

if TYPE_CHECKING:
    import torch

#: Added to every share before logarithms are taken; mergekit's.
TINY_SHARE = 1e-8

#: mergekit takes quantiles of more numbers than these from a random sample of as many. Here all of them count.
SAMPLED_ABOVE = 1_000_000


def importance(tensor_RC: torch.Tensor, base_RC: torch.Tensor) -> torch.Tensor:
    """|δ| times the divergence of its row's softmax from that of the base's row."""
    import torch

    shares_RC = torch.softmax(tensor_RC, dim=-1) + TINY_SHARE
    base_shares_RC = torch.softmax(base_RC, dim=-1) + TINY_SHARE
    divergence_R1 = torch.sum(shares_RC * torch.log(shares_RC / base_shares_RC), dim=-1, keepdim=True)
    return (tensor_RC - base_RC).abs() * divergence_R1


def threshold(scores: torch.Tensor) -> torch.Tensor:
    """The median and one and a half times the distance between the quartiles: above it lie outliers."""
    import torch

    flat, last = scores.reshape(-1), scores.numel() - 1
    exact = [int(share * last) for share in (0.25, 0.5, 0.75)]
    # Up to mergekit's sample size the places are rounded as there, in float32.
    places = exact if last >= SAMPLED_ABOVE else (torch.tensor([0.25, 0.5, 0.75]) * last).long().tolist()
    lower, median, upper = (flat.kthvalue(place + 1).values for place in places)
    return median + 1.5 * (upper - lower)


def merge_arcee_fusion(group: TensorGroup) -> torch.Tensor:
    """θ₀ + δ where its importance is an outlier."""
    assert group.base is not None
    tensor, base = group.tensors[0], group.base
    scores = importance(tensor, base)
    return base + (tensor - base) * (scores >= threshold(scores)).float()


def arcee_fusion_strategies() -> list[MergeStrategy]:
    """arcee_fusion."""
    return [
        WholeTensorMerge(
            "arcee_fusion",
            "Take over the changes of outstanding importance.",
            merge_arcee_fusion,
            needs_base=True,
            inputs=(1, 1),
            formula="θ₀ + δ[s ≥ median + 1.5·(q₃ − q₁)], s = |δ|·KL(softmax θ ‖ softmax θ₀) by row",
            source="mergekit (Arcee Fusion); quantiles of all numbers, also above a million",
        )
    ]
