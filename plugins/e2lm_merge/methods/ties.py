"""Merges that trim, keeping large differences: TIES, Model Breadcrumbs, and pruning and scaling alone (prune_scale).

Shape suffix: N numbers of a block.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from e2lm.errors import UserError
from e2lm.merge_strategy import ElementwiseMerge, MergeParameter, MergeStrategy, TensorBlocks, TensorGroup
from e2lm_merge.methods.deltas import (
    MODEL_DENSITY,
    SHARED_PARAMETERS,
    add_to_base,
    deltas_,
    elected_total_,
    magnitudes_,
    weighted_total_,
)
from e2lm_merge.methods.linear import MODEL_WEIGHT
from e2lm_merge.numbers.top_cut import EVERYTHING, NOTHING, TopCut, top_cuts, top_cuts_of_all

if TYPE_CHECKING:
    import torch

#: From deltas and the block's start to what is kept of them; may write over the deltas.
Masked = Callable[[Sequence["torch.Tensor"], int], list["torch.Tensor"]]

TRIM_SCOPES = ("tensor", "global")

#: Sums below this are not divided by; mergekit's bound.
TINY_SUM = 1e-7


@dataclass(frozen=True, slots=True)
class Trim:
    """The cut of every model and the factor on what is kept."""

    cuts: tuple[TopCut, ...]
    scales: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class OutlierTrim:
    """For every model what is kept or larger, and what is too large; and the factor on what is kept."""

    pairs: tuple[tuple[TopCut, TopCut], ...]
    scales: tuple[float, ...]


def kept_count(density: float, numel: int) -> int:
    """How many numbers a density keeps: at least one.

    >>> kept_count(0.2, 64), kept_count(0.001, 64)
    (12, 1)
    """
    return min(numel, max(1, int(density * numel)))


def look_for_trim(blocks: TensorBlocks, found_in_all: Any) -> Trim:
    """The cut of every model, of this tensor or the one found over all tensors, and the factors of ``rescale``."""
    group = blocks.group
    densities = group.numbers("density")
    if found_in_all is not None:
        cuts = [found_in_all[index][density] for index, density in enumerate(densities)]
    else:
        counts = [[kept_count(density, math.prod(group.shape))] for density in densities]
        cuts = [row[0] for row in top_cuts(blocks, magnitudes_, counts)]
    return Trim(tuple(cuts), l1_scales(blocks, lambda deltas, start: trimmed_(deltas, start, cuts)))


def look_for_global_trim(tensors: Iterable[TensorBlocks]) -> list[dict[float, TopCut]] | None:
    """For every model the cut over all tensors by density, where ``trim_scope`` is ``global``; else None."""
    listed = list(tensors)
    scopes = {blocks.group.parameters["trim_scope"] for blocks in listed}
    if "global" not in scopes:
        return None
    if len(scopes) > 1:
        raise UserError("trim_scope: global cuts all tensors at one magnitude; it cannot differ between tensors")
    densities = [sorted(set(column)) for column in zip(*(one.group.numbers("density") for one in listed), strict=True)]
    cuts = top_cuts_of_all(listed, magnitudes_, densities)
    return [dict(zip(shares, row, strict=True)) for shares, row in zip(densities, cuts, strict=True)]


def l1_scales(blocks: TensorBlocks, masked_: Masked) -> tuple[float, ...]:
    """‖δᵢ‖₁ over the same of what was kept, where ``rescale`` asks for it; else 1."""
    import torch

    count = len(blocks.group.models)
    if not blocks.group.parameters.get("rescale", False):
        return (1.0,) * count
    before, after = [0.0] * count, [0.0] * count
    for group in blocks:
        deltas = deltas_(group)
        for index, delta_N in enumerate(deltas):
            before[index] += float(delta_N.abs().sum(dtype=torch.float64))
        for index, kept_N in enumerate(masked_(deltas, group.start)):
            after[index] += float(kept_N.abs().sum(dtype=torch.float64))
    return tuple(1.0 if min(old, new) < TINY_SUM else old / new for old, new in zip(before, after, strict=True))


def trimmed_(deltas: Sequence[torch.Tensor], start: int, cuts: Sequence[TopCut]) -> list[torch.Tensor]:
    """δᵢ with all but its largest numbers set to zero."""
    return [
        delta_N if cut is EVERYTHING else cut.shrunk(delta_N, start) for delta_N, cut in zip(deltas, cuts, strict=True)
    ]


def _rescaled_(kept: list[torch.Tensor], scales: Sequence[float]) -> list[torch.Tensor]:
    return [kept_N if scale == 1 else kept_N.mul_(scale) for kept_N, scale in zip(kept, scales, strict=True)]


def _found_trimmed_(group: TensorGroup) -> list[torch.Tensor]:
    trim: Trim = group.found
    return _rescaled_(trimmed_(deltas_(group), group.start, trim.cuts), trim.scales)


def merge_ties(group: TensorGroup) -> torch.Tensor:
    """θ₀ + λ · the mean of the trimmed wᵢδᵢ that have the elected sign."""
    return add_to_base(
        group, elected_total_(_found_trimmed_(group), group.weights, bool(group.parameters["normalize"]))
    )


def merge_prune_scale(group: TensorGroup) -> torch.Tensor:
    """θ₀ + λ Σ wᵢ·Topᵢ(δᵢ)."""
    return add_to_base(group, weighted_total_(_found_trimmed_(group), group.weights, False))


def look_for_outliers(blocks: TensorBlocks, found_in_all: Any) -> OutlierTrim:
    """For every model the cut of what is kept or larger, and the cut of what is too large."""
    del found_in_all
    group = blocks.group
    numel = math.prod(group.shape)
    counts = []
    for density, gamma in zip(group.numbers("density"), group.numbers("gamma"), strict=True):
        kept = int(density * numel)
        # With little room below, the density is kept and fewer outliers go.
        outliers = min(int(gamma * numel), numel - kept) if density < 1 else 0
        counts.append([kept + outliers, outliers])
    pairs = [(row[0], row[1]) for row in top_cuts(blocks, magnitudes_, counts)]
    return OutlierTrim(tuple(pairs), l1_scales(blocks, lambda deltas, start: without_outliers_(deltas, start, pairs)))


def without_outliers_(
    deltas: Sequence[torch.Tensor], start: int, pairs: Sequence[tuple[TopCut, TopCut]]
) -> list[torch.Tensor]:
    """δᵢ with its largest and its smallest numbers set to zero."""
    kept = []
    for delta_N, (wide, outliers) in zip(deltas, pairs, strict=True):
        kept_N = delta_N if wide is EVERYTHING else wide.shrunk(delta_N, start)
        # A number less itself is zero, and less nothing stays: cheaper than a mask.
        kept.append(kept_N if outliers is NOTHING else kept_N.sub(outliers.shrunk(delta_N, start)))
    return kept


def _found_without_outliers_(group: TensorGroup) -> list[torch.Tensor]:
    trim: OutlierTrim = group.found
    return _rescaled_(without_outliers_(deltas_(group), group.start, trim.pairs), trim.scales)


def merge_breadcrumbs(group: TensorGroup) -> torch.Tensor:
    """θ₀ + λ Σ wᵢ·mᵢδᵢ, where mᵢ leaves out the largest and the smallest."""
    normalize = bool(group.parameters["normalize"])
    return add_to_base(group, weighted_total_(_found_without_outliers_(group), group.weights, normalize))


def merge_breadcrumbs_ties(group: TensorGroup) -> torch.Tensor:
    """As breadcrumbs, with sign election."""
    normalize = bool(group.parameters["normalize"])
    return add_to_base(group, elected_total_(_found_without_outliers_(group), group.weights, normalize))


def trimming_strategies() -> list[MergeStrategy]:
    """ties, prune_scale, breadcrumbs and breadcrumbs_ties."""
    trimming: dict[str, Any] = {
        "needs_base": True,
        "model_parameters": {**MODEL_WEIGHT, **MODEL_DENSITY},
        "look": look_for_trim,
        "look_at_all": look_for_global_trim,
    }
    outliers: dict[str, Any] = {
        "needs_base": True,
        "source": "Davari and Belilovsky 2023, arXiv 2312.06795; per tensor, as mergekit",
        "parameters": {"normalize": MergeParameter(False), "rescale": MergeParameter(False), **SHARED_PARAMETERS},
        "model_parameters": {**MODEL_WEIGHT, **MODEL_DENSITY, "gamma": MergeParameter(0.01, "[0, 1)")},
        "look": look_for_outliers,
    }
    trimmed = {
        "trim_scope": MergeParameter("tensor", choices=TRIM_SCOPES),
        "rescale": MergeParameter(False),
        **SHARED_PARAMETERS,
    }
    return [
        ElementwiseMerge(
            "ties",
            "Trim small differences, elect a sign, average those that agree.",
            merge_ties,
            formula="θ₀ + λ Σ wᵢδ̂ᵢ[sign agrees] / Σ wᵢ[sign agrees], δ̂ᵢ = the top density share of |δᵢ|",
            source="Yadav et al. 2023, arXiv 2306.01708: trim_scope global; mergekit: tensor",
            parameters={"normalize": MergeParameter(True), **trimmed},
            **trimming,
        ),
        ElementwiseMerge(
            "prune_scale",
            "Keep the largest differences of every model and add them, scaled: Hi-Merging's first stage.",
            merge_prune_scale,
            formula="θ₀ + λ Σ wᵢ·TopKᵢ(δᵢ)",
            source="Fu et al. 2025 (Hi-Merging), arXiv 2506.12379",
            parameters=trimmed,
            **trimming,
        ),
        ElementwiseMerge(
            "breadcrumbs",
            "Drop the largest and the smallest differences, add the rest.",
            merge_breadcrumbs,
            formula="θ₀ + λ Σ wᵢmᵢδᵢ, mᵢ without the top gamma share and with density in all",
            **outliers,
        ),
        ElementwiseMerge(
            "breadcrumbs_ties",
            "Breadcrumbs with sign election.",
            merge_breadcrumbs_ties,
            formula="θ₀ + λ Σ wᵢmᵢδᵢ[sign agrees]",
            **outliers,
        ),
    ]
