"""Sums of task vectors: task arithmetic and LiNeS."""

from __future__ import annotations

from typing import Any

from e2lm.merge_strategy import Combination, MergeStrategy, TensorGroup
from e2lm_merge.methods.deltas import SHARED_DEFAULTS
from e2lm_merge.methods.linear import ZERO_WEIGHT


def _scaled(group: TensorGroup, scale: float) -> Combination:
    total = sum(group.weights)
    if group.parameters["normalize"] and abs(total) >= ZERO_WEIGHT:
        scale /= total
    return Combination(tuple(weight * scale for weight in group.weights), form="deltas")


def combine_task_arithmetic(group: TensorGroup, products: Any) -> Combination:
    """θ₀ + λ Σ wᵢδᵢ."""
    del products
    return _scaled(group, group.number("lambda"))


def layer_scale(layer: int | None, layers: int, alpha: float, beta: float) -> float:
    """LiNeS' factor on the deltas of one layer: α + β·l/(L−1), and α outside the layers.

    >>> [layer_scale(layer, 3, 0.1, 0.9) for layer in (None, 0, 1, 2)]
    [0.1, 0.1, 0.55, 1.0]
    """
    if layer is None or layers < 2:
        return alpha
    return alpha + beta * layer / (layers - 1)


def combine_lines(group: TensorGroup, products: Any) -> Combination:
    """θ₀ + λ (α + β·l/(L−1)) Σ wᵢδᵢ."""
    del products
    scale = layer_scale(group.layer, group.layers, group.number("alpha"), group.number("beta"))
    return _scaled(group, group.number("lambda") * scale)


def task_arithmetic_strategies() -> list[MergeStrategy]:
    """task_arithmetic and lines."""
    return [
        MergeStrategy(
            "task_arithmetic",
            "Weighted sum of differences from the base, added to it.",
            combine=combine_task_arithmetic,
            needs_base=True,
            formula="θ₀ + λ Σ wᵢ(θᵢ − θ₀)",
            defaults={"normalize": False, **SHARED_DEFAULTS},
            model_defaults={"weight": 1.0},
            source="Ilharco et al. 2023, arXiv 2212.04089",
            scope="sum",
        ),
        MergeStrategy(
            "lines",
            "Task arithmetic that changes shallow layers less than deep ones.",
            combine=combine_lines,
            needs_base=True,
            formula="θ₀ + λ (α + β·l/(L−1)) Σ wᵢ(θᵢ − θ₀)",
            # With M models of weight 1/M, α = 1/M and β = 1 − 1/M keep the deepest layer at its full task vector.
            defaults={"alpha": 0.3, "beta": 0.7, "normalize": False, **SHARED_DEFAULTS},
            model_defaults={"weight": 1.0},
            source="Wang et al. 2024 (LiNeS), arXiv 2410.17146; α and β are the user's, the defaults add up to 1",
            scope="sum",
        ),
    ]
