"""Which models of equal shapes are not one architecture: what their configs, tokenizers and stored names say of them.

Shapes do not tell 4 heads from 8, or Llama from Mistral. The donor's config decides what a merge is, so every model is
held against the donor.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

from e2lm_merge.numbers.formats import ONLY_READ
from e2lm_merge.plan.source import ModelSource, config_of_class, layer_count, text_part

#: Under this check's name: fields of a config that change what the weights mean. An error where they differ.
MEANING: dict[str, tuple[str, ...]] = {
    "architecture": ("model_type", "use_parallel_residual", "parallel_attn", "new_decoder_architecture"),
    "heads": ("num_attention_heads", "num_key_value_heads", "head_dim", "n_head", "num_heads", "kv_channels"),
    "rope": ("rope_theta", "rope_scaling", "partial_rotary_factor", "rotary_pct", "rotary_emb_base", "rotary_dim",
             "rope_interleave", "qk_rope_head_dim", "rope_local_base_freq", "alibi"),
    "activation": ("hidden_act", "hidden_activation", "activation_function", "activation"),
    "norms": ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps", "layernorm_epsilon"),
    "layers": ("layer_types", "mlp_layer_types", "no_rope_layers", "layers_block_type", "mlp_only_layers",
               "decoder_sparse_step", "first_k_dense_replace", "sliding_window_pattern", "full_attention_interval"),
    "experts": ("num_experts_per_tok", "norm_topk_prob", "routed_scaling_factor", "scoring_func", "n_group",
                "topk_group", "topk_method", "num_experts", "num_local_experts", "n_routed_experts"),
    "scales": ("scale_embedding", "embedding_multiplier", "logits_scaling", "residual_multiplier", "logit_scale",
               "attention_multiplier", "query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping",
               "clip_qkv", "scale_attn_weights", "scale_attn_by_inverse_layer_idx", "embed_scale"),
    "quantisation": ("quantization_config",),
}  # fmt: skip

#: Fields that may differ between fine-tunes of one model, and what they change is told by other checks or is nothing.
HARMLESS = (
    "_name_or_path", "name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache", "initializer_range",
    "auto_map", "tie_word_embeddings", "vocab_size", "architectures", "pretraining_tp", "gradient_checkpointing",
    "unsloth_version", "unsloth_fixed", "rope_parameters", "text_config", "_attn_implementation",
    "attn_implementation", "is_decoder", "add_cross_attention", "output_attentions", "output_hidden_states",
    "return_dict", "torchscript", "problem_type", "label2id", "id2label", "num_labels", "finetuning_task",
    "task_specific_params", "max_length", "min_length", "do_sample", "temperature", "top_k", "top_p",
)  # fmt: skip
HARMLESS_PARTS = ("dropout", "_pdrop", "_drop", "init_std", "aux_loss", "loss_coef", "router_jitter")

#: Fields of which an absent one and one that says nothing are the same.
EMPTY: tuple[Any, ...] = (None, False, [], {}, "")

TOKENIZER_FILE = "tokenizer.json"
#: Any of these is a tokenizer of the model's own.
TOKENIZER_PATTERNS = ("tokenizer*", "vocab*", "merges*", "*.model", "*.tiktoken", "*.spm", "*.bpe")
#: Less of the smaller vocabulary in common, and the tokens are not the same pieces of text. Of Llama 2 and Mistral 7B,
#: which are merged by token, it is three quarters.
COMMON_SHARE = 0.5

#: Token by number, and whether it was added to the vocabulary.
KnownTokens = Mapping[int, tuple[str, bool]]
TOKENIZER_CONFIG = "tokenizer_config.json"
TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")
SPECIAL_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")

#: Checks of which differences may do no harm.
MILD = ("norms",)

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class ModelFinding:
    """What was found of ``model`` beside the donor: an error where their merge has no meaning."""

    check: str
    severity: Severity
    model: str
    message: str


def tell(findings: Sequence[ModelFinding]) -> None:
    """A line each on standard error."""
    for one in findings:
        print(f"e2lm: warning: {one.model}: {one.message}", file=sys.stderr)


def compare_models(models: Sequence[ModelSource], donor: ModelSource, by_token: bool = False) -> list[ModelFinding]:
    """Everything that speaks against merging ``models`` under the config of ``donor``: errors first.

    ``by_token`` says that rows are found by their tokens, so that vocabularies may differ where tokens are texts alike.
    """
    found = [finding for model in models for finding in (*_of_one(model, by_token), *_of_pair(model, donor, by_token))]
    if not by_token:
        found += _of_donor(models, donor)
    return sorted(found, key=lambda one: one.severity != "error")


def has_tokenizer(model: ModelSource) -> bool:
    """Whether the model's folder holds a tokenizer."""
    return any(file for pattern in TOKENIZER_PATTERNS for file in model.folder.glob(pattern))


