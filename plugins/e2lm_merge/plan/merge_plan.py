"""Merge plan: every output tensor with what goes into it, decided and checked before a number is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from e2lm.errors import UserError, nearest_names
from e2lm.merge_strategy import WEIGHT, MergeStrategy, ScoredMerge, TrajectoryMerge
from e2lm.plugin_manager import plugin_manager
from e2lm_merge.numbers.blocks import TensorMerge
from e2lm_merge.numbers.formats import EXACT_BYTES, FLOAT_BYTES
from e2lm_merge.numbers.stored import FileNumbers, OpenFiles
from e2lm_merge.plan.parameters import ParameterBook, Place, layer_of, parameter_book, resolved, with_layer
from e2lm_merge.plan.recipe import TORCH_TYPE_NAME, Recipe
from e2lm_merge.plan.source import (
    EmbeddingTie,
    ModelSource,
    decided_tie,
    open_checkpoint,
    open_model,
    open_series,
    same_tensors,
)

#: Name parts of tensors before the first layer: with slices they come from the first slice, all others outside the
#: layers from the last.
BEFORE_LAYERS = ("embed_tokens", "embed_in", "wte", "wpe", "embeddings")

LAYER_COUNT_FIELDS = ("num_hidden_layers", "n_layer", "num_layers")


@dataclass(frozen=True, slots=True)
class PlannedSource:
    """Layers from ``first_layer`` on of one model, with the parameters written beside it."""

    model: ModelSource
    first_layer: int
    book: ParameterBook


@dataclass(frozen=True, slots=True)
class PlannedSlice:
    """``count`` layers of the output."""

    sources: tuple[PlannedSource, ...]
    base: PlannedSource | None
    count: int
    book: ParameterBook


@dataclass(frozen=True)
class MergePlan:
    """What a merge will do. ``merges`` are in order of name; ``config`` is the output's ``config.json``."""

    recipe: Recipe
    strategy: MergeStrategy
    merges: tuple[TensorMerge, ...]
    models: tuple[ModelSource, ...]
    donor: ModelSource
    config: dict[str, Any]
    files: OpenFiles
    steps: tuple[int, ...]

    @cached_property
    def output_bytes(self) -> int:
        """Bytes of tensors that will be written."""
        return sum(merge.nbytes for merge in self.merges)

    @property
    def params(self) -> int:
        """Numbers in the output."""
        return sum(merge.numel for merge in self.merges)


def find_strategy(name: str) -> MergeStrategy:
    """The registered strategy called ``name``."""
    found: MergeStrategy = plugin_manager().find(
        "e2lm_register_merge_strategies", MergeStrategy, name, "merge strategy (merge_method)"
    )
    return found


def plan_merge(recipe: Recipe, near: Path | None = None) -> MergePlan:
    """The plan of ``recipe``; relative paths are tried from the current folder, then from ``near``.

    Every mistake that can be seen without reading the weights is a :class:`UserError` here: unknown names, ranges,
    shapes, missing and extra tensors, types, ties.
    """
    strategy = find_strategy(recipe.merge_method)
    if isinstance(strategy, ScoredMerge):
        raise UserError(
            f"merge_method {strategy.name!r} scores candidates; it needs the field score with items to score on"
        )
    return _MergePlanner(recipe, strategy, near).plan()


