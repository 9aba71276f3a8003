"""Which stored numbers a model trains, which of them are embeddings, and which one token passes through.

Told from names, shapes and types of the stored tensors and from ``config.json``, by the conventions of the
transformers library, without building a model. Counted is what its ``model.parameters()`` holds and training changes:
no buffers and none of the masks that older releases stored, each tied table once, no layers that it does not load.

Embeddings are look-up tables (vocabulary, positions, segments) and the output head, as in Kaplan et al. 2020, section
2.1, where N excludes them; of masked models also the transform of the head and the norm of the embedding. Of the
experts of a layer a token passes through the number that the configuration names.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]

#: Modules that are look-up tables, by the last part of their name.
TABLES = frozenset(
    [
        "embed_tokens",
        "wte",
        "wpe",
        "embed_in",
        "word_embeddings",
        "word_embedding",
        "tok_embeddings",
        "tokens_embed",
        "embeddings",
        "embedding",
        "embed",
        "input_embedding",
        "shared",
        "embed_positions",
        "position_embeddings",
        "position_embedding",
        "positions_embed",
        "token_type_embeddings",
        "segment_embedding",
        "embed_tokens_per_layer",
    ]
)
#: Modules that are the output head whatever its size, by the last part of their name.
HEADS = frozenset(("lm_head", "embed_out"))
#: Modules that are the output head where it is as large as the table of the vocabulary.
HEADS_OF_THAT_SIZE = frozenset(["head", "output", "output_projection", "decoder", "generator_lm_head"])

#: Modules of masked models that hold a transform and a norm beside the table: parts of the head, of the embedding.
HEAD_PARTS = frozenset(["lm_head", "predictions"])

#: Stored, and never trained: rotary frequencies and caches, masks, counters, statistics, fixed decays.
BUFFERS = frozenset(
    [
        "masked_bias",
        "position_ids",
        "token_type_ids",
        "causal_mask",
        "num_batches_tracked",
        "running_mean",
        "running_var",
        "slope_rate",
        "query_decay",
        "key_decay",
        "diagonal_decay",
        "e_score_correction_bias",
        "expert_bias",
        "balancing_biases",
        "layer_scalar",
        "z_L_init",
        "cos_cached",
        "sin_cached",
        "freqs_cis",
        "alibi",
        "global_mean",
        "global_invstd",
        "act_scaling_factor",
        "x_min",
        "x_max",
    ]
)
BUFFER_ENDS = ("inv_freq", "act_fn.beta", "act_fn.eps", "embed_positions.weights", "embed_positions._float_tensor")
#: A causal mask of older releases, ``attn.bias`` or ``attention.bias``: 1 x 1 x positions x positions.
MASK_ENDS = ("attn.bias", "attention.bias")
#: Types of masks and counters. Quantized weights have such types too.
COUNTS_AND_FLAGS = frozenset(["BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64"])

#: How many experts a token passes through, and how many a layer has, by the names that configurations give it.
ACTIVE_EXPERTS = (
    "num_experts_per_tok",
    "num_experts_per_token",
    "num_selected_experts",
    "experts_per_token",
    "top_k_experts",
    "moe_top_k",
    "moe_topk",
    "moe_k",
    "moe_router_topk",
)
ALL_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
#: Parts of a configuration that describe the language model or its experts.
NESTED = ("text_config", "ffn_config", "language_config", "llm_config")

_ONE_EXPERT = re.compile(r"(?P<all>.*\bexperts)\.(?:expert_)?(?P<index>\d+)\.")
_TOGETHER = re.compile(r"\bexperts\.(?!(?:expert_)?\d)|\b(?:input|output)_linear\.")
_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")
_IN_LAYERS = re.compile(r"(?:^|\.)\d+(?:\.|$)")
_NEXT_TOKENS = re.compile(r"(?:^|\.)mtp(?:_layers|_block)?(?:\.|$)")


@dataclass(frozen=True, slots=True)
class StoredShape:
    """Shape and type (``"F32"``, ``"BF16"`` ...) of one stored tensor."""

    shape: Shape
    dtype: str

    @property
    def count(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class ParameterCount:
    """What a model trains: all of it, without embeddings, and what one token passes through.

    ``assumed`` has a line for each thing that names and configuration did not tell for certain.
    """

    params: int
    params_non_embedding: int
    params_active: int
    assumed: tuple[str, ...] = ()

    @property
    def is_mixture(self) -> bool:
        """Whether a token passes through some of the parameters only."""
        return self.params_active < self.params


def count_parameters(stored: Mapping[str, StoredShape], config: Mapping[str, Any]) -> ParameterCount:
    """The parameters among the ``stored`` tensors of a model with this ``config.json`` (empty where there is none).

    >>> table, norm = StoredShape((8, 2), "F32"), StoredShape((2,), "F32")
    >>> stored = {"lm_head.weight": table, "model.embed_tokens.weight": table, "model.norm.weight": norm}
    >>> count_parameters(stored, {"tie_word_embeddings": True})
    ParameterCount(params=18, params_non_embedding=2, params_active=18, assumed=())
    """
    counted = _Counted(stored, config)
    sizes = {name: stored[name].count for name in counted.trained}
    total = sum(sizes.values())
    outside = total - sum(sizes[name] for name in counted.embeddings)
    return ParameterCount(total, outside, total - counted.idle, tuple(counted.assumed()))


class _Counted:
    """The tensors that are trained, by what they are."""

    def __init__(self, stored: Mapping[str, StoredShape], config: Mapping[str, Any]) -> None:
        inner = config.get("text_config")
        self._config = config
        self._text = {**config, **(inner if isinstance(inner, dict) else {})}
        self._quantized = bool(config.get("quantization_config"))
        own = {name: one for name, one in stored.items() if self._quantized or not is_buffer(name, one)}
        self._skipped = sum(one.count for name, one in own.items() if self._predicts_further_tokens(name))
        self._own = {name: one for name, one in own.items() if not self._predicts_further_tokens(name)}
        tables = {name for name in self._own if name.endswith(".weight") and _module(name) in TABLES}
        #: Shapes of the vocabulary's tables: rows are tokens.
        self._vocabulary = {self._own[name].shape for name in tables if not _is_about_places(name)}
        self._guessed = {name for name in self._own if name not in tables and self._looks_like_a_table(name)}
        self._vocabulary = self._vocabulary or {self._own[name].shape for name in self._guessed}
        heads = {name for name in self._own if name not in tables | self._guessed and self._is_head(name)}
        self._guessed |= {name for name in heads if self._is_matrix(name) and not _is_called_head(name)}
        heads |= {name for name in self._own if _is_beside_a_table(name, self._own[name].shape)}
        self.trained = sorted(set(self._own) - self._copies(heads))
        self.embeddings = (tables | heads | self._guessed) & set(self.trained)
        self._groups = _expert_groups(self.trained, stored, self._setting(ALL_EXPERTS))
        self._active = self._setting(ACTIVE_EXPERTS)

    @property
    def idle(self) -> int:
        """Numbers in experts that a token does not pass through, of all layers together."""
        if self._active is None:
            return 0
        return sum(count - count * min(self._active, experts) // experts for count, experts in self._groups)

    def assumed(self) -> Iterator[str]:
        """What was assumed where names and configuration do not tell."""
        if not self.embeddings:
            yield "no embedding is known by its name: all parameters count as outside of it"
        guessed = sorted(self._guessed & self.embeddings)
        if guessed:
            more = f" and {len(guessed) - 3} more" if len(guessed) > 3 else ""
            yield f"{', '.join(guessed[:3])}{more}: taken for embeddings, by name or shape"
        if self._groups and self._active is None:
            yield "how many experts a token passes through is not in config.json: all count as active"
        if self._skipped:
            yield (
                f"layers that predict further tokens ({self._skipped:,} numbers) are not counted: no score depends on "
                "them"
            )
        if self._quantized:
            yield "the weights are quantized: numbers are counted as they are stored"

    def _setting(self, names: tuple[str, ...]) -> int | None:
        parts = [self._config, *(self._config.get(name) for name in NESTED)]
        for part in (one for one in parts if isinstance(one, dict)):
            for name in names:
                value = part.get(name)
                value = max(value, default=None) if isinstance(value, list) else value
                if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                    return value
        return None

    def _predicts_further_tokens(self, name: str) -> bool:
        if _NEXT_TOKENS.search(name):
            return True
        layer, layers = _LAYER.search(name), self._text.get("num_hidden_layers")
        further = self._text.get("num_nextn_predict_layers")
        return bool(layer and further and isinstance(layers, int) and int(layer[1]) >= layers)

    def _is_matrix(self, name: str) -> bool:
        return len(self._own[name].shape) == 2 and name.endswith(".weight")

    def _looks_like_a_table(self, name: str) -> bool:
        """Whether a matrix outside of all layers is called an embedding, or has as many rows as there are tokens."""
        if not self._is_matrix(name) or _IN_LAYERS.search(name) or _is_called_head(name):
            return False
        if "embed" in _module(name) and self._own[name].shape not in self._vocabulary:
            return not any(part in name for part in ("proj", "norm", "patch", "mapping", "transform", "conv"))
        rows, columns = self._own[name].shape
        return not self._vocabulary and rows == self._text.get("vocab_size") and rows != columns

    def _is_head(self, name: str) -> bool:
        if _IN_LAYERS.search(name):
            return False
        shape = self._own[name].shape
        if _module(name) in HEADS:
            return True
        if self._is_matrix(name):
            has_its_rows = any(shape[:1] == table[:1] for table in self._vocabulary)
            return shape in self._vocabulary or (_module(name) in HEADS_OF_THAT_SIZE and has_its_rows)
        return name.endswith("bias") and any(shape == table[:1] != table[1:] for table in self._vocabulary)

    def _copies(self, heads: set[str]) -> set[str]:
        """What is stored a second time: a head that is the vocabulary's table, a decoder's bias that stands beside."""
        copies = {name for name in heads if name.endswith(".decoder.bias") and name.replace(".decoder", "") in heads}
        if self._config and self._text.get("tie_word_embeddings", _is_tied_where_unsaid(self._config)):
            copies |= {name for name in heads if self._own[name].shape in self._vocabulary}
        return copies


def names_an_embedding(name: str) -> bool:
    """Whether a tensor is part of an embedding or an output head by its name alone.

    >>> [names_an_embedding(f"{name}.weight") for name in ("transformer.word_embeddings", "model.layers.0.mlp.up_proj")]
    [True, False]
    """
    return any(part in TABLES | HEADS for part in name.split("."))


def is_buffer(name: str, stored: StoredShape) -> bool:
    """Whether a stored tensor is none that training changes.

    >>> [is_buffer("h.0.attn.bias", StoredShape(shape, "F32")) for shape in ((1, 1, 8, 8), (8,))]
    [True, False]
    """
    if stored.dtype in COUNTS_AND_FLAGS or name.rpartition(".")[2] in BUFFERS or name.endswith(BUFFER_ENDS):
        return True
    return name.endswith(MASK_ENDS) and len(stored.shape) == 4 and stored.shape[:2] == (1, 1)


def _module(name: str) -> str:
    """The last part of the name of the module that a tensor belongs to."""
    return name.rpartition(".")[0].rpartition(".")[2]


def _is_beside_a_table(name: str, shape: Shape) -> bool:
    """Whether a tensor belongs to the head or the embedding of a masked model without being its table."""
    parts = set(name.split(".")[:-2])
    is_in_head = bool(parts & HEAD_PARTS) or (name.startswith("head.") and len(parts) == 1)
    is_norm = "embeddings" in parts and len(shape) == 1 and "norm" in _module(name).lower()
    return not _IN_LAYERS.search(name) and (is_in_head or is_norm)


def _is_called_head(name: str) -> bool:
    return _module(name) in HEADS | HEADS_OF_THAT_SIZE


def _is_about_places(name: str) -> bool:
    return any(part in _module(name) for part in ("position", "wpe", "token_type", "per_layer"))


def _is_tied_where_unsaid(config: Mapping[str, Any]) -> bool:
    """Releases of transformers before 5 wrote down only what differs from their default for all models: tied."""
    return str(config.get("transformers_version", "4")).partition(".")[0] in ("2", "3", "4")


def _expert_groups(
    names: list[str], stored: Mapping[str, StoredShape], configured: int | None
) -> list[tuple[int, int]]:
    """(numbers, experts) of every set of experts among which a token is sent to some."""
    numbers: dict[str, int] = defaultdict(int)
    members: dict[str, set[str]] = defaultdict(set)
    together = []
    for name in names:
        one, shape = _ONE_EXPERT.match(name), stored[name].shape
        if one:
            numbers[one["all"]] += stored[name].count
            members[one["all"]].add(one["index"])
        elif _TOGETHER.search(name) and (len(shape) > 2 or "experts" in name):
            together.append((stored[name].count, configured or shape[0]))
    return together + [(numbers[place], len(members[place])) for place in numbers]
