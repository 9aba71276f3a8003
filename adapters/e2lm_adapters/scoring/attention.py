"""Which models may be shown a token tree instead of texts, and up to which length: read from model and config.

A tree is exact where every token sees all tokens before it, knows its place by ``position_ids`` alone, and nothing is
carried on beside keys and values. What is not known to be so is scored the stock way.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

#: Of transformers: makes masks, and takes one of four axes as it is.
MASK_MAKERS = ("create_causal_mask", "create_masks_for_generate")
#: Implementations of attention that take any mask.
MASKED_ATTENTION = ("sdpa", "eager")
NEEDED_ARGUMENTS = ("position_ids", "attention_mask", "past_key_values")

#: Where configs say what kind each layer is, and what those kinds are called that see everything, or a window of it.
LAYER_KINDS = ("layer_types", "layers_block_type", "block_types", "attention_layers")
FULL_KINDS = frozenset({"full_attention", "attention", "global", "global_attention"})
WINDOWED_KINDS = frozenset({"sliding_attention", "chunked_attention", "local", "local_attention"})
#: Where configs say how many tokens a layer sees.
WINDOWS = ("sliding_window", "sliding_window_size", "attention_chunk_size", "attention_window_size", "window_size")
ALIBI = ("alibi", "use_alibi")
#: Rotary embeddings that depend on the longest text of a batch, from a length on.
LENGTH_DEPENDENT_ROPE = ("dynamic", "longrope")
TRAINED_LENGTH = "original_max_position_embeddings"


@dataclass(frozen=True, slots=True)
class TreeLimit:
    """Texts of at most ``tokens`` may share a tree (None: of any length); longer ones may not because of ``why``."""

    tokens: int | None = None
    why: str = ""

    def refuses(self, tokens: int) -> bool:
        """Whether a text of so many tokens is too long."""
        return self.tokens is not None and tokens > self.tokens


def tree_limit(model: Any) -> TreeLimit:
    """Up to which length texts may share a token tree under ``model``, a causal model of transformers.

    ``tokens`` is 0 where none may: something is not known to be exact.
    """
    config = model.config.get_text_config()
    return next((TreeLimit(0, why) for why in _obstacles(model, config)), None) or min(
        _lengths(config), key=lambda limit: limit.tokens or 0, default=TreeLimit()
    )


def _obstacles(model: Any, config: Any) -> Iterator[str]:
    name = type(model).__name__
    module = sys.modules.get(type(model.base_model).__module__)
    taken = inspect.signature(model.forward).parameters
    if not str(getattr(module, "__name__", "")).startswith("transformers."):
        yield f"the code of {name} is not transformers' own"
    elif getattr(model, "_is_stateful", False):
        yield f"{name} carries a recurrent state"
    elif missing := [argument for argument in NEEDED_ARGUMENTS if argument not in taken]:
        yield f"{name} takes no {missing[0]}"
    elif not any(hasattr(module, maker) for maker in MASK_MAKERS):
        yield f"{name} makes attention masks of its own"
    if (attention := getattr(config, "_attn_implementation", None)) not in MASKED_ATTENTION:
        yield f"attention {attention!r} takes no token tree ({' and '.join(MASKED_ATTENTION)} do)"
    if any(getattr(config, key, False) for key in ALIBI):
        yield "ALiBi counts the tokens between two, not their positions"
    for kind in sorted(_kinds(config) - FULL_KINDS - WINDOWED_KINDS):
        yield f"layers of the kind {kind!r} do not see each token for itself"


def _kinds(config: Any) -> set[str]:
    return {str(kind) for key in LAYER_KINDS for kind in getattr(config, key, None) or ()}


def _lengths(config: Any) -> Iterator[TreeLimit]:
    kinds = _kinds(config)
    if not kinds or kinds & WINDOWED_KINDS:
        for key in WINDOWS:
            window = getattr(config, key, None)
            if isinstance(window, int) and window > 0 and getattr(config, f"use_{key}", True) is not False:
                yield TreeLimit(window, f"layers see {window} tokens ({key})")
    rope = getattr(config, "rope_parameters", None) or {}
    for one in [rope, *(part for part in rope.values() if isinstance(part, dict))]:
        if one.get("rope_type") in LENGTH_DEPENDENT_ROPE:
            named = (one.get(TRAINED_LENGTH), getattr(config, TRAINED_LENGTH, None), config.max_position_embeddings)
            trained = next(int(length) for length in named if length)
            yield TreeLimit(trained, f"rotary embeddings of the type {one['rope_type']!r} change with the length")
