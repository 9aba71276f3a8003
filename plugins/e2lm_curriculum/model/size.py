"""How big a model is, by name or as LAYERSxWIDTH: its shape, its weights by closed form, what its library is told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from e2lm.errors import nearest_names

#: Head dimensions from best to worst: attention kernels of vLLM's backends (FlashInfer, AITER) list 64 and up.
HEAD_DIMENSIONS = (64, 32, 16, 8)

#: Feed-forward width over model width in Llama (Touvron et al. 2023, section 2.2), rounded to a multiple of 16.
FEED_FORWARD_RATIO = 8 / 3
FEED_FORWARD_MULTIPLE = 16

#: The base of rotary positions (Su et al. 2021); readers of older configurations assume it where none is given.
ROPE_THETA = 10_000.0

#: RoBERTa's positions begin after the identifier of padding, 1.
ROBERTA_POSITIONS_SKIPPED = 2

SPECIFICATION = re.compile(r"([1-9]\d{0,2})x([1-9]\d{0,4})")


@dataclass(frozen=True, slots=True)
class ModelSize:
    """The shape of one model. ``name`` is the folder its checkpoints go to."""

    name: str
    layers: int
    width: int
    feed_forward: int

    @property
    def head_dimension(self) -> int:
        """Numbers per attention head: 64 where the width allows.

        >>> ModelSize("m", 1, 128, 336).head_dimension, ModelSize("m", 1, 96, 256).head_dimension
        (64, 32)
        """
        return next(dimension for dimension in HEAD_DIMENSIONS if self.width % dimension == 0)

    @property
    def heads(self) -> int:
        """Attention heads; each has its own keys and values."""
        return self.width // self.head_dimension

    @property
    def params_non_embedding(self) -> int:
        """Weights outside the embedding: per layer 4 w^2 (attention), 3 w f (gated feed-forward), 2 w (norms); and w.

        >>> ModelSize("m", layers=4, width=128, feed_forward=336).params_non_embedding
        779392
        """
        layer = 4 * self.width**2 + 3 * self.width * self.feed_forward + 2 * self.width
        return self.layers * layer + self.width

    def params(self, vocabulary: int) -> int:
        """All weights; the output head is the embedding."""
        return self.params_non_embedding + vocabulary * self.width

    def flops_per_token(self, vocabulary: int) -> int:
        """Training FLOPs of one token with the output head counted: what time left is estimated with."""
        return 6 * self.params(vocabulary)

    def llama_settings(self, vocabulary: int, sequence_length: int) -> dict[str, Any]:
        """Arguments of ``transformers.LlamaConfig``."""
        return {
            "vocab_size": vocabulary,
            "hidden_size": self.width,
            "intermediate_size": self.feed_forward,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "head_dim": self.head_dimension,
            "max_position_embeddings": sequence_length,
            "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_THETA},
            "tie_word_embeddings": True,
        }

    @property
    def roberta_feed_forward(self) -> int:
        """Feed-forward width of a RoBERTa: 4 times the width (Vaswani et al. 2017, table 3)."""
        return 4 * self.width

    @property
    def roberta_params_non_embedding(self) -> int:
        """Weights of a RoBERTa outside embedding and output head, biases and norms included."""
        width, inner = self.width, self.roberta_feed_forward
        layer = 4 * (width**2 + width) + 2 * width * inner + inner + width + 4 * width
        return self.layers * layer + 2 * width

    def roberta_params(self, vocabulary: int, sequence_length: int) -> int:
        """All weights of a RoBERTa: positions, one segment, norm; transform, norm and bias of the head."""
        positions = sequence_length + ROBERTA_POSITIONS_SKIPPED
        embedding = (vocabulary + positions + 1 + 2) * self.width
        head = self.width**2 + self.width + 2 * self.width + vocabulary
        return self.roberta_params_non_embedding + embedding + head

    def roberta_settings(self, vocabulary: int, sequence_length: int) -> dict[str, Any]:
        """Arguments of ``transformers.RobertaPreLayerNormConfig``; no dropout, as in our Llama."""
        return {
            "vocab_size": vocabulary,
            "hidden_size": self.width,
            "intermediate_size": self.roberta_feed_forward,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "max_position_embeddings": sequence_length + ROBERTA_POSITIONS_SKIPPED,
            "type_vocab_size": 1,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "layer_norm_eps": 1e-5,
            "tie_word_embeddings": True,
        }


#: Named by their non-embedding parameters.
NAMED_SIZES = {
    size.name: size
    for size in (
        ModelSize("50k", 1, 64, 176),
        ModelSize("140k", 3, 64, 160),
        ModelSize("360k", 2, 128, 304),
        ModelSize("780k", 4, 128, 336),
        ModelSize("3m", 7, 192, 512),
        ModelSize("10m", 8, 320, 864),
        ModelSize("30m", 10, 512, 1360),
        ModelSize("100m", 14, 768, 2048),
    )
}


def model_size(text: str) -> ModelSize:
    """The size called ``text``, or the one written as LAYERSxWIDTH; a :class:`ValueError` for anything else.

    >>> model_size("780k").layers, model_size("2x96").feed_forward
    (4, 256)
    """
    if text in NAMED_SIZES:
        return NAMED_SIZES[text]
    match = SPECIFICATION.fullmatch(text)
    if match is None:
        raise ValueError(
            f"unknown size {text!r}; a name or LAYERSxWIDTH such as 4x128 is expected. "
            + nearest_names(text, NAMED_SIZES)
        )
    layers, width = int(match.group(1)), int(match.group(2))
    if width % HEAD_DIMENSIONS[-1]:
        raise ValueError(f"size {text!r}: the width must be a multiple of {HEAD_DIMENSIONS[-1]} (best: of 64)")
    feed_forward = FEED_FORWARD_MULTIPLE * max(1, round(FEED_FORWARD_RATIO * width / FEED_FORWARD_MULTIPLE))
    return ModelSize(text, layers, width, feed_forward)
