"""The output's config: the donor's with what the merge changed; what it says of single layers follows those layers.

Layers that slices stack or reorder may differ in kind: sliding and full attention, with and without rotary embedding,
dense and sparse. Configs say so in lists with an entry per layer, in lists of layers, or by a rule for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from e2lm.errors import UserError, one_line
from e2lm.weights import StoredTensor
from e2lm_merge.plan.recipe import TORCH_TYPE_NAME
from e2lm_merge.plan.source import (
    LAYER_COUNT_FIELDS,
    TEXT_PARTS,
    EmbeddingTie,
    ModelSource,
    config_of_class,
    layer_count,
    text_part,
)

#: Lists that may be as long as the model is deep, and say nothing of layers.
NOT_BY_LAYER = ("architectures", "_token_id", "_token_ids", "keys_to_ignore", "_sizes", "_token_index")

#: Lists of the numbers of layers that are of a kind.
LISTS_OF_LAYERS = (
    "mlp_only_layers",
    "moe_layers",
    "cross_attention_layers",
    "full_attn_idxs",
    "attn_layer_indices",
)

#: What a rule says of layer i of L: (its number in the config, i, L, the config).
Rule = Callable[[int, int, int, Mapping[str, Any]], bool]

#: Rules by field, with the list that stands in their place where a config has it.
RULES: dict[str, tuple[Rule, str]] = {
    "decoder_sparse_step": (lambda n, i, _, __: (i + 1) % n == 0, "mlp_layer_types"),
    "first_k_dense_replace": (lambda n, i, _, __: i >= n, "mlp_layer_types"),
    "full_attention_interval": (lambda n, i, _, __: (i + 1) % n == 0, "layer_types"),
    "sliding_window_pattern": (lambda n, i, _, __: (i + 1) % n == 0, "layer_types"),
    "global_attn_every_n_layers": (lambda n, i, _, __: i % n == 0, "layer_types"),
    "no_rope_layer_interval": (lambda n, i, _, __: (i + 1) % n == 0, "no_rope_layers"),
    "interleave_moe_layer_step": (lambda n, i, _, __: (i + 1) % n == 0, "moe_layers"),
    "moe_layer_freq": (lambda n, i, _, __: i % n == 0, "mlp_layer_types"),
    "attn_layer_period": (lambda n, i, _, part: i % n == int(part.get("attn_layer_offset") or 0), "layer_types"),
    "expert_layer_period": (
        lambda n, i, _, part: i % n == int(part.get("expert_layer_offset") or 0),
        "mlp_layer_types",
    ),
    "max_window_layers": (lambda n, i, _, part: bool(part.get("use_sliding_window")) and i >= n, "layer_types"),
    "num_kv_shared_layers": (lambda n, i, layers, _: i >= layers - n, ""),
}

#: Fields whose number may become another where no rule with the old one fits.
THRESHOLDS = ("first_k_dense_replace", "max_window_layers", "num_kv_shared_layers")

#: Kinds of models in which what a layer computes depends on its number, and by which of its constants.
BY_NUMBER = {"diffllama": "lambda_init", "zamba": "num_mem_blocks", "zamba2": "num_mem_blocks"}
#: Fields that say so where they are true.
BY_NUMBER_FIELDS = ("scale_attn_by_inverse_layer_idx",)

#: Fields of models that keep tensors for every layer outside of the layers.
TENSORS_BY_LAYER = ("hidden_size_per_layer_input", "vocab_size_per_layer_input")


@dataclass(frozen=True, slots=True)
class LayerOrigin:
    """Where a layer of the output comes from: ``models`` whose layer ``layers[i]`` is merged, the lead first."""

    models: tuple[ModelSource, ...]
    layers: tuple[int, ...]


def output_config(
    donor: ModelSource, tie: EmbeddingTie, kinds: set[str], origins: Sequence[LayerOrigin] | None
) -> dict[str, Any]:
    """The donor's config with the merge's type, tie and layers; ``origins`` are those of slices, None without slices.

    A :class:`UserError` where the layers merged into one differ in kind, or no config can say what the layers are.
    """
    config = dict(donor.config)
    if not config:
        return config
    if tie.flag is not None:
        config["tie_word_embeddings"] = tie.flag
    if len(kinds) == 1:
        for field in ("dtype", "torch_dtype"):
            if field in config:
                config[field] = TORCH_TYPE_NAME[next(iter(kinds))]
    if origins is None:
        return config
    return _LayerFields(donor, origins).within(config)


def require_fitting(
    config: Mapping[str, Any],
    donor: ModelSource,
    shapes: Mapping[str, tuple[int, ...]],
    was: Mapping[str, StoredTensor],
) -> None:
    """A :class:`UserError` where the class of a model whose layers were stacked has no place for one of its tensors.

    Some classes have a first or a last layer of another form, of which no config speaks (the first of RWKV, the last
    of GPT-NeoX Japanese): read from disk, such a model would lose tensors, and get others at random. A donor that does
    not fit its own class tells nothing.
    """
    where = f"{donor.label}, its layers as the slices have them"
    try:
        _require_places(config, shapes, where)
    except UserError:
        try:
            _require_places(donor.config, {name: stored.shape for name, stored in was.items()}, where)
        except UserError:
            return
        raise


def _require_places(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    import torch

    from e2lm.live_weights import require_places

    tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    try:
        require_places(config_of_class(config), tensors, where)
    except UserError:
        raise
    except Exception as error:  # a model of its own code, or a config that its class does not take
        if config.get("model_type"):
            raise UserError(f"{where}: transformers cannot build the model ({one_line(error)[:160]})") from error


class _LayerFields:
    """What the config says of single layers, brought into the order of the output's."""

    def __init__(self, donor: ModelSource, origins: Sequence[LayerOrigin]) -> None:
        self.donor = donor
        self.origins = origins
        self.depth = layer_count(donor.config) or donor.layers
        self._parts: dict[int, Mapping[str, Any]] = {}

    def within(self, config: dict[str, Any]) -> dict[str, Any]:
        """``config`` with these fields, wherever it keeps what the language model is."""
        name = next((one for one in TEXT_PARTS if isinstance(config.get(one), dict)), None)
        part = dict(config if name is None else config[name])
        if not self.is_untouched:
            self._refuse_by_number(self._part(self.donor))
            part |= self._by_layer() | self._ruled()
        for fields in (part, config):
            for field in LAYER_COUNT_FIELDS:
                if fields.get(field) == self.depth:
                    fields[field] = len(self.origins)
        return {**config, **part} if name is None else {**config, name: part}

    @cached_property
    def is_untouched(self) -> bool:
        """Whether every layer is where it was in one and the same model, the donor."""
        first = [(one.models[0].label, one.layers[0]) for one in self.origins]
        alone = all(len(set(one.layers)) == 1 for one in self.origins)
        return alone and first == [(self.donor.label, layer) for layer in range(self.depth)]

    def _part(self, model: ModelSource) -> Mapping[str, Any]:
        if id(model) not in self._parts:
            self._parts[id(model)] = {**text_part(model.config), **_completed(model)}
        return self._parts[id(model)]

    def _of_origin(self, field: str, said: Callable[[Mapping[str, Any], int], Any]) -> list[Any]:
        """What ``said`` gives for every layer of the output, from the models it comes from."""
        found = []
        for place, one in enumerate(self.origins):
            values = [said(self._part(model), layer) for model, layer in zip(one.models, one.layers, strict=True)]
            if any(value != values[0] for value in values[1:]):
                other = next(index for index, value in enumerate(values) if value != values[0])
                raise UserError(
                    f"layer {place} of the output: layer {one.layers[0]} of {one.models[0].label} and layer "
                    f"{one.layers[other]} of {one.models[other].label} are of different kinds ({field}: {values[0]!r} "
                    f"and {values[other]!r}); shift a layer_range"
                )
            found.append(values[0])
        return found

    def _by_layer(self) -> dict[str, Any]:
        """Lists with an entry per layer, and lists of layers."""
        changed: dict[str, Any] = {}
        for field, value in self._part(self.donor).items():
            if not isinstance(value, list):
                continue
            if field in LISTS_OF_LAYERS:
                kinds = self._of_origin(field, partial(_is_listed, field))
                changed[field] = [place for place, is_one in enumerate(kinds) if is_one]
            elif len(value) == self.depth and not field.endswith(NOT_BY_LAYER):
                changed[field] = self._of_origin(field, partial(_entry, field))
        return changed

    def _ruled(self) -> dict[str, Any]:
        """Numbers of rules that give the layers of the output the kinds that they have."""
        part, changed = self._part(self.donor), {}
        for field, (rule, instead) in RULES.items():
            number = part.get(field)
            if isinstance(number, bool) or not isinstance(number, int) or isinstance(part.get(instead), list):
                continue
            kinds = self._of_origin(field, partial(self._kind, field))
            tried = [number, *range(len(kinds) + 1)] if field in THRESHOLDS else [number]
            fits = [n for n in tried if [_says(rule, n, i, len(kinds), part) for i in range(len(kinds))] == kinds]
            if not fits:
                raise UserError(
                    f"{self.donor.label}: config.json:{field}: {number} says of which kind each layer is, and no "
                    "number says it of these layers in this order; take slices that keep the order of kinds"
                )
            changed[field] = fits[0]
        by_layer = next((field for field in TENSORS_BY_LAYER if part.get(field)), None)
        if by_layer is not None:
            raise UserError(
                f"{self.donor.label}: config.json:{by_layer}: the model keeps numbers of every layer in one tensor "
                "outside of the layers, which slices do not change; merge whole models"
            )
        return changed

    def _refuse_by_number(self, part: Mapping[str, Any]) -> None:
        """A :class:`UserError` where a layer under another number is another layer."""
        constant = BY_NUMBER.get(str(part.get("model_type")))
        constant = constant or next((field for field in BY_NUMBER_FIELDS if part.get(field)), None)
        if constant and any(place != one.layers[0] for place, one in enumerate(self.origins)):
            raise UserError(
                f"{self.donor.label}: {constant}: what a layer computes depends on its number, so it is another layer "
                "under another number; keep every layer in its place"
            )

    def _kind(self, field: str, part: Mapping[str, Any], layer: int) -> bool:
        number = part.get(field)
        layers = layer_count(part) or self.depth
        return _says(RULES[field][0], int(number or 0), layer, layers, part)


def _says(rule: Rule, number: int, layer: int, layers: int, part: Mapping[str, Any]) -> bool:
    try:
        return rule(number, layer, layers, part)
    except ZeroDivisionError:  # no such layers
        return False


def _is_listed(field: str, part: Mapping[str, Any], layer: int) -> bool:
    return layer in (part.get(field) or ())


def _entry(field: str, part: Mapping[str, Any], layer: int) -> Any:
    value = part.get(field)
    return value[layer] if isinstance(value, list) and layer < len(value) else None


def _completed(model: ModelSource) -> dict[str, Any]:
    """Lists of layers that the model's class makes where its config has none, as transformers knows it."""
    try:
        whole = config_of_class(model.config).to_dict()
    except Exception:  # a model of its own code: its config has what it has
        return {}
    depth, own = layer_count(model.config), text_part(model.config)
    made = text_part(whole)
    return {
        field: value
        for field, value in made.items()
        if field not in own and isinstance(value, list) and (len(value) == depth or field in LISTS_OF_LAYERS)
    }
