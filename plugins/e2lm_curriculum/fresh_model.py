"""Models with random weights that depend on their shape and a seed only, whatever their family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

from e2lm_curriculum.objective_loss import new_heads
from e2lm_curriculum.tokenizer import END_OF_TEXT_ID, PADDING_ID

Model = TypeVar("Model", bound=torch.nn.Module)

#: What the configurations of all families have in common.
COMMON_SETTINGS: dict[str, Any] = {
    "bos_token_id": END_OF_TEXT_ID,
    "eos_token_id": END_OF_TEXT_ID,
    "pad_token_id": PADDING_ID,
    "attn_implementation": "sdpa",
    "dtype": "float32",
}


def fresh_model(make: Callable[[], Model], seed: int, objectives: Sequence[str], width: int) -> Model:
    """What ``make`` gives under ``seed``; torch's own stream is left as it was.

    Heads for ``objectives`` come after all else, so that the model itself is the same with any of them.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make()
        heads = new_heads(objectives, width)
        if len(heads):
            model.objective_heads = heads
        return model
