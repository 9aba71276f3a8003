"""Weighted means: linear and passthrough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from e2lm.errors import UserError
from e2lm.merge_strategy import Combination, MergeStrategy, TensorGroup

#: Below this the sum of weights counts as zero and cannot be divided by; mergekit's bound.
ZERO_WEIGHT = 1e-8


def shares(weights: Sequence[float], where: str) -> tuple[float, ...]:
    """``weights`` divided by their sum; a :class:`UserError` where that is zero."""
    total = sum(weights)
    if abs(total) < ZERO_WEIGHT:
        raise UserError(f"{where}: the weights {list(weights)} add up to zero; change one, or set normalize: false")
    return tuple(weight / total for weight in weights)


def combine_linear(group: TensorGroup, products: Any) -> Combination:
    """The weighted mean, or with ``normalize: false`` the weighted sum."""
    del products
    if group.parameters.get("normalize", True):
        return Combination(shares(group.weights, f"tensor {group.name!r}"), form="mean")
    return Combination(group.weights)


def combine_passthrough(group: TensorGroup, products: Any) -> Combination:
    """The tensor itself, times ``scale``."""
    del products
    return Combination((group.number("scale"),))


def linear_strategies() -> list[MergeStrategy]:
    """Linear and passthrough."""
    return [
        MergeStrategy(
            "linear",
            "Weighted mean of the models.",
            combine=combine_linear,
            formula="Σ wᵢθᵢ / Σ wᵢ",
            defaults={"normalize": True},
            source="Wortsman et al. 2022 (model soups), arXiv 2203.05482",
            scope="sum",
            model_defaults={"weight": 1.0},
        ),
        MergeStrategy(
            "passthrough",
            "One model as it is, or scaled; with slices, layers of several models stacked.",
            combine=combine_passthrough,
            formula="s·θ",
            defaults={"scale": 1.0},
            source="mergekit",
            scope="sum",
            inputs=(1, 1),
        ),
    ]
