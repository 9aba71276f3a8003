"""Merges that drop differences at random: DARE and DELLA.

Masks come from counters keyed by (seed, model, tensor, block), so they depend neither on the order of models or
tensors nor on what another tensor's density is. Shape suffixes: M models, N numbers of a block, R rows, C columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from e2lm.errors import UserError
from e2lm.merge_strategy import (
    ElementwiseMerge,
    FunctionMerge,
    MergeParameter,
    MergeStrategy,
    RowwiseMerge,
    TensorBlocks,
    TensorGroup,
)
from e2lm_merge.methods.deltas import (
    MODEL_DENSITY,
    SHARED_PARAMETERS,
    deltas_,
    elected_total_,
    total,
)
from e2lm_merge.methods.linear import MODEL_WEIGHT, ZERO_WEIGHT
from e2lm_merge.numbers.compiled import compiled_sums
from e2lm_merge.numbers.sign_and_rank import rank_mask

if TYPE_CHECKING:
    import torch

#: ``l1`` keeps ‖δ‖₁ as mergekit does, ``inverse`` divides by the density as the DARE paper does, which is unbiased.
RESCALE_NORMS = ("l1", "inverse")

#: Sums below this are not divided by; mergekit's bound.
TINY_SUM = 1e-7

Mask = NDArray[np.bool_]
#: The mask of one model's block: (group, model's index, its magnitudes).
MaskOf = Callable[[TensorGroup, int, "torch.Tensor"], Mask]


@dataclass(frozen=True, slots=True)
class DropMasks:
    """What is kept of every model's deltas: masks by block, eight to a byte, and the factor on what is kept."""

    bits: dict[int, tuple[NDArray[np.uint8] | None, ...]]
    scales: tuple[float, ...]