def _of_donor(models: Sequence[ModelSource], donor: ModelSource) -> Iterator[ModelFinding]:
    """A merge takes the donor's tokenizer, and where it has none the merge has none either."""
    others = [model.label for model in models if model.folder != donor.folder and has_tokenizer(model)]
    if others and not has_tokenizer(donor):
        message = f"has no tokenizer, so the merge has none; say donor: {others[0]} where its config fits too"
        yield ModelFinding("tokenizer", "warning", donor.label, message)


def _of_one(model: ModelSource, by_token: bool) -> Iterator[ModelFinding]:
    """What does not fit within one model: its config against what is stored."""
    depth = layer_count(model.config)
    stored = None if model.main_stack is None else model.stacks[model.main_stack]
    heads = int(text_part(model.config).get("num_nextn_predict_layers") or 0)
    if depth is not None and stored is not None and not depth <= stored <= depth + heads:
        yield ModelFinding("depth", "error", model.label, f"config.json says {depth} layers, and {stored} are stored")
    wide = sum(one.dtype in ONLY_READ for one in model.index.tensors.values())
    if wide:
        yield ModelFinding("dtypes", "warning", model.label, f"{wide} tensors are float64, rounded to float32 as read")
    said, pair = text_part(model.config).get("vocab_size"), model.tied_pair
    rows = None if pair is None else model.index.tensors[pair[1]].shape[0]
    # By token, rows beyond those that the config knows are left out: padding.
    if isinstance(said, int) and rows is not None and rows != said and not (by_token and rows > said):
        message = f"config.json:vocab_size is {said}, and the embedding has {rows} rows"
        yield ModelFinding("vocabulary", "error", model.label, message)


def _of_pair(model: ModelSource, donor: ModelSource, by_token: bool) -> Iterator[ModelFinding]:
    if model is donor or model.folder == donor.folder:
        return
    yield from _of_configs(model, donor, SPECIAL_TOKENS if by_token else ())
    yield from _of_tokens(model, donor) if by_token else _of_tokenizers(model, donor)
    yield from _of_templates(model, donor)


def _of_configs(model: ModelSource, donor: ModelSource, left_out: Sequence[str]) -> Iterator[ModelFinding]:
    if not model.config or not donor.config:
        if model.config or donor.config:
            lacking = donor if model.config else model
            yield ModelFinding("architecture", "warning", model.label, f"{lacking.label} has no config.json")
        return
    own, its = _Said(model), _Said(donor)
    for check, fields in MEANING.items():
        for field in fields:
            mine, other = own.of(field, its), its.of(field, own)
            if mine != other:
                severity: Severity = "warning" if check in MILD else "error"
                yield ModelFinding(check, severity, model.label, _differs(field, mine, donor.label, other))
    checked = {field for fields in MEANING.values() for field in fields} | set(left_out)
    for field in sorted({*own.part, *its.part} - checked):
        mine, other = own.part.get(field), its.part.get(field)
        if mine != other and not (mine in EMPTY and other in EMPTY) and not _is_harmless(field):
            yield ModelFinding("config", "warning", model.label, _differs(field, mine, donor.label, other))


def _differs(field: str, mine: object, label: str, other: object) -> str:
    return f"config.json:{field} is {_short(mine)}, that of {label} is {_short(other)}"


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    text = "not there" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_harmless(field: str) -> bool:
    return field in HARMLESS or any(part in field for part in HARMLESS_PARTS)


class _Said:
    """What a config says of the language model, by the names of older and newer versions alike."""

    def __init__(self, model: ModelSource) -> None:
        self.part = _with_rope_fields({**model.config, **text_part(model.config)})
        self.model = model
        self._defaults: Mapping[str, Any] | None = None

    def of(self, field: str, other: _Said) -> Any:
        """The value of ``field``; where only ``other`` says one, what the model's class takes for it."""
        value = self.part.get(field)
        if value is None and other.part.get(field) is not None:
            return _canonical(field, self.defaults.get(field))
        return _canonical(field, value)

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Every field as the model's class completes them."""
        if self._defaults is None:
            self._defaults = _with_rope_fields(_completed(self.model))
        return self._defaults


