"""PCB: numbers compete by how large they are in their model and how well the models agree on them.

Shape suffixes: M models, N numbers of the tensor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from e2lm.merge_strategy import MergeParameter, MergeStrategy, TensorGroup, WholeTensorMerge
from e2lm_merge.methods.deltas import SHARED_PARAMETERS, add_to_base, deltas_

if TYPE_CHECKING:
    import torch

#: Share of outliers that are clipped at both ends before scaling, as in the authors' code.
CLIPPED_SHARE = 0.0001

TINY = 1e-12


def clipped(values_MN: torch.Tensor, low_share: float, high_share: float) -> torch.Tensor:
    """``values_MN`` with every row clipped to its quantiles ``low_share`` and ``1 − high_share``."""
    import torch

    count = values_MN.shape[1]
    low = min(count - 1, int(count * low_share))
    high = max(low, min(count - 1, int(count * (1 - high_share)) - 1))
    lows_M1 = values_MN.kthvalue(low + 1, dim=1, keepdim=True).values
    highs_M1 = values_MN.kthvalue(high + 1, dim=1, keepdim=True).values
    return torch.minimum(torch.maximum(values_MN, lows_M1), highs_M1)


def to_unit(values_MN: torch.Tensor) -> torch.Tensor:
    """Every row shifted and scaled to [0, 1]; a constant row becomes 0."""
    lows_M1 = values_MN.amin(dim=1, keepdim=True)
    spans_M1 = values_MN.amax(dim=1, keepdim=True) - lows_M1
    return (values_MN - lows_M1) / spans_M1.clamp_min(TINY)


def merge_pcb(group: TensorGroup) -> torch.Tensor:
    """θ₀ + λ Σ bᵢδᵢ / Σ bᵢ with b the competition's outcome, per tensor.

    b = unit(clip(exp(M·unit(|δ|)²) · tanh(δ ⊙ Σδ))): all but the top ``ratio`` share of scores drop to 0.
    """
    import torch

    deltas_MN = torch.stack(deltas_(group)).reshape(len(group.tensors), -1)
    magnitudes_MN = clipped(deltas_MN.abs(), CLIPPED_SHARE, CLIPPED_SHARE)
    own_MN = (len(deltas_MN) * to_unit(magnitudes_MN).square()).exp()
    agreement_MN = (deltas_MN * deltas_MN.sum(dim=0)).tanh()
    scores_MN = to_unit(clipped(own_MN * agreement_MN, 1 - group.number("ratio"), 0.0))
    mixed_N = (deltas_MN.sign() * magnitudes_MN * scores_MN).sum(dim=0) / scores_MN.sum(dim=0).clamp_min(TINY)
    return add_to_base(group, mixed_N.view(group.shape))


def pcb_strategies() -> list[MergeStrategy]:
    """Pcb."""
    return [
        WholeTensorMerge(
            "pcb",
            "Numbers compete by size within a model and by agreement between models.",
            merge_pcb,
            needs_base=True,
            formula="θ₀ + λ Σ bᵢδᵢ/Σ bᵢ, b = unit(top ratio of exp(M·unit(|δ|)²)·tanh(δ⊙Σδ))",
            source="Du et al. 2024 (PCB-Merging), arXiv 2410.02396; per tensor",
            parameters={"ratio": MergeParameter(0.1, "(0, 1]"), **SHARED_PARAMETERS},
        )
    ]
