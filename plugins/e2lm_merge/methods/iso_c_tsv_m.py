"""Merges of matrices by their singular vectors: Iso-C and TSV-M.

Tensors that are no matrix, and embeddings and heads, whose rows are words and not directions, get the mean of δᵢ.
Shape suffixes: R rows, C columns, K singular values kept of each model, T models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from e2lm.merge_strategy import MergeStrategy, TensorGroup, WholeTensorMerge
from e2lm.parameter_count import names_an_embedding
from e2lm_merge.methods.deltas import SHARED_PARAMETERS, add_to_base, deltas_

if TYPE_CHECKING:
    import torch


def is_projection(group: TensorGroup) -> bool:
    """Whether the tensor is a matrix that maps directions to directions."""
    return len(group.shape) == 2 and not names_an_embedding(group.name)


def _mean_to_base(group: TensorGroup, deltas: list[torch.Tensor]) -> torch.Tensor:
    total = deltas[0]
    for delta in deltas[1:]:
        total.add_(delta)
    return add_to_base(group, total.div_(len(deltas)))


def isotropic(total_RC: torch.Tensor) -> torch.Tensor:
    """σ̄UVᵀ of UΣVᵀ: every direction as strong as the mean one.

    >>> import torch
    >>> isotropic(torch.diag(torch.tensor([3.0, 1.0]))).tolist()
    [[2.0, 0.0], [0.0, 2.0]]
    """
    import torch

    left_RK, values_K, right_KC = torch.linalg.svd(total_RC, full_matrices=False)
    flat_RC: torch.Tensor = (left_RK * values_K.mean()) @ right_KC
    return flat_RC


def polar(wide: torch.Tensor) -> torch.Tensor:
    """The nearest matrix with orthonormal rows or columns: UVᵀ of UΣVᵀ."""
    import torch

    left, _, right = torch.linalg.svd(wide, full_matrices=False)
    nearest: torch.Tensor = left @ right
    return nearest


def merge_iso_c(group: TensorGroup) -> torch.Tensor:
    """θ₀ + λ σ̄UVᵀ, UΣVᵀ = Σ δᵢ."""
    import torch

    deltas = deltas_(group)
    if not is_projection(group):
        return _mean_to_base(group, deltas)
    return add_to_base(group, isotropic(torch.stack(deltas).sum(dim=0)))


def merge_tsv_m(group: TensorGroup) -> torch.Tensor:
    """θ₀ + λ U⊥ Σ V⊥ᵀ of the top singular vectors of every δᵢ, side by side and made orthogonal.

    Each of T models keeps min(R, C)/T of its singular values, at least one.
    """
    import torch

    deltas = deltas_(group)
    if not is_projection(group):
        return _mean_to_base(group, deltas)
    kept = max(1, min(group.shape) // len(deltas))
    lefts, values, rights = [], [], []
    for delta_RC in deltas:
        left_RK, values_K, right_KC = torch.linalg.svd(delta_RC, full_matrices=False)
        lefts.append(left_RK[:, :kept])
        values.append(values_K[:kept])
        rights.append(right_KC[:kept])
    merged_RC = (polar(torch.cat(lefts, dim=1)) * torch.cat(values)) @ polar(torch.cat(rights, dim=0))
    return add_to_base(group, merged_RC)


def spectral_strategies() -> list[MergeStrategy]:
    """iso_c and tsv_m."""
    return [
        WholeTensorMerge(
            "iso_c",
            "Add the models' differences and flatten the spectrum of the sum.",
            merge_iso_c,
            needs_base=True,
            formula="θ₀ + λ σ̄UVᵀ, UΣVᵀ = Σ δᵢ; mean of δᵢ for vectors and embeddings",
            source="Marczak et al. 2025 (Iso-C), arXiv 2502.04959",
            parameters=SHARED_PARAMETERS,
        ),
        WholeTensorMerge(
            "tsv_m",
            "Add the top singular directions of the models' differences, made orthogonal.",
            merge_tsv_m,
            needs_base=True,
            formula="θ₀ + λ U⊥ΣV⊥ᵀ, top min(R,C)/T singular triples of each δᵢ",
            source="Gargiulo et al. 2024 (TSV-Merge), arXiv 2412.00081",
            parameters=SHARED_PARAMETERS,
        ),
    ]
