"""Recipe: what is merged and how, as mergekit's YAML says it, and stricter.

Beyond mergekit's keys there are ``seed``, ``donor`` (whose config and tokenizer are taken), ``tied_embeddings``,
``allow_nonfinite``, ``allow_pickle``, ``allow`` (checks of models beside each other that may fail), ``backbone_only``
(heads are the donor's), ``series`` with ``steps`` (the checkpoints of a run instead of ``models``) and ``score``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, model_validator
from yaml.composer import ComposerError

from e2lm.errors import UserError, nearest_names, one_line
from e2lm.noun import Noun

#: mergekit keys whose effect lies outside of what is merged here, and what to do instead.
REFUSED_KEYS = {
    "modules": "merge one module at a time",
    "name": "it belongs to a file of several merges; give one merge and its folder on the command line",
    "out_path": "give the folder on the command line",
    "chat_template": "the donor's chat template is copied; edit it afterwards",
}

#: Checks of models beside each other of which an error may be allowed by name.
AllowedCheck = Literal[
    "architecture", "heads", "rope", "activation", "layers", "experts", "scales", "quantisation", "depth", "vocabulary"
]

#: Fields that name a model.
REFERENCES = ("model", "base_model")

OutputType = Literal["float32", "bfloat16", "float16"]
SAFETENSORS_TYPE = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
TORCH_TYPE_NAME = {short: name for name, short in SAFETENSORS_TYPE.items()}


class RecipeModel(Noun):
    """One model to merge: a folder, ``folder@step`` of a run, or ``owner/name@revision`` of the Hub."""

    model: Annotated[str, Field(min_length=1)]
    parameters: dict[str, Any] = Field(default_factory=dict)


class RecipeSource(RecipeModel):
    """Layers ``layer_range[0]`` up to but without ``layer_range[1]`` of a model."""

    layer_range: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]


class RecipeSlice(Noun):
    """Layers of the output, merged from as many layers of every source; none where a slice only brings the head."""

    sources: Annotated[tuple[RecipeSource, ...], Field(min_length=1)]
    base_model: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many layers of the output this slice makes."""
        first = self.sources[0].layer_range
        return first[1] - first[0]

    @model_validator(mode="after")
    def _equal_length(self) -> RecipeSlice:
        lengths = {source.layer_range[1] - source.layer_range[0] for source in self.sources}
        if len(lengths) != 1 or min(lengths) < 0:
            raise ValueError(f"all sources of a slice need layer ranges of one length, found {sorted(lengths)}")
        return self


class RecipeScore(Noun):
    """What candidates are scored on where a strategy needs it: see :mod:`e2lm_merge.search.items`."""

    items: Annotated[tuple[str, ...], Field(min_length=1)]
    selection_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    limit: Annotated[int, Field(ge=2)] | None = None
    batch_size: Annotated[int, Field(ge=1)] = 16
    device: str = "cpu"


class ModelToken(Noun):
    """The row of one token of one model, by the token or by its number there."""

    kind: Literal["model_token"]
    model: Annotated[str, Field(min_length=1)]
    token_id: Annotated[int, Field(ge=0)] | None = None
    token: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> ModelToken:
        if (self.token_id is None) == (self.token is None):
            raise ValueError("give either token or token_id")
        return self


class ZeroRow(Noun):
    """A row of zeros."""

    kind: Literal["zero"]


class TokenRule(Noun):
    """Where the row of a token comes from in models that do not know it, with ``force`` in all of them."""

    source: ModelToken | ZeroRow | str | None = None
    force: bool = False

    @property
    def is_zero(self) -> bool:
        """Whether the row is one of zeros."""
        return isinstance(self.source, ZeroRow)

    @property
    def model_label(self) -> str | None:
        """The model whose row it is, as the user wrote it; None where it is none's."""
        if isinstance(self.source, ModelToken):
            return self.source.model
        return self.source if isinstance(self.source, str) else None

    def of_model(self, label: str) -> TokenRule:
        """The same rule with the model called ``label``."""
        source = self.source
        named = source.model_copy(update={"model": label}) if isinstance(source, ModelToken) else label
        return self.model_copy(update={"source": named})


class VocabularyRecipe(Noun):
    """``tokenizer`` of a config: ``union``, ``base`` or a model; rules for single tokens."""

    source: Annotated[str, Field(min_length=1)] = "union"
    tokens: dict[str, TokenRule] = Field(default_factory=dict)
    pad_to_multiple_of: Annotated[int, Field(ge=1)] | None = None


