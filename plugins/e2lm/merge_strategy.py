"""What a merge strategy takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from e2lm.name_rule import checked_name

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class TensorGroup:
    """The same-named tensor of every model to merge, in float32, and how it is to be merged.

    ``weights`` has one number per model; ``parameters`` holds the strategy's own numbers for this tensor.
    """

    name: str
    tensors: tuple[torch.Tensor, ...]
    base: torch.Tensor | None
    weights: tuple[float, ...]
    parameters: Mapping[str, float | bool | str] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class MergeStrategy:
    """A named merge: ``merge(group)`` gives the merged tensor, of the shape of the inputs, in float32."""

    name: str
    description: str
    merge: Callable[[TensorGroup], torch.Tensor]
    needs_base: bool = False
    defaults: Mapping[str, float | bool | str] = field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        checked_name(self.name, "merge strategy")
