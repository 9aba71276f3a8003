"""RAM: what one model alone has changed is kept whole, what several have changed is averaged.

Shape suffixes: M models, N numbers of a block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from e2lm.merge_strategy import ElementwiseMerge, MergeParameter, MergeStrategy, TensorBlocks, TensorGroup
from e2lm_merge.methods.deltas import deltas_

if TYPE_CHECKING:
    import torch

#: From which |δ| on a number counts as changed.
EPSILON = {"epsilon": MergeParameter(1e-5, "[0, inf)")}


def _changed(group: TensorGroup) -> tuple[torch.Tensor, torch.Tensor]:
    """δ with what is not changed set to zero, shape MN, and by how many models every number is changed, shape N."""
    import torch

    deltas_MN = torch.stack(deltas_(group))
    changed_MN = deltas_MN.abs() > group.number("epsilon")
    return deltas_MN.mul_(changed_MN), changed_MN.sum(dim=0)


def look_ramplus(blocks: TensorBlocks, found_in_all: Any) -> torch.Tensor:
    """What every model's own changes are multiplied by, shape M: 1 + r·min(ρ, α), ρ its shared over its own ones."""
    import torch

    del found_in_all
    count = len(blocks.group.models)
    shared_M, own_M = torch.zeros(count, dtype=torch.int64), torch.zeros(count, dtype=torch.int64)
    for group in blocks:
        deltas_MN, counts_N = _changed(group)
        is_changed_MN = deltas_MN != 0
        shared_M += (is_changed_MN & (counts_N > 1)).sum(dim=1)
        own_M += (is_changed_MN & (counts_N == 1)).sum(dim=1)
    ratio_M = shared_M / own_M.clamp(min=blocks.group.number("epsilon"))
    return 1 + blocks.group.number("r") * ratio_M.clamp(min=0, max=blocks.group.number("alpha"))


def merge_ram(group: TensorGroup) -> torch.Tensor:
    """θ₀ + Σ δᵢ where one model changed a number, their mean over those that did where several have."""
    assert group.base is not None
    deltas_MN, counts_N = _changed(group)
    own_MN = deltas_MN * (counts_N == 1)
    if group.found is not None:
        own_MN.mul_(group.found.unsqueeze(-1))
    shared_MN = deltas_MN.mul_(counts_N > 1).div_(counts_N.clamp(min=1))
    return own_MN.add_(shared_MN).sum(dim=0).add_(group.base)


def ram_strategies() -> list[MergeStrategy]:
    """Ram and ramplus_tl."""
    return [
        ElementwiseMerge(
            "ram",
            "Keep what one model alone changed, average what several changed.",
            merge_ram,
            needs_base=True,
            formula="θ₀ + Σ δᵢ[|δᵢ| > ε] / (number of models with |δ| > ε)",
            source="Reinforced Agent Merging 2026, arXiv 2601.13572; as in mergekit",
            parameters=EPSILON,
        ),
        ElementwiseMerge(
            "ramplus_tl",
            "RAM that strengthens what a model alone changed by how much of its changes others share.",
            merge_ram,
            needs_base=True,
            formula="as ram, own changes times 1 + r·min(shared/own, α), counted in the tensor",
            source="Reinforced Agent Merging 2026, arXiv 2601.13572; per tensor, as in mergekit",
            parameters={
                "r": MergeParameter(0.1, "[0, inf)"),
                "alpha": MergeParameter(0.2, "[0, inf)"),
                **EPSILON,
            },
            look=look_ramplus,
        ),
    ]