class Recipe(Noun):
    """A merge as the user wrote it."""

    merge_method: Annotated[str, Field(min_length=1)]
    models: tuple[RecipeModel, ...] = ()
    slices: tuple[RecipeSlice, ...] = ()
    series: str | None = None
    steps: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    base_model: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    dtype: OutputType | None = None
    out_dtype: OutputType | None = None
    tokenizer_source: Annotated[str, Field(min_length=1)] | None = None
    tokenizer: VocabularyRecipe | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    donor: str | None = None
    tied_embeddings: Literal["tie", "untie"] | None = None
    allow_nonfinite: bool = False
    allow_pickle: bool = False
    backbone_only: bool = False
    allow: tuple[AllowedCheck, ...] = ()
    score: RecipeScore | None = None

    @model_validator(mode="after")
    def _one_kind_of_input(self) -> Recipe:
        given = [name for name in ("models", "slices", "series") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"exactly one of models, slices and series is needed, found {', '.join(given) or 'none'}")
        if self.steps is not None and self.series is None:
            raise ValueError("steps choose among the checkpoints of a series; give series too")
        if self.tokenizer_source is not None and self.tokenizer is not None:
            raise ValueError("tokenizer_source and tokenizer say the same; give one of them")
        if self.backbone_only and (self.slices or self.vocabulary is not None):
            raise ValueError(
                "backbone_only takes the heads of the donor as they are: neither with slices nor a tokenizer"
            )
        if self.slices and not any(one.count for one in self.slices):
            raise ValueError("no slice has a layer; widen a layer_range")
        return self

    @property
    def vocabulary(self) -> VocabularyRecipe | None:
        """What is said of the output's tokens; None where models have to agree on them."""
        if self.tokenizer_source is not None:
            return VocabularyRecipe(source=self.tokenizer_source)
        return self.tokenizer

    @property
    def output_type(self) -> str | None:
        """The wanted type of the output, as safetensors names it; None for that of the inputs."""
        wanted = self.out_dtype or self.dtype
        return None if wanted is None else SAFETENSORS_TYPE[wanted]


def read_recipe(path: Path) -> Recipe:
    """The recipe in the YAML file ``path``; a :class:`UserError` names the field at fault."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_loader())
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; give a merge config in mergekit's YAML") from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: a folder; give a merge config in mergekit's YAML") from error
    except ComposerError as error:
        raise UserError(
            f"{path}: several documents; write each merge into a file of its own, and name the folder of one as a "
            "model of the next"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML ({one_line(error)})") from error
    return recipe_from_data(data, str(path))


def recipe_from_data(data: Any, source: str) -> Recipe:
    """The recipe in ``data``, which came from ``source``."""
    if not isinstance(data, dict):
        raise UserError(f"{source}: found {type(data).__name__}; a merge config has keys such as merge_method, models")
    for key in map(str, data):
        if key in REFUSED_KEYS:
            raise UserError(f"{source}: field {key!r} of mergekit is not supported; {REFUSED_KEYS[key]}")
        if key not in Recipe.model_fields:
            raise UserError(f"{source}: unknown field {key!r}. {nearest_names(key, Recipe.model_fields)}")
    _refuse_in_slices(data.get("slices"), source)
    models = data.get("models")
    for index, entry in enumerate(models if isinstance(models, list) else []):
        for key in map(str, entry if isinstance(entry, dict) else {}):
            if key not in RecipeModel.model_fields:
                raise UserError(
                    f"{source}: models.{index}: unknown field {key!r}; a model has the fields model and parameters, "
                    "and numbers belong under the latter: parameters: {weight: 0.5}"
                )
    return Recipe.from_data(_with_references(_without_nones(data), ""), source)


def _with_references(value: Any, where: str) -> Any:
    """Models as one text each, where older versions of mergekit wrote them down as ``{model: {path: ...}}``."""
    if isinstance(value, list):
        return [_with_references(one, f"{where}.{index}") for index, one in enumerate(value)]
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for key, one in value.items():
        inner = f"{where}{'.' if where else ''}{key}"
        if key in REFERENCES and isinstance(one, dict):
            found[key] = _reference(one, inner)
        elif key == "tokens" and isinstance(one, dict):
            found[key] = {token: _with_references(rule, f"{inner}.{token}") for token, rule in one.items()}
        else:
            found[key] = one if key in ("parameters", "score") else _with_references(one, inner)
    return found


def _reference(value: dict[str, Any], where: str) -> str:
    """A model's reference: the path, ``@`` its revision, ``+`` its adapter."""
    parts = [_place(value[key], f"{where}.{key}") for key in ("model", "lora") if key in value]
    if "model" not in value or (unknown := sorted(set(value) - {"model", "lora"})):
        found = "no model" if "model" not in value else f"the field {unknown[0]!r}"
        raise UserError(f"{where}: found {found}; a model is a text (PATH, PATH@REVISION, PATH+ADAPTER)")
    return "+".join(parts)


def _place(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict) or not isinstance(value.get("path"), str) or set(value) - {"path", "revision"}:
        raise UserError(f"{where}: found {value!r:.80}; expected a text, or path and revision")
    return f"{value['path']}@{value['revision']}" if "revision" in value else f"{value['path']}"


def _refuse_in_slices(slices: Any, source: str) -> None:
    for index, entry in enumerate(slices if isinstance(slices, list) else []):
        if isinstance(entry, dict) and entry.get("residual_weight") is not None:
            raise UserError(
                f"{source}: slices.{index}.residual_weight: it has no effect in mergekit either; remove it, and give "
                "the sources weights"
            )


def _without_nones(data: Any) -> Any:
    """An empty ``parameters:`` in YAML reads as nothing given."""
    if isinstance(data, dict):
        return {key: _without_nones(value) for key, value in data.items() if value is not None}
    if isinstance(data, list):
        return [_without_nones(value) for value in data]
    return data


def _loader() -> type[yaml.SafeLoader]:
    """YAML without surprises: a key given twice is an error, not the later one's silent victory.

    Keys that ``<<: *anchor`` brings are not given: the mapping's own count before them, as YAML 1.1 has it.
    """

    class Loader(yaml.SafeLoader):
        pass

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
        own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        keys = [loader.construct_object(key, deep=True) for key in own]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", node.start_mark)
        loader.flatten_mapping(node)
        return loader.construct_mapping(node, deep=True)

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    return Loader
