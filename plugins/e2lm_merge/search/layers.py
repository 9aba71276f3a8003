"""Layer mixes: how much of every model's pruned difference each layer gets, and one model in memory brought to them.

Nothing is written, and from mix to mix only the layers that changed are merged anew.

Shape suffixes: M models, L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from e2lm.arrays import Values
from e2lm.live_weights import WeightSwapper
from e2lm.one_thread import one_torch_thread
from e2lm_merge.numbers.blocks import TensorMerge, Workspace
from e2lm_merge.numbers.formats import EXACT_BYTES, Bytes
from e2lm_merge.numbers.tensor_merge import look_at_all, merge_tensor
from e2lm_merge.plan.merge_plan import MergePlan
from e2lm_merge.search.items import ItemScorer

if TYPE_CHECKING:
    import torch

#: Stands for everything outside the layers: embeddings, last norm, head.
OUTSIDE = -1


@dataclass(frozen=True, slots=True)
class Share:
    """The top ``density`` share of a model's difference, times ``weight``; weight 0 leaves the base."""

    density: float
    weight: float

    @property
    def nothing(self) -> Share:
        """The same density at weight 0."""
        return replace(self, weight=0.0)


@dataclass(frozen=True, slots=True)
class LayerMix:
    """A share for every layer (and :data:`OUTSIDE`) and model: ``shares[layer][model]``."""

    shares: dict[int, tuple[Share, ...]]

    @classmethod
    def of_layers(cls, layers: int, shares_M: Sequence[Share]) -> LayerMix:
        """The same shares in every layer and outside."""
        return cls({layer: tuple(shares_M) for layer in (OUTSIDE, *range(layers))})

    def with_layer(self, layer: int, shares_M: Sequence[Share]) -> LayerMix:
        """The mix with one layer replaced."""
        return LayerMix({**self.shares, layer: tuple(shares_M)})

    def without_layer(self, layer: int) -> LayerMix:
        """The mix with one layer set back to the base."""
        return self.with_layer(layer, [share.nothing for share in self.shares[layer]])

    def only_layer(self, layer: int) -> LayerMix:
        """The base with one layer of the mix."""
        return LayerMix(
            {
                other: shares if other == layer else tuple(share.nothing for share in shares)
                for other, shares in self.shares.items()
            }
        )

    def only_model(self, model: int) -> LayerMix:
        """The mix without the other models."""
        return LayerMix(
            {
                layer: tuple(share if index == model else share.nothing for index, share in enumerate(shares))
                for layer, shares in self.shares.items()
            }
        )

    def base(self) -> LayerMix:
        """The base model."""
        return LayerMix({layer: tuple(share.nothing for share in shares) for layer, shares in self.shares.items()})

    def scaled(self, factor: float) -> LayerMix:
        """Every weight times ``factor``."""
        return LayerMix(
            {
                layer: tuple(replace(share, weight=share.weight * factor) for share in shares)
                for layer, shares in self.shares.items()
            }
        )


class LayerProber:
    """Brings a model to a mix and scores it. ``plan`` is a ``prune_scale`` merge of the models in question."""

    def __init__(self, plan: MergePlan, scorers: Sequence[ItemScorer], device: str = "cpu") -> None:
        self.plan = plan
        self.scorers = scorers
        self._workspace = Workspace()
        self._found: dict[tuple[float, ...], Any] = {}
        self._by_layer: dict[int, list[TensorMerge]] = {}
        for merge in plan.merges:
            self._by_layer.setdefault(OUTSIDE if merge.layer is None else merge.layer, []).append(merge)
        # Models were sorted when planning; shares come in the order of the recipe.
        merged = {source.label for merge in plan.merges for source in merge.sources}
        self._recipe_order = [entry.model for entry in plan.recipe.models if entry.model in merged]
        self._now: dict[int, tuple[Share, ...]] = {}
        self.model = self._first_model(device)

    @property
    def layers(self) -> int:
        """How many layers can be probed."""
        return max(self._by_layer, default=OUTSIDE) + 1

    def score(self, task: int, mix: LayerMix) -> Values:
        """Per-item scores of ``task`` under ``mix``."""
        self.bring_to(mix)
        return self.scorers[task](self.model)

    def bring_to(self, mix: LayerMix) -> None:
        """Patch the layers whose shares differ from what the model holds."""
        changed: dict[str, torch.Tensor] = {}
        for layer, shares in mix.shares.items():
            if self._now.get(layer) != shares:
                changed |= self._layer_tensors(layer, shares)
                self._now[layer] = shares
        if changed:
            self._swapper.patch(changed, self.plan.donor.folder)

    def _first_model(self, device: str) -> Any:
        from e2lm_merge.output.in_memory import model_with

        names = len(self._recipe_order)
        tensors: dict[str, torch.Tensor] = {}
        for layer in self._by_layer:
            self._now[layer] = (Share(1.0, 0.0),) * names
            tensors |= self._layer_tensors(layer, self._now[layer])
        model = model_with(self.plan.config, self.plan.donor.folder, tensors).to(device)
        self._swapper = WeightSwapper(model, tensors, self.plan.donor.folder)
        return model

    def _layer_tensors(self, layer: int, shares: Sequence[Share]) -> dict[str, torch.Tensor]:
        from e2lm_merge.numbers.torch_tensors import empty_tensor

        found = {}
        for merge in self._by_layer.get(layer, []):
            changed = self._with_shares(merge, shares)
            tensor, memory = empty_tensor(changed.shape, changed.dtype)
            with one_torch_thread():
                merge_tensor(changed, self._workspace, _into(memory), self._cuts(shares))
            found[merge.name] = tensor
        return found

    def _with_shares(self, merge: TensorMerge, shares: Sequence[Share]) -> TensorMerge:
        if merge.dtype in EXACT_BYTES:
            return merge
        by_label = dict(zip(self._recipe_order, shares, strict=True))
        ordered = [by_label[source.label] for source in merge.sources]
        parameters = tuple(
            {**own, "density": share.density} for own, share in zip(merge.model_parameters, ordered, strict=True)
        )
        return replace(merge, weights=tuple(share.weight for share in ordered), model_parameters=parameters)

    def _cuts(self, shares: Sequence[Share]) -> Any:
        """What ``trim_scope: global`` finds over all tensors at these densities; None for cuts per tensor."""
        key = tuple(share.density for share in shares)
        if key not in self._found:
            merges = [self._with_shares(merge, shares) for merge in self.plan.merges]
            self._found[key] = look_at_all(merges)
        return self._found[key]


def _into(memory: Bytes) -> Callable[[int, Bytes], None]:
    def sink(start: int, bytes_: Bytes) -> None:
        memory[start : start + len(bytes_)] = bytes_

    return sink
