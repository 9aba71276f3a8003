"""SCE: select what varies between models, weigh models by what they changed, erase the minority sign.

Shape suffixes: M models, N numbers of a block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from e2lm.merge_strategy import ElementwiseMerge, MergeParameter, MergeStrategy, TensorBlocks, TensorGroup
from e2lm_merge.methods.deltas import deltas_
from e2lm_merge.numbers.top_cut import EVERYTHING, NOTHING, TopCut, top_cuts

if TYPE_CHECKING:
    import torch

#: Total energy below which models count alike; mergekit's bound.
TINY_ENERGY = 1e-6


@dataclass(frozen=True, slots=True)
class Selection:
    """What is kept of the tensor, and the weight of every model."""

    cut: TopCut
    weights_M: tuple[float, ...]


def variances(group: TensorGroup) -> list[torch.Tensor]:
    """The variance between models of every number, as a list of one."""
    import torch

    return [torch.stack(deltas_(group)).var(dim=0, correction=0)]


def look_sce(blocks: TensorBlocks, found_in_all: Any) -> Selection:
    """The numbers selected and the models' weights: mean square of what was selected, as a share."""
    import torch

    del found_in_all
    cut = _cut(blocks)
    energies = [0.0] * len(blocks.group.models)
    for group in blocks:
        deltas = deltas_(group)
        mask_N = None if cut is EVERYTHING else _mask(cut, deltas, group.start)
        for index, delta_N in enumerate(deltas):
            kept_N = delta_N if mask_N is None else delta_N.mul(mask_N)
            energies[index] += float(kept_N.square().sum(dtype=torch.float64))
    numel = max(1, math.prod(blocks.group.shape))
    total = sum(energies) / numel
    if total < TINY_ENERGY:
        return Selection(cut, (1 / len(energies),) * len(energies))
    return Selection(cut, tuple(energy / numel / total for energy in energies))


def _cut(blocks: TensorBlocks) -> TopCut:
    import torch

    share = blocks.group.number("select_topk")
    if share >= 1:
        return EVERYTHING
    varying = sum(int(torch.count_nonzero(variances(group)[0])) for group in blocks)
    count = int(varying * share)
    return NOTHING if count == 0 else top_cuts(blocks, variances, [[count]])[0][0]


def _mask(cut: TopCut, deltas: list[torch.Tensor], start: int) -> torch.Tensor:
    import torch

    return cut.mask(torch.stack(deltas).var(dim=0, correction=0), start)


def merge_sce(group: TensorGroup) -> torch.Tensor:
    """θ₀ + Σ ηᵢδᵢ[sign agrees] / Σ ηᵢ[sign agrees] over what was selected."""
    import torch

    assert group.base is not None
    selection: Selection = group.found
    deltas = deltas_(group)
    if selection.cut is not EVERYTHING:
        mask_N = _mask(selection.cut, deltas, group.start)
        deltas = [delta_N.mul_(mask_N) for delta_N in deltas]
    # The sign is elected by Σδᵢ without weights, so weights enter after the election.
    sign_N = torch.stack(deltas).sum(dim=0).ge_(0).mul_(2).sub_(1)
    total_N, divisor_N = torch.zeros_like(sign_N), torch.zeros_like(sign_N)
    for delta_N, weight in zip(deltas, selection.weights_M, strict=True):
        agreeing_N = delta_N.mul_(sign_N).clamp_(min=0)
        divisor_N.add_((agreeing_N > 0).to(torch.float32).mul_(weight))
        total_N.add_(agreeing_N.mul_(weight))
    return total_N.div_(divisor_N.clamp_(min=TINY_ENERGY)).mul_(sign_N).add_(group.base)


def sce_strategies() -> list[MergeStrategy]:
    """Sce."""
    return [
        ElementwiseMerge(
            "sce",
            "Select what varies between models, weigh models by their changes, erase the minority sign.",
            merge_sce,
            needs_base=True,
            formula="θ₀ + Σ ηᵢδᵢ[sign agrees] / Σ ηᵢ[sign agrees], ηᵢ ∝ mean δᵢ² over the top select_topk by variance",
            source="Wan et al. 2024 (FuseChat), arXiv 2408.07990",
            parameters={"select_topk": MergeParameter(1.0, "(0, 1]"), "int8_mask": MergeParameter(False)},
            look=look_sce,
        )
    ]
