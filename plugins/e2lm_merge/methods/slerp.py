"""Interpolation on the sphere: slerp, nuslerp, multislerp, karcher.

All of them are linear combinations of the inputs whose coefficients follow from inner products alone, so one walk
gathers the inner products in float64 and another combines. Shape suffix: M models.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from e2lm.arrays import Values
from e2lm.errors import UserError
from e2lm.merge_strategy import (
    Combination,
    MergeParameter,
    MergeStrategy,
    SwitchedMerge,
    TensorGroup,
    Value,
    WeightedSum,
    WholeTensorMerge,
)
from e2lm_merge.methods.deltas import deltas_
from e2lm_merge.methods.linear import MODEL_WEIGHT, shares

if TYPE_CHECKING:
    import torch

#: Above this |cos Ω| slerp is lerp; mergekit's bound, after which sin Ω < 0.032.
COLLINEAR_COSINE = 0.9995

#: nuslerp's bound: 1 − cos² at most this squared.
COLLINEAR_SINE = 1e-8


def slerp_coefficients(gram: Values, t: float, collinear: float = COLLINEAR_COSINE) -> tuple[float, float]:
    """Coefficients of a and b from their inner products: [sin((1−t)Ω), sin(tΩ)] / sin Ω (Shoemake 1985).

    Linear where |cos Ω| is above ``collinear`` or a vector is zero; t = 0 and t = 1 give exactly one input.

    >>> slerp_coefficients(np.eye(2), 0.0)
    (1.0, 0.0)
    >>> [round(c, 4) for c in slerp_coefficients(np.eye(2), 0.5)]
    [0.7071, 0.7071]
    """
    if t in (0.0, 1.0):
        return 1.0 - t, t
    norms = math.sqrt(gram[0, 0]) * math.sqrt(gram[1, 1])
    cosine = 0.0 if norms == 0 else max(-1.0, min(1.0, gram[0, 1] / norms))
    if norms == 0 and (gram[0, 0] > 0 or gram[1, 1] > 0):
        return 1.0 - t, t
    if abs(cosine) > collinear:
        return 1.0 - t, t
    angle = math.acos(cosine)
    return math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)


def products_of_slerp(group: TensorGroup) -> Literal["inputs"] | None:
    """Both ends are one input, so nothing needs to be known of the other."""
    return None if group.number("t") in (0.0, 1.0) else "inputs"


def combine_slerp(group: TensorGroup, products: Values | None) -> Combination:
    """Slerp from the base to the model."""
    t = group.number("t")
    if products is None:
        return Combination((t,), 1 - t)
    # The inputs come with the base last.
    to_base, to_model = slerp_coefficients(products[::-1, ::-1], t)
    return Combination((to_model,), to_base, "mean" if to_model == t else "sum")


def nuslerp_share(weights: Sequence[float]) -> float:
    """T = w₂/(w₁ + w₂), one half where the weights cancel."""
    total = sum(weights)
    return 0.5 if abs(total) < 1e-6 else weights[1] / total


def combine_nuslerp(group: TensorGroup, products: Values | None) -> Combination:
    """Nuslerp over the flattened tensor."""
    assert products is not None
    # 1 − cos² ≤ s² at |cos| ≥ sqrt(1 − s²), which is 1 in float64 for s = 1e-8.
    bound = min(math.sqrt(1 - COLLINEAR_SINE**2), 1 - 1e-12)
    return _of_deltas(group, slerp_coefficients(products, nuslerp_share(group.weights), bound))


def merge_nuslerp(group: TensorGroup) -> torch.Tensor:
    """Spherical interpolation of two models, or of two δ where there is a base, by rows or columns."""
    pair = list(group.tensors) if group.base is None else deltas_(group)
    axis = 0 if group.parameters["nuslerp_row_wise"] and pair[0].ndim > 1 else -1
    merged = _slerp_along(pair[0], pair[1], nuslerp_share(group.weights), axis)
    return merged if group.base is None else merged.add_(group.base)


def _slerp_along(left: torch.Tensor, right: torch.Tensor, t: float, axis: int) -> torch.Tensor:
    import torch

    def along(values: torch.Tensor) -> torch.Tensor:
        return values.sum(dim=axis, keepdim=True, dtype=torch.float64)

    norms = (along(left * left).sqrt() * along(right * right).sqrt()).clamp_min(1e-14)
    cosine = (along(left * right) / norms).clamp(-1, 1)
    flat = 1 - cosine.square() <= COLLINEAR_SINE**2
    angle = torch.acos(torch.where(flat, torch.zeros_like(cosine), cosine))
    first = torch.where(flat, torch.full_like(angle, 1 - t), torch.sin((1 - t) * angle) / torch.sin(angle))
    second = torch.where(flat, torch.full_like(angle, t), torch.sin(t * angle) / torch.sin(angle))
    return left.mul_(first.float()).add_(right.mul_(second.float()))


def multislerp_coefficients(gram: Values, weights: Sequence[float], eps: float, where: str) -> Values:
    """Coefficients of the inputs in the barycentre on the sphere (Goddard 2025).

    uᵢ = xᵢ/(‖xᵢ‖ + ε); m = Σ wᵢuᵢ/‖·‖; tangent v = Σ wᵢ(uᵢ − ⟨uᵢ,m⟩m); result (cos‖v‖ m + sin‖v‖ v/‖v‖)·Σ wᵢ‖xᵢ‖.
    Every vector here is a combination of the uᵢ, so it is a list of coefficients and the Gram matrix.
    """
    weights_M = np.asarray(weights, dtype=np.float64)
    norms_M = np.sqrt(np.diag(gram))
    units_M = 1 / (norms_M + eps)
    unit_gram = gram * np.outer(units_M, units_M)
    mean_norm = math.sqrt(max(0.0, float(weights_M @ unit_gram @ weights_M)))
    if mean_norm < eps:
        if len(weights_M) == 2:
            return weights_M
        raise UserError(f"{where}: the models cancel out on the sphere; change a weight or take linear")
    mean_M = weights_M / mean_norm
    along_M = unit_gram @ mean_M
    tangent_M = weights_M - float(weights_M @ along_M) * mean_M
    tangent_norm = math.sqrt(max(0.0, float(tangent_M @ unit_gram @ tangent_M))) + eps
    direction_M = math.cos(tangent_norm) * mean_M + math.sin(tangent_norm) / tangent_norm * tangent_M
    result: Values = direction_M * float(weights_M @ norms_M) * units_M
    return result


def combine_multislerp(group: TensorGroup, products: Values | None) -> Combination:
    """Multislerp of the models, or of their δ where there is a base."""
    if products is None:
        return Combination((1.0,))
    weights = group.weights
    if group.parameters["normalize_weights"]:
        weights = shares(weights, f"tensor {group.name!r}")
    found = multislerp_coefficients(products, weights, group.number("eps"), f"tensor {group.name!r}")
    return _of_deltas(group, found)


def karcher_coefficients(gram: Values, max_iter: int, tol: float) -> Values:
    """Coefficients of the inputs in the Riemannian mean of their directions, times their mean norm.

    Repeats mean ← exp(mean, Σ αᵢ log(mean, uᵢ)) until the step is below ``tol`` (Karcher 1977). Inputs of norm up to
    ``tol`` have no direction and count in the mean norm alone, as in mergekit.
    """
    count = len(gram)
    norms_M = np.sqrt(np.diag(gram))
    with_direction = norms_M > tol
    if not with_direction.any():
        return np.zeros(count)
    units_M = np.where(with_direction, 1 / np.where(with_direction, norms_M, 1), 0)
    unit_gram = gram * np.outer(units_M, units_M)
    alphas_M = with_direction / with_direction.sum()
    mean_M = alphas_M.astype(np.float64)
    length = math.sqrt(max(0.0, float(mean_M @ unit_gram @ mean_M)))
    mean_M = np.eye(count)[int(with_direction.argmax())] if length < tol else mean_M / length
    for _ in range(max_iter):
        cosines_M = np.clip(unit_gram @ mean_M, -1, 1)
        angles_M = np.arccos(cosines_M)
        far = (angles_M >= tol) & with_direction
        factors_M = np.where(far, alphas_M * angles_M / np.where(far, np.sin(angles_M), 1), 0)
        tangent_M = factors_M - float(factors_M @ cosines_M) * mean_M
        step = math.sqrt(max(0.0, float(tangent_M @ unit_gram @ tangent_M)))
        if step < tol:
            break
        mean_M = math.cos(step) * mean_M + math.sin(step) / step * tangent_M
        length = math.sqrt(max(0.0, float(mean_M @ unit_gram @ mean_M)))
        mean_M = mean_M / length if length > tol else mean_M
    result: Values = mean_M * units_M * float(norms_M.mean())
    return result


def combine_karcher(group: TensorGroup, products: Values | None) -> Combination:
    """The Karcher mean of the models."""
    if products is None:
        return Combination((1.0,))
    return _of_deltas(group, karcher_coefficients(products, int(group.number("max_iter")), group.number("tol")))


def products_of_several(group: TensorGroup) -> Literal["deltas"] | None:
    """One model is its own mean."""
    return None if len(group.models) == 1 else "deltas"


def _of_deltas(group: TensorGroup, coefficients: Iterable[float]) -> Combination:
    """Σ cᵢθᵢ, or θ₀ + Σ cᵢδᵢ where there is a base; in float64, since coefficients may be large and cancel."""
    found = tuple(float(c) for c in coefficients)
    return Combination(found, form="deltas" if group.with_base else "sum", wide=True)


_NUSLERP_FLAT = WeightedSum(
    "nuslerp", "All of the tensor as one vector.", combine_nuslerp, products_of=products_of_several
)
_NUSLERP_ALONG = WholeTensorMerge("nuslerp", "Row by row or column by column.", merge_nuslerp)


def _nuslerp_of(parameters: Mapping[str, Value]) -> MergeStrategy:
    return _NUSLERP_FLAT if parameters["nuslerp_flatten"] else _NUSLERP_ALONG


def spherical_strategies() -> list[MergeStrategy]:
    """slerp, nuslerp, multislerp and karcher."""
    return [
        WeightedSum(
            "slerp",
            "Spherical interpolation from the base model to another.",
            combine_slerp,
            products_of=products_of_slerp,
            needs_base=True,
            ordered=True,
            inputs=(1, 1),
            formula="[sin((1−t)Ω) θ₀ + sin(tΩ) θ₁] / sin Ω; linear where |cos Ω| > 0.9995",
            source="Shoemake 1985, SIGGRAPH 19(3)",
            parameters={"t": MergeParameter(0.5, "[0, 1]")},
        ),
        SwitchedMerge(
            "nuslerp",
            "Spherical interpolation of two models by weight, or of their differences from a base.",
            _nuslerp_of,
            takes_base=True,
            ordered=True,
            inputs=(2, 2),
            formula="slerp with t = w₂/(w₁+w₂); nuslerp_flatten: false works along the last axis, row_wise the first",
            source="mergekit (NuSLERP)",
            parameters={"nuslerp_flatten": MergeParameter(True), "nuslerp_row_wise": MergeParameter(False)},
            model_parameters=MODEL_WEIGHT,
        ),
        WeightedSum(
            "multislerp",
            "Barycentre of several models on the sphere.",
            combine_multislerp,
            products_of=products_of_several,
            takes_base=True,
            formula="exp map at m = Σwᵢuᵢ/‖·‖ of Σ wᵢ(uᵢ − ⟨uᵢ,m⟩m), times Σ wᵢ‖θᵢ‖",
            source="Goddard 2025, multislerp (goddard.blog)",
            parameters={"normalize_weights": MergeParameter(True), "eps": MergeParameter(1e-8, "(0, 1)")},
            model_parameters=MODEL_WEIGHT,
        ),
        WeightedSum(
            "karcher",
            "Riemannian mean of the models' directions, at their mean norm.",
            combine_karcher,
            products_of=products_of_several,
            formula="argmin_u Σ angle(u, θᵢ)², times the mean of ‖θᵢ‖",
            source="Karcher 1977; arXiv 2603.04972",
            parameters={"max_iter": MergeParameter(10.0, "[1, 10000]"), "tol": MergeParameter(1e-5, "(0, 1)")},
        ),
    ]
