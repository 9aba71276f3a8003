"""Spares the last layer's feed-forward block the tokens whose predictions nobody reads.

A context of a hundred tokens is run for the sake of its last one: in every layer but the last the others are needed as
keys and values, in the last one only their attention is. The feed-forward block works token by token, so it is given
the rows that are read; the others keep their residual stream, which goes unread into the final norm.

Shape suffixes: B rows of a batch, Q tokens of a row, H hidden size, N tokens read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

#: Names under which the transformers library keeps the decoder layers of a base model.
LAYER_LISTS = ("layers", "h")


class LastLayer:
    """The feed-forward block of a base model's last layer; with no such block in sight nothing is spared."""

    def __init__(self, base_model: Any) -> None:
        self._reading = threading.local()
        layers = next((getattr(base_model, name) for name in LAYER_LISTS if hasattr(base_model, name)), None)
        block = getattr(layers[-1], "mlp", None) if layers is not None and len(layers) else None
        if block is not None:
            block.register_forward_pre_hook(self._picked)
            block.register_forward_hook(self._put_back)

    @contextmanager
    def reading(self, place_N: torch.Tensor) -> Iterator[None]:
        """Within, this thread's forward passes need the places ``place_N`` of the flattened [B, Q] grid only."""
        self._reading.place_N = place_N
        try:
            yield
        finally:
            self._reading.place_N = None

    def _picked(self, block: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
        place_N = getattr(self._reading, "place_N", None)
        if place_N is None:
            return None
        hidden_BQH = arguments[0]
        self._reading.shape = hidden_BQH.shape
        return (hidden_BQH.reshape(-1, hidden_BQH.shape[-1])[place_N][None], *arguments[1:])

    def _put_back(self, block: Any, arguments: tuple[Any, ...], output: Any) -> Any:
        place_N = getattr(self._reading, "place_N", None)
        if place_N is None:
            return None
        if isinstance(output, tuple):  # a mixture of experts also gives its router's scores
            return (self._scattered(output[0], place_N), *output[1:])
        return self._scattered(output, place_N)

    def _scattered(self, output_1NH: torch.Tensor, place_N: torch.Tensor) -> torch.Tensor:
        rows, width, size = self._reading.shape
        whole_TH = output_1NH.new_zeros((rows * width, size))
        whole_TH[place_N] = output_1NH[0]
        return whole_TH.view(rows, width, size)