class _MergePlanner:
    """Holds what the steps of planning share."""

    def __init__(self, recipe: Recipe, strategy: MergeStrategy, near: Path | None) -> None:
        self.recipe = recipe
        self.strategy = strategy
        self.near = near
        self.files = OpenFiles()
        self.opened: dict[str, ModelSource] = {}
        self.steps: tuple[int, ...] = ()
        self.top = parameter_book(recipe.parameters, "parameters", strategy, of_model=False)

    def plan(self) -> MergePlan:
        recipe, strategy = self.recipe, self.strategy
        slices = self._series_slices() if recipe.series is not None else self._slices()
        self._check_counts(slices)
        taken = [source for one in slices for source in (*one.sources, *([one.base] if one.base else []))]
        models = tuple({source.model.label: source.model for source in taken}.values())
        donor = self._donor(models)
        tie = decided_tie(models, recipe.tied_embeddings)
        self._check_tensors(models, tie)
        merges = self._merges(slices, tie)
        kinds = {merge.dtype for merge in merges if merge.dtype in FLOAT_BYTES}
        config = _output_config(donor, tie, sum(one.count for one in slices), kinds)
        ordered = tuple(sorted(merges, key=lambda merge: merge.name))
        return MergePlan(recipe, strategy, ordered, models, donor, config, self.files, self.steps)

    # -- inputs --------------------------------------------------------------------------------------------------

    def _open(self, reference: str) -> ModelSource:
        if reference not in self.opened:
            self.opened[reference] = open_model(reference, self.near)
        return self.opened[reference]

    def _series_slices(self) -> list[PlannedSlice]:
        recipe = self.recipe
        assert recipe.series is not None
        checkpoints = open_series(recipe.series, recipe.steps, self.near)
        self.steps = tuple(checkpoint.step for checkpoint in checkpoints)
        used = list(checkpoints)
        if isinstance(self.strategy, TrajectoryMerge):
            weights = self._weigh(self.strategy, self.steps)
            used = [checkpoint for checkpoint, weight in zip(checkpoints, weights, strict=True) if weight != 0]
            self.steps = tuple(checkpoint.step for checkpoint in used)
            self.series_weights = tuple(weight for weight in weights if weight != 0)
        empty = ParameterBook("series", {})
        sources = tuple(PlannedSource(open_checkpoint(one), 0, empty) for one in used)
        base = None if recipe.base_model is None else PlannedSource(self._open(recipe.base_model), 0, empty)
        return [PlannedSlice(sources, self._used_base(base), sources[0].model.layers, empty)]

    series_weights: tuple[float, ...] | None = None

    def _weigh(self, strategy: TrajectoryMerge, steps: Sequence[int]) -> tuple[float, ...]:
        return strategy.weigh(steps, resolved(strategy.defaults, [self.top], Place("", 0.0)))

    def _slices(self) -> list[PlannedSlice]:
        if self.recipe.slices:
            return [self._slice(index) for index in range(len(self.recipe.slices))]
        sources = []
        for index, entry in enumerate(self.recipe.models):
            book = parameter_book(entry.parameters, f"models.{index}.parameters", self.strategy, of_model=True)
            sources.append(PlannedSource(self._open(entry.model), 0, book))
        base = None
        if self.recipe.base_model is not None:
            base = PlannedSource(self._open(self.recipe.base_model), 0, ParameterBook("base_model", {}))
        kept = self._without_base(sources)
        layers = (kept or sources)[0].model.layers
        return [PlannedSlice(tuple(kept), self._used_base(base), layers, ParameterBook("", {}))]

    def _slice(self, index: int) -> PlannedSlice:
        entry = self.recipe.slices[index]
        sources = []
        for position, one in enumerate(entry.sources):
            where = f"slices.{index}.sources.{position}"
            model = self._open(one.model)
            if one.layer_range[1] > model.layers:
                raise UserError(
                    f"{where}.layer_range: found {list(one.layer_range)}, but {one.model} has {model.layers} layers"
                )
            book = parameter_book(one.parameters, f"{where}.parameters", self.strategy, of_model=True)
            sources.append(PlannedSource(model, one.layer_range[0], book))
        base = next((one for one in sources if one.model.label == self.recipe.base_model), None)
        if base is None and self.recipe.base_model is not None:
            first = sources[0].first_layer
            base = PlannedSource(self._open(self.recipe.base_model), first, ParameterBook("base_model", {}))
        book = parameter_book(entry.parameters, f"slices.{index}.parameters", self.strategy, of_model=False)
        return PlannedSlice(tuple(self._without_base(sources)), self._used_base(base), entry.count, book)

    def _without_base(self, sources: list[PlannedSource]) -> list[PlannedSource]:
        """Where deltas are merged, the base's own delta is nothing; mergekit's configs list it all the same."""
        if not (self.strategy.needs_base or self.strategy.takes_base):
            return sources
        for source in sources:
            if source.model.label == self.recipe.base_model and source.book.settings:
                raise UserError(f"{source.book.where}: the base model takes no parameters; remove them")
        return [source for source in sources if source.model.label != self.recipe.base_model]

    def _used_base(self, base: PlannedSource | None) -> PlannedSource | None:
        if self.strategy.needs_base and base is None:
            raise UserError(
                f"base_model: missing; {self.strategy.name!r} needs a base model; name it: base_model: MODEL"
            )
        return base if self.strategy.needs_base or self.strategy.takes_base else None

    def _check_counts(self, slices: Sequence[PlannedSlice]) -> None:
        least, most = self.strategy.inputs
        for one in slices:
            count = len(one.sources)
            if count < least or (most is not None and count > most):
                wanted = f"{least} or more" if most is None else f"{least}" if least == most else f"{least} to {most}"
                beside = " beside the base model" if self.strategy.needs_base else ""
                raise UserError(f"{self.strategy.name!r} merges {wanted} models{beside}, found {count}")

    def _donor(self, models: Sequence[ModelSource]) -> ModelSource:
        by_label = {model.label: model for model in (*models, *self.opened.values())}
        if self.recipe.donor is not None:
            if self.recipe.donor not in by_label:
                raise UserError(
                    f"donor: {self.recipe.donor!r} is none of the models. " + nearest_names(self.recipe.donor, by_label)
                )
            return by_label[self.recipe.donor]
        if self.recipe.base_model is not None:
            return by_label[self.recipe.base_model]
        return models[-1] if self.recipe.series is not None else models[0]

    def _check_tensors(self, models: Sequence[ModelSource], tie: EmbeddingTie) -> None:
        if not self.recipe.slices:
            same_tensors(models, tie.ignored | tie.added)

    # -- tensors -------------------------------------------------------------------------------------------------

    def _merges(self, slices: Sequence[PlannedSlice], tie: EmbeddingTie) -> list[TensorMerge]:
        merges = []
        total = sum(one.count for one in slices)
        first_layer = 0
        for index, one in enumerate(slices):
            lead = one.sources[0]
            for name in sorted({*lead.model.index.tensors, *tie.added} - tie.ignored):
                layer = layer_of(name)
                if layer is None:
                    before = any(part in name.split(".") for part in BEFORE_LAYERS)
                    if index == (0 if before else len(slices) - 1):
                        merges.append(self._merge(one, name, None, 0, total, tie))
                elif 0 <= (offset := layer - lead.first_layer) < one.count:
                    merges.append(self._merge(one, name, first_layer + offset, offset, total, tie))
            first_layer += one.count
        return merges

    def _merge(
        self, one: PlannedSlice, name: str, layer: int | None, offset: int, total: int, tie: EmbeddingTie
    ) -> TensorMerge:
        def numbers(source: PlannedSource) -> FileNumbers:
            own = name if layer is None else with_layer(name, source.first_layer + offset)
            own = tie.stored_name(own, source.model)
            stored = source.model.index.tensors.get(own)
            if stored is None:
                raise UserError(
                    f"{source.model.label}: tensor {own!r} is missing; {one.sources[0].model.label} has its like"
                )
            return FileNumbers(source.model.label, stored, self.files)

        output = name if layer is None else with_layer(name, layer)
        place = Place(output, offset / (one.count - 1) if layer is not None and one.count > 1 else 0.0)
        sources = [(source, numbers(source)) for source in one.sources]
        base = None if one.base is None else numbers(one.base)
        inputs = [read for _, read in sources] + ([] if base is None else [base])
        _check_alike(output, inputs)
        own = [
            resolved(self.strategy.model_defaults, [source.book, one.book, self.top], place) for source, _ in sources
        ]
        parameters = resolved(self.strategy.defaults, [one.book, self.top], place)
        weights = self._weights(output, [read.label for _, read in sources], own)
        order = list(range(len(sources)))
        if not self.strategy.ordered:
            order.sort(key=lambda index: (sources[index][1].label, sources[index][0].first_layer))
        merge = TensorMerge(
            name=output,
            shape=inputs[0].shape,
            dtype=_output_type(self.recipe.output_type, inputs),
            strategy=self.strategy.settled(parameters),
            sources=tuple(sources[index][1] for index in order),
            base=base,
            weights=tuple(weights[index] for index in order),
            parameters=parameters,
            model_parameters=tuple(own[index] for index in order),
            seed=self.recipe.seed,
            layer=layer,
            layers=total,
            allow_nonfinite=self.recipe.allow_nonfinite,
        )
        if self.strategy.check is not None:
            self.strategy.check(merge.group())
        return merge

    def _weights(self, name: str, labels: Sequence[str], own: list[dict[str, Any]]) -> tuple[float, ...]:
        if self.series_weights is not None:
            return self.series_weights
        if isinstance(self.strategy, TrajectoryMerge):
            return self._weigh(self.strategy, self.steps or range(1, len(labels) + 1))
        if WEIGHT not in self.strategy.model_parameters:
            return (1.0,) * len(labels)
        weights = tuple(float(one.pop(WEIGHT)) for one in own)
        if not any(weights):
            raise UserError(f"tensor {name!r}: the weights of all models are zero; give one a weight")
        return weights


