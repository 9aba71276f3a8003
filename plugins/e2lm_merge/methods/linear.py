"""Weighted means: linear, passthrough, and nearswap, where every number has a weight of its own.

Shape suffix: N numbers of a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from e2lm.errors import UserError
from e2lm.merge_strategy import (
    WEIGHT,
    Combination,
    ElementwiseMerge,
    MergeParameter,
    MergeStrategy,
    TensorGroup,
    WeightedSum,
)

if TYPE_CHECKING:
    import torch

#: Below this the sum of weights counts as zero and cannot be divided by; mergekit's bound.
ZERO_WEIGHT = 1e-8

#: How much a model counts.
MODEL_WEIGHT = {WEIGHT: MergeParameter(1.0)}


def shares(weights: Sequence[float], where: str) -> tuple[float, ...]:
    """``weights`` divided by their sum; a :class:`UserError` where that is zero."""
    total = sum(weights)
    if abs(total) < ZERO_WEIGHT:
        raise UserError(f"{where}: the weights {list(weights)} add up to zero; change one, or set normalize: false")
    return tuple(weight / total for weight in weights)


def check_linear(group: TensorGroup) -> None:
    """A :class:`UserError` where the weights add up to zero and are to be divided by their sum."""
    if group.parameters.get("normalize", True):
        shares(group.weights, f"tensor {group.name!r}")


def combine_linear(group: TensorGroup, products: Any) -> Combination:
    """The weighted mean, or with ``normalize: false`` the weighted sum."""
    del products
    if group.parameters.get("normalize", True):
        return Combination(shares(group.weights, f"tensor {group.name!r}"), form="mean")
    return Combination(group.weights)


def combine_passthrough(group: TensorGroup, products: Any) -> Combination:
    """The tensor itself, times ``scale``."""
    del products
    return Combination(group.numbers("scale"))


#: Distances below this count as this; mergekit's bound.
TINY_DISTANCE = 1e-6


def merge_nearswap(group: TensorGroup) -> torch.Tensor:
    """(1 − w)θ₀ + wθ₁ with w = clip(t / |θ₀ − θ₁|, 0, 1)."""
    assert group.base is not None
    near_N = group.tensors[0]
    share_N = (group.base - near_N).abs_().clamp_(min=TINY_DISTANCE).reciprocal_().mul_(group.number("t")).clamp_(0, 1)
    # Added to the base as a difference, so that equal models stay what they are.
    return near_N.sub_(group.base).mul_(share_N).add_(group.base)


def linear_strategies() -> list[MergeStrategy]:
    """Linear, passthrough and nearswap."""
    return [
        WeightedSum(
            "linear",
            "Weighted mean of the models.",
            combine_linear,
            formula="Σ wᵢθᵢ / Σ wᵢ",
            source="Wortsman et al. 2022 (model soups), arXiv 2203.05482",
            parameters={"normalize": MergeParameter(True)},
            model_parameters=MODEL_WEIGHT,
            check=check_linear,
        ),
        WeightedSum(
            "passthrough",
            "One model as it is, or scaled; with slices, layers of several models stacked.",
            combine_passthrough,
            formula="s·θ",
            source="mergekit",
            inputs=(1, 1),
            model_parameters={"scale": MergeParameter(1.0)},
        ),
        ElementwiseMerge(
            "nearswap",
            "Take the other model where it is near, stay with the base where it is far.",
            merge_nearswap,
            needs_base=True,
            ordered=True,
            inputs=(1, 1),
            formula="(1−w)θ₀ + wθ₁, w = clip(t/|θ₀−θ₁|, 0, 1)",
            source="mergekit (alchemonaut/QuartetAnemoi-70B-t0.0001)",
            parameters={"t": MergeParameter(0.001, "[0, inf)")},
        ),
    ]
