"""Layer mix: how much of every model's pruned difference each layer of a merge gets.

Shape suffixes: M models, L layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