def _check_alike(name: str, inputs: Sequence[FileNumbers]) -> None:
    first = inputs[0]
    for one in inputs:
        if one.shape != first.shape:
            embedding = any(part in name.split(".") for part in (*BEFORE_LAYERS, "lm_head", "embed_out"))
            rows_only = one.shape[1:] == first.shape[1:]
            hint = "the vocabularies differ; merge models of one vocabulary"
            if not (embedding and rows_only):
                hint = "the sizes differ; merge models of one architecture"
            raise UserError(
                f"tensor {name!r}: {one.label} has shape {list(one.shape)}, "
                f"{first.label} has {list(first.shape)}: {hint}"
            )
        if one.dtype not in FLOAT_BYTES and one.dtype not in EXACT_BYTES:
            raise UserError(
                f"{one.label}: tensor {name!r} is stored as {one.dtype}; merged are {', '.join(FLOAT_BYTES)} "
                "(convert the checkpoint to bfloat16 first)"
            )
        if one.dtype in EXACT_BYTES and one.dtype != first.dtype:
            raise UserError(
                f"tensor {name!r}: {one.label} stores {one.dtype}, {first.label} {first.dtype}; make them one type"
            )


def _output_type(wanted: str | None, inputs: Sequence[FileNumbers]) -> str:
    kinds = {one.dtype for one in inputs}
    if kinds & set(EXACT_BYTES):
        return inputs[0].dtype
    if wanted is not None:
        return wanted
    return kinds.pop() if len(kinds) == 1 else "F32"


def _output_config(donor: ModelSource, tie: EmbeddingTie, layers: int, kinds: set[str]) -> dict[str, Any]:
    """The donor's config with what the merge changed: layers, type, tie."""
    config = dict(donor.config)
    if not config:
        return config
    if tie.flag is not None:
        config["tie_word_embeddings"] = tie.flag
    for field in LAYER_COUNT_FIELDS:
        if field in config and layers:
            config[field] = layers
    if "layer_types" in config and len(config["layer_types"]) != layers:
        config["layer_types"] = (config["layer_types"] * layers)[:layers]
    if len(kinds) == 1:
        for field in ("dtype", "torch_dtype"):
            if field in config:
                config[field] = TORCH_TYPE_NAME[next(iter(kinds))]
    return config