def _completed(model: ModelSource) -> dict[str, Any]:
    """The config as transformers reads it; what is there where it cannot."""
    try:
        whole = config_of_class(model.config).to_dict()
    except Exception:  # a model of its own code
        whole = dict(model.config)
    part = {**whole, **text_part(whole)}
    heads, width = part.get("num_attention_heads"), part.get("hidden_size")
    if isinstance(heads, int) and isinstance(width, int) and heads:
        part = {**part, "head_dim": part.get("head_dim") or width // heads}
        part["num_key_value_heads"] = part.get("num_key_value_heads") or heads
    return part


def _with_rope_fields(part: Mapping[str, Any]) -> dict[str, Any]:
    """``rope_theta`` and ``rope_scaling`` out of ``rope_parameters``, where newer versions keep both."""
    rope = part.get("rope_parameters")
    if not isinstance(rope, dict):
        return dict(part)
    found = dict(part)
    kept = {name: value for name, value in rope.items() if name not in ("rope_theta", "partial_rotary_factor")}
    found.setdefault("rope_scaling", kept)
    for name in ("rope_theta", "partial_rotary_factor"):
        if rope.get(name) is not None:
            found.setdefault(name, rope[name])
    return found


def _canonical(field: str, value: Any) -> Any:
    """Two ways to say one thing as one: no scaling, whole numbers as floats."""
    if field == "rope_scaling":
        kind = value.get("rope_type", value.get("type")) if isinstance(value, dict) else None
        if kind in (None, "default") and not any(isinstance(one, dict) for one in (value or {}).values()):
            return None
        return {name: one for name, one in value.items() if name != "type"} | ({"rope_type": kind} if kind else {})
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None if value in EMPTY else value
    return float(value)


def _of_tokenizers(model: ModelSource, donor: ModelSource) -> Iterator[ModelFinding]:
    own, its = ({}, {}) if _equal_files(model, donor, TOKENIZER_FILE) else (vocabulary(model), vocabulary(donor))
    if own and its:
        differing = sorted(
            (place, token) for place, (token, added) in own.items()
            if place in its and its[place][0] != token and not (added or its[place][1])
        )  # fmt: skip
        renamed = [place for place, (token, _) in own.items() if place in its and its[place][0] != token]
        if differing:
            place, token = differing[0]
            message = (
                f"{TOKENIZER_FILE}: token {place} is {token!r}, that of {donor.label} is {its[place][0]!r} "
                f"({len(differing)} such): the rows of the embeddings stand for other texts"
            )
            yield ModelFinding("vocabulary", "error", model.label, message)
        elif renamed:
            token, other = own[renamed[0]][0], its[renamed[0]][0]
            message = f"{TOKENIZER_FILE}: the added token {renamed[0]} is {token!r}, that of {donor.label} is {other!r}"
            yield ModelFinding("vocabulary", "warning", model.label, message)


def _of_tokens(model: ModelSource, donor: ModelSource) -> Iterator[ModelFinding]:
    """What rows that are found by their tokens do not mend: texts that are cut into other pieces, roles of tokens."""
    if not has_tokenizer(model):
        own_rows, its_rows = _embedding_rows(model), _embedding_rows(donor)
        message = f"no tokenizer of its own: its rows are taken for the tokens of {donor.label}"
        if own_rows != its_rows:
            message += f", which has {its_rows} rows where it has {own_rows}; copy its tokenizer files there"
        yield ModelFinding("vocabulary", "warning" if own_rows == its_rows else "error", model.label, message)
        return
    own, its = vocabulary(model), vocabulary(donor)
    plain, known = ({token for token, added in words.values() if not added} for words in (own, its))
    if plain and known and len(plain & known) < COMMON_SHARE * min(len(plain), len(known)):
        message = (
            f"{TOKENIZER_FILE}: of {len(plain)} tokens {donor.label} knows {len(plain & known)}: what one model learnt "
            "for its tokens the other never reads, however rows are ordered"
        )
        yield ModelFinding("vocabulary", "error", model.label, message)
    elif (ways := [_way_of_cutting(one) for one in (model, donor)])[0] != ways[1] and None not in ways:
        message = (
            f"{TOKENIZER_FILE}: cuts texts by {ways[0]}, that of {donor.label} by {ways[1]}: the same text becomes "
            "other tokens than the model learnt"
        )
        yield ModelFinding("vocabulary", "warning", model.label, message)
    yield from _of_roles(model, donor, own, its)


def _embedding_rows(model: ModelSource) -> int | None:
    pair = model.tied_pair
    return None if pair is None else model.index.tensors[pair[1]].shape[0]


def _way_of_cutting(model: ModelSource) -> str | None:
    inner = _json(model, TOKENIZER_FILE).get("model")
    return str(inner["type"]) if isinstance(inner, dict) and inner.get("type") else None


def _of_roles(model: ModelSource, donor: ModelSource, own: KnownTokens, its: KnownTokens) -> Iterator[ModelFinding]:
    """Tokens that begin and end texts, by their texts: numbers may differ where rows are found by token."""
    said, other = text_part(model.config), text_part(donor.config)
    for field in SPECIAL_TOKENS:
        mine, theirs = _texts_of(said.get(field), own), _texts_of(other.get(field), its)
        if mine and theirs and mine != theirs:
            yield ModelFinding("special_tokens", "warning", model.label, _differs(field, mine, donor.label, theirs))


def _texts_of(numbers: Any, words: KnownTokens) -> list[str]:
    listed = numbers if isinstance(numbers, list) else [numbers]
    return [words[one][0] for one in listed if isinstance(one, int) and one in words]


def _of_templates(model: ModelSource, donor: ModelSource) -> Iterator[ModelFinding]:
    templates = chat_template(model), chat_template(donor)
    if None not in templates and templates[0] != templates[1]:
        message = f"its chat template is another than that of {donor.label}, which the merge takes"
        yield ModelFinding("chat_template", "warning", model.label, message)


def _equal_files(one: ModelSource, other: ModelSource, name: str) -> bool:
    left, right = one.folder / name, other.folder / name
    if not (left.is_file() and right.is_file()) or left.stat().st_size != right.stat().st_size:
        return False
    return left.read_bytes() == right.read_bytes()


def vocabulary(model: ModelSource) -> dict[int, tuple[str, bool]]:
    """Token by number, and whether it was added to the vocabulary; empty where there is no ``tokenizer.json``."""
    data = _json(model, TOKENIZER_FILE)
    found: dict[int, tuple[str, bool]] = {}
    inner = data.get("model")
    vocab = inner.get("vocab") if isinstance(inner, dict) else None
    if isinstance(vocab, dict):
        found = {place: (token, False) for token, place in vocab.items()}
    elif isinstance(vocab, list):
        found = {
            place: (str(entry[0]), False) for place, entry in enumerate(vocab) if isinstance(entry, list) and entry
        }
    for one in data.get("added_tokens") or []:
        if isinstance(one, dict) and isinstance(one.get("id"), int):
            found[one["id"]] = (str(one.get("content")), True)
    return found


def chat_template(model: ModelSource) -> str | None:
    """The chat template's text, None where there is none."""
    for name in TEMPLATE_FILES:
        path = model.folder / name
        if path.is_file():
            return path.read_text(encoding="utf-8", errors="replace").strip()
    found = _json(model, TOKENIZER_CONFIG).get("chat_template")
    return None if found is None else str(found).strip()


def _json(model: ModelSource, name: str) -> dict[str, Any]:
    try:
        found = json.loads((model.folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _told(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:8]


def described(model: ModelSource) -> dict[str, Any]:
    """What one may want to see of a model beside others, a line of the table of ``e2lm merge check``."""
    said = _Said(model)

    def first(*fields: str) -> Any:
        return next((said.part[field] for field in fields if said.part.get(field) is not None), None)

    words = vocabulary(model)
    template = chat_template(model)
    return {
        "model": model.label,
        "architecture": model.config.get("model_type"),
        "layers": model.layers,
        "heads": first("num_attention_heads", "n_head", "num_heads"),
        "kv_heads": first("num_key_value_heads"),
        "head_dim": first("head_dim"),
        "rope_theta": first("rope_theta", "rotary_emb_base"),
        "norm_eps": first(*MEANING["norms"]),
        "activation": first(*MEANING["activation"]),
        "tied": model.is_tied,
        "dtypes": sorted({stored.dtype for stored in model.index.tensors.values()}),
        "tensors": len(model.index.tensors),
        "stacks": sorted(model.stacks),
        "tokens": len(words) or None,
        "tokenizer": _told(json.dumps(sorted(words.items()))) if words else None,
        "special_tokens": {name: said.part[name] for name in SPECIAL_TOKENS if name in said.part},
        "chat_template": None if template is None else _told(template),
    }
