"""Differences from the base model, and what the methods built on them share.

δᵢ = θᵢ − θ₀. Shape suffixes: N numbers of a block, M models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from e2lm.merge_strategy import MergeParameter, TensorGroup
from e2lm_merge.methods.linear import ZERO_WEIGHT
from e2lm_merge.numbers import sign_and_rank
from e2lm_merge.numbers.compiled import compiled_sums

if TYPE_CHECKING:
    import torch

#: Parameters that every method on deltas shares. ``int8_mask`` is accepted for the sake of mergekit's configs: here
#: masks live for one block, so there is no memory to save.
SHARED_PARAMETERS = {"lambda": MergeParameter(1.0), "int8_mask": MergeParameter(False)}

#: The share of a model's deltas that is kept.
MODEL_DENSITY = {"density": MergeParameter(1.0, "(0, 1]")}


def deltas_(group: TensorGroup) -> list[torch.Tensor]:
    """δᵢ, written over ``group.tensors``."""
    assert group.base is not None
    return [tensor.sub_(group.base) for tensor in group.tensors]


def weighted_deltas_(group: TensorGroup) -> list[torch.Tensor]:
    """wᵢδᵢ, written over ``group.tensors``."""
    return [delta_N.mul_(weight) for delta_N, weight in zip(deltas_(group), group.weights, strict=True)]


def total(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """The sum in order, in new memory."""
    total_N = parts[0].clone()
    for part_N in parts[1:]:
        total_N.add_(part_N)
    return total_N


def magnitudes_(group: TensorGroup) -> list[torch.Tensor]:
    """|δᵢ|, written over ``group.tensors``."""
    return [delta_N.abs_() for delta_N in deltas_(group)]


def add_to_base(group: TensorGroup, mixed_N: torch.Tensor) -> torch.Tensor:
    """θ₀ + λ·mixed, written over ``mixed_N``."""
    assert group.base is not None
    scale = group.number("lambda")
    if scale != 1:
        mixed_N.mul_(scale)
    return mixed_N.add_(group.base)


def weighted_total_(deltas: Sequence[torch.Tensor], weights: Sequence[float], normalize: bool) -> torch.Tensor:
    """Σ wᵢδᵢ, with ``normalize`` divided by Σ wᵢ; written over the deltas."""
    total_N = deltas[0].mul_(weights[0])
    for delta_N, weight in zip(deltas[1:], weights[1:], strict=True):
        total_N.add_(delta_N.mul_(weight))
    weight_sum = sum(weights)
    if normalize and abs(weight_sum) >= ZERO_WEIGHT:
        total_N.div_(weight_sum)
    return total_N


def elected_total_(deltas: Sequence[torch.Tensor], weights: Sequence[float], normalize: bool) -> torch.Tensor:
    """Σ wᵢδᵢ over the models that have the elected sign, by the compiled function where there is one.

    What comes out is what :func:`e2lm_merge.numbers.sign_and_rank.elected_total_` gives.
    """
    import torch

    numbers = [delta_N.contiguous().numpy() for delta_N in deltas]
    compiled = compiled_sums()
    total_N = None if compiled is None else compiled.elected_total(numbers, weights, normalize)
    return torch.from_numpy(sign_and_rank.elected_total_(numbers, weights, normalize) if total_N is None else total_N)