def random_words(group: TensorGroup, index: int, count: int) -> NDArray[np.uint32]:
    """``count`` uniform 32-bit words that belong to one block of one model's tensor.

    SFC64's raw output, which numpy promises not to change. A model is known by what it holds, not by how it is written,
    and one given twice draws anew for each.
    """
    known = group.identities or group.models
    model = known[index]
    twin = known[:index].count(model)
    key = f"{group.seed}\0{model}\0{twin}\0{group.name}\0{group.start}".encode()
    generator = np.random.SFC64(np.random.SeedSequence(int.from_bytes(sha256(key).digest())))
    words: NDArray[np.uint32] = generator.random_raw((count + 1) // 2).view(np.uint32)[:count]
    return words


def word_limits(keep_probabilities: NDArray[np.float64]) -> NDArray[np.uint32]:
    """The words below which a number is kept: probabilities to 2**-32."""
    return np.minimum(np.rint(keep_probabilities * 2.0**32), 2.0**32 - 1).astype(np.uint32)


def dare_mask(group: TensorGroup, index: int, magnitude_N: torch.Tensor) -> Mask:
    """Each number kept with probability ``density``."""
    density = group.numbers("density")[index]
    kept: Mask = random_words(group, index, magnitude_N.numel()) < word_limits(np.array(density))
    return kept


def della_mask(group: TensorGroup, index: int, magnitude_RC: torch.Tensor) -> Mask:
    """Each number kept with a probability that rises with its rank within the row.

    d − ε + 2ε·(rank − 1)/(C − 1), rank 1 the smallest magnitude (Deep et al. 2024, section 3.1); equal magnitudes
    share the highest of their ranks. A uniform draw is below its number's probability where the rank is above the
    draw's, so where the magnitude reaches the one of that rank: sorted values do, their places need not be known.
    """
    density, epsilon = group.numbers("density")[index], group.numbers("epsilon")[index]
    columns = magnitude_RC.shape[-1] if magnitude_RC.ndim > 1 else magnitude_RC.numel()
    words = random_words(group, index, magnitude_RC.numel())
    low, high = (int(limit) for limit in word_limits(np.array([density - epsilon, density + epsilon])))
    if columns == 1 or low == high:  # no rank decides
        return np.asarray(words < word_limits(np.array(density)))
    magnitudes = magnitude_RC.numpy().reshape(-1).view(np.int32)
    ordered = np.sort(magnitudes.reshape(-1, columns), axis=1).reshape(-1)
    compiled = compiled_sums()
    masked = rank_mask if compiled is None else compiled.rank_mask
    return masked(words, magnitudes, ordered, columns, low, high)


def zeroed_(delta_N: torch.Tensor, kept: NDArray[np.uint8]) -> torch.Tensor:
    """``delta_N`` flat, times 0 where it is not kept. As bytes: torch multiplies by booleans four times slower."""
    import torch

    return delta_N.view(-1).mul_(torch.from_numpy(kept))


def look_for_drops(blocks: TensorBlocks, found_in_all: Any, mask_of: MaskOf) -> DropMasks:
    """Masks of every block and the factors that ``rescale`` asks for."""
    del found_in_all
    densities = blocks.group.numbers("density")
    parameters = blocks.group.parameters
    by_l1 = bool(parameters["rescale"]) and parameters["rescale_norm"] == "l1"
    before_M, after_M = np.zeros(len(densities)), np.zeros(len(densities))
    bits: dict[int, tuple[NDArray[np.uint8] | None, ...]] = {}
    for group in blocks:
        row: list[NDArray[np.uint8] | None] = []
        for index, delta_N in enumerate(deltas_(group)):
            if densities[index] >= 1:
                row.append(None)
                continue
            magnitude_N = delta_N.abs_()
            kept = mask_of(group, index, magnitude_N)
            row.append(np.packbits(kept))
            if by_l1:
                # In float64: the rounding of a float32 sum would be in every number that the scale multiplies.
                before_M[index] += float(magnitude_N.numpy().sum(dtype=np.float64))
                after_M[index] += float(zeroed_(magnitude_N, kept.view(np.uint8)).numpy().sum(dtype=np.float64))
        bits[group.start] = tuple(row)
    return DropMasks(bits, _scales(densities, parameters, before_M, after_M))


def _scales(
    densities: Sequence[float], parameters: Any, before_M: NDArray[np.float64], after_M: NDArray[np.float64]
) -> tuple[float, ...]:
    if not parameters["rescale"]:
        return (1.0,) * len(densities)
    if parameters["rescale_norm"] == "inverse":
        return tuple(1 / density for density in densities)
    return tuple(
        1.0 if density >= 1 or min(before, after) < TINY_SUM else float(before / after)
        for density, before, after in zip(densities, before_M, after_M, strict=True)
    )


def dropped_(group: TensorGroup, factors: Sequence[float]) -> list[torch.Tensor]:
    """fᵢmᵢδᵢ, rescaled. Factors are multiplied in float64 and meet a number once: one rounding, one walk."""
    masks: DropMasks = group.found
    kept = []
    for delta_N, bits, scale, factor in zip(
        deltas_(group), masks.bits[group.start], masks.scales, factors, strict=True
    ):
        if bits is not None:
            zeroed_(delta_N, np.unpackbits(bits, count=delta_N.numel()))
        by = factor * scale if bits is not None else factor
        kept.append(delta_N if by == 1 else delta_N.mul_(by))
    return kept


def merge_dropped(group: TensorGroup) -> torch.Tensor:
    """θ₀ + λ Σ wᵢ·sᵢmᵢδᵢ."""
    weight_sum = sum(group.weights)
    divided = bool(group.parameters["normalize"]) and abs(weight_sum) >= ZERO_WEIGHT
    shared = group.number("lambda") / (weight_sum if divided else 1)
    assert group.base is not None
    return total(dropped_(group, [weight * shared for weight in group.weights])).add_(group.base)


def merge_dropped_ties(group: TensorGroup) -> torch.Tensor:
    """θ₀ + λ Σ wᵢ·sᵢmᵢδᵢ over the models that have the elected sign."""
    shared = group.number("lambda")
    # A factor below zero would turn the sign that is elected where a sum is zero.
    early = shared if shared > 0 else 1.0
    kept = dropped_(group, [early] * len(group.weights))
    mixed_N = elected_total_(kept, group.weights, bool(group.parameters["normalize"]))
    assert group.base is not None
    return (mixed_N if early == shared else mixed_N.mul_(shared)).add_(group.base)


def check_della(group: TensorGroup) -> None:
    """A :class:`UserError` where a keep probability would leave (0, 1)."""
    for model, density, epsilon in zip(group.models, group.numbers("density"), group.numbers("epsilon"), strict=True):
        if density < 1 and not (density - epsilon > 0 and density + epsilon < 1):
            raise UserError(
                f"{model}: tensor {group.name!r}: density {density:g} ± epsilon {epsilon:g} leaves (0, 1); "
                f"lower epsilon below {min(density, 1 - density):g}"
            )


def _dropping(
    kind: type[FunctionMerge], name: str, description: str, ties: bool, normalize: bool, **facts: Any
) -> MergeStrategy:
    """A strategy that drops at random, with sign election or without."""
    return kind(
        name,
        description,
        merge_dropped_ties if ties else merge_dropped,
        needs_base=True,
        parameters={
            "normalize": MergeParameter(normalize),
            "rescale": MergeParameter(True),
            "rescale_norm": MergeParameter("l1", choices=RESCALE_NORMS),
            **SHARED_PARAMETERS,
        },
        **facts,
    )


def random_drop_strategies() -> list[MergeStrategy]:
    """dare_linear, dare_ties, della_linear and della."""
    dropped, of_model = "θ₀ + λ Σ wᵢsᵢmᵢδᵢ", {**MODEL_WEIGHT, **MODEL_DENSITY}
    dare: dict[str, Any] = {
        "kind": ElementwiseMerge,
        "look": partial(look_for_drops, mask_of=dare_mask),
        "model_parameters": of_model,
        "source": "Yu et al. 2024, arXiv 2311.03099: rescale_norm inverse; mergekit: l1",
    }
    della: dict[str, Any] = {
        "kind": RowwiseMerge,
        "look": partial(look_for_drops, mask_of=della_mask),
        "model_parameters": {**of_model, "epsilon": MergeParameter(0.15, "[0, 0.5)")},
        "check": check_della,
        "source": "Deep et al. 2024 (DELLA), arXiv 2406.11617",
    }
    ranked = "mᵢ ~ Bernoulli(d − ε + 2ε(rank−1)/(C−1)) per row"
    return [
        _dropping(name="dare_linear", description="Drop differences at random, rescale and add the rest.",
                  ties=False, normalize=False, formula=f"{dropped}, mᵢ ~ Bernoulli(density)", **dare),
        _dropping(name="dare_ties", description="DARE with sign election.",
                  ties=True, normalize=False, formula=f"{dropped}[sign agrees]", **dare),
        _dropping(name="della_linear",
                  description="Drop small differences more often than large ones, rescale and add the rest.",
                  ties=False, normalize=False, formula=f"{dropped}, {ranked}", **della),
        _dropping(name="della", description="DELLA with sign election.",
                  ties=True, normalize=True, formula=f"{dropped}[sign agrees] / Σ wᵢ[sign agrees]", **della),
    ]  # fmt: skip
