"""Model Stock: how far to go from the base to the mean, read off the angle between fine-tunes.

Shape suffixes: M models, R rows, C columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from e2lm.arrays import Values
from e2lm.merge_strategy import (
    Combination,
    MergeParameter,
    MergeStrategy,
    RowwiseMerge,
    SwitchedMerge,
    TensorGroup,
    Value,
    WeightedSum,
)
from e2lm_merge.methods.deltas import deltas_

if TYPE_CHECKING:
    import torch

#: Norm products and denominators below this have no angle; mergekit's bound.
TINY = 1e-6


def mean_cosine(gram: Values) -> float:
    """The mean cosine over pairs of different models."""
    norms_M = np.sqrt(np.diag(gram))
    cosines = [
        float(np.clip(gram[i, j] / max(norms_M[i] * norms_M[j], TINY), -1, 1))
        for i in range(len(gram))
        for j in range(i + 1, len(gram))
    ]
    return sum(cosines) / len(cosines)


def stock_share(cosine: float, count: int) -> float:
    """T = N cos θ / (1 + (N − 1) cos θ), 0 at the singularity (Jang et al. 2024, eq. 7).

    >>> stock_share(1.0, 3), stock_share(0.0, 3), round(stock_share(0.5, 2), 4)
    (1.0, 0.0, 0.6667)
    """
    denominator = 1 + (count - 1) * cosine
    return 0.0 if abs(denominator) < TINY else count * cosine / denominator


def combine_model_stock(group: TensorGroup, products: Values | None) -> Combination:
    """θ₀ + t · mean of δᵢ, t from the whole tensor."""
    assert products is not None
    count = len(group.models)
    return Combination((stock_share(mean_cosine(products), count) / count,) * count, form="deltas")


def merge_model_stock(group: TensorGroup) -> torch.Tensor:
    """θ₀ + t · mean of δᵢ, t of every row."""
    assert group.base is not None
    deltas = deltas_(group)
    share_R1 = _row_shares(deltas)
    total_RC = deltas[0]
    for delta_RC in deltas[1:]:
        total_RC.add_(delta_RC)
    return total_RC.div_(len(deltas)).mul_(share_R1).add_(group.base)


def _row_shares(deltas: list[torch.Tensor]) -> torch.Tensor:
    """T of every row, shape R×1."""
    import torch

    count = len(deltas)
    norms = [delta.norm(dim=-1, keepdim=True) for delta in deltas]
    cosines = [
        ((deltas[i] * deltas[j]).sum(dim=-1, keepdim=True) / (norms[i] * norms[j]).clamp_min(TINY)).clamp(-1, 1)
        for i in range(count)
        for j in range(i + 1, count)
    ]
    cosine = torch.stack(cosines).mean(dim=0)
    denominator = 1 + (count - 1) * cosine
    singular = denominator.abs() < TINY
    return torch.where(singular, torch.zeros_like(cosine), count * cosine / denominator.masked_fill(singular, 1))


_OF_TENSOR = WeightedSum(
    "model_stock", "One share for the tensor.", combine_model_stock, products_of=lambda group: "deltas"
)
_OF_ROWS = RowwiseMerge("model_stock", "A share for every row.", merge_model_stock)


def _model_stock_of(parameters: Mapping[str, Value]) -> MergeStrategy:
    return _OF_ROWS if parameters["filter_wise"] else _OF_TENSOR


def model_stock_strategies() -> list[MergeStrategy]:
    """model_stock."""
    return [
        SwitchedMerge(
            "model_stock",
            "Interpolate between the base and the mean of fine-tunes by the angle between them.",
            _model_stock_of,
            needs_base=True,
            inputs=(2, None),
            formula="θ₀ + t·mean(δᵢ), t = N cos θ / (1 + (N−1) cos θ)",
            source="Jang et al. 2024, arXiv 2403.19522; filter_wise as in mergekit",
            parameters={"filter_wise": MergeParameter(False)},
        )
    ]
