"""Merge plan: every output tensor with what goes into it, decided and checked before a number is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from e2lm.errors import UserError, nearest_names
from e2lm.merge_strategy import WEIGHT, MergeStrategy, ScoredMerge, TrajectoryMerge, WeightedSum
from e2lm.plugin_manager import plugin_manager
from e2lm_merge.numbers.blocks import TensorMerge
from e2lm_merge.numbers.formats import EXACT_BYTES, FLOAT_BYTES, ONLY_READ
from e2lm_merge.numbers.stored import OpenFiles, StoredNumbers
from e2lm_merge.numbers.tensor_merge import agreed_numbers
from e2lm_merge.plan.backbone import heads_beside_backbone, tie_beside
from e2lm_merge.plan.compatibility import ModelFinding, compare_models
from e2lm_merge.plan.output_config import LayerOrigin, output_config, require_fitting
from e2lm_merge.plan.parameters import ParameterBook, Place, layer_of, parameter_book, resolved, stack_of, with_layer
from e2lm_merge.plan.recipe import Recipe
from e2lm_merge.plan.source import (
    EmbeddingTie,
    ModelSource,
    as_one_save,
    decided_tie,
    existing_folder,
    open_checkpoint,
    open_model,
    open_series,
    same_tensors,
)
from e2lm_merge.plan.vocabulary import OutputVocabulary, VocabularyBuilder, has_row_per_token, with_vocabulary

#: Name parts of tensors before the first layer: with slices they come from the first slice, all others outside the
#: layers from the last.
BEFORE_LAYERS = ("wte", "wpe", "project_in")
OUTPUT_HEADS = ("lm_head", "embed_out")

#: Checks that come behind those of shapes, which say the same more clearly.
TOLD_BY_SHAPES = ("depth", "vocabulary")


def is_before_layers(name: str) -> bool:
    """Whether a tensor outside the layers belongs to what stands before them: embeddings and what follows on these.

    >>> is_before_layers("transformer.word_embeddings_layernorm.weight"), is_before_layers("embed_out.weight")
    (True, False)
    """
    parts = [part for part in name.split(".") if part not in OUTPUT_HEADS]
    return any("embed" in part or part in BEFORE_LAYERS for part in parts)


@dataclass(frozen=True, slots=True)
class PlannedSource:
    """Layers from ``first_layer`` on of one model, with the parameters written beside it."""

    model: ModelSource
    first_layer: int
    book: ParameterBook


@dataclass(frozen=True, slots=True)
class PlannedSlice:
    """``count`` layers of the output out of ``stack``; all of every stack where that is None."""

    sources: tuple[PlannedSource, ...]
    base: PlannedSource | None
    count: int
    book: ParameterBook
    stack: str | None = None

    @property
    def every_source(self) -> tuple[PlannedSource, ...]:
        """The sources, then the base where there is one."""
        return self.sources if self.base is None else (*self.sources, self.base)

    def origin(self, offset: int) -> LayerOrigin:
        """Where layer ``offset`` of these comes from."""
        sources = self.every_source
        return LayerOrigin(tuple(one.model for one in sources), tuple(one.first_layer + offset for one in sources))


@dataclass(frozen=True, slots=True)
class _OutputTensor:
    """One tensor to plan: ``name`` is the lead's, ``layer`` the output's, ``own_layer(source)`` that of a source."""

    name: str
    output: str
    layer: int | None = None
    layers: int = 0
    depth: float = 0.0
    offset: int | None = None

    def name_in(self, source: PlannedSource) -> str:
        """What the tensor is called in ``source``."""
        return self.name if self.offset is None else with_layer(self.name, source.first_layer + self.offset)


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
    findings: tuple[ModelFinding, ...] = ()
    vocabulary: OutputVocabulary | None = None

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
    shapes, missing and extra tensors, types, ties, models whose merge has no meaning. What may have one is in
    ``findings``.
    """
    return _planner(recipe, near).plan()


def _planner(recipe: Recipe, near: Path | None) -> _MergePlanner:
    strategy = find_strategy(recipe.merge_method)
    if isinstance(strategy, ScoredMerge):
        raise UserError(
            f"merge_method {strategy.name!r} scores candidates; it needs the field score with items to score on"
        )
    return _MergePlanner(recipe, strategy, near)


@dataclass(frozen=True, slots=True)
class MergeCheck:
    """What a merge's models are and what speaks against it; ``findings`` are errors first."""

    models: tuple[ModelSource, ...]
    donor: ModelSource
    findings: tuple[ModelFinding, ...]

    @property
    def errors(self) -> int:
        """How many findings leave the merge without a meaning."""
        return sum(one.severity == "error" for one in self.findings)


def check_merge(recipe: Recipe, near: Path | None = None) -> MergeCheck:
    """All that :func:`plan_merge` would refuse or warn of; a :class:`UserError` where models cannot be opened."""
    planner = _planner(recipe, near)
    _, models, donor, findings = planner.opened_models()
    if not any(one.severity == "error" for one in findings):
        try:
            check_whole_numbers(planner.plan())
        except UserError as error:
            findings = [ModelFinding("tensors", "error", donor.label, str(error)), *findings]
    return MergeCheck(models, donor, tuple(findings))


def check_whole_numbers(plan: MergePlan) -> None:
    """A :class:`UserError` where models disagree on a tensor of whole numbers, which are not averaged."""
    for merge in plan.merges:
        if merge.dtype in EXACT_BYTES:
            agreed_numbers(merge)
    plan.files.close()


class _MergePlanner:
    """Holds what the steps of planning share."""

    def __init__(self, recipe: Recipe, strategy: MergeStrategy, near: Path | None) -> None:
        self.recipe = recipe
        self.strategy = strategy
        self.near = near
        self.files = OpenFiles()
        self.opened: dict[str, ModelSource] = {}
        self.steps: tuple[int, ...] = ()
        self.vocabulary: OutputVocabulary | None = None
        self.top = parameter_book(recipe.parameters, "parameters", strategy, of_model=False)

    def plan(self) -> MergePlan:
        recipe, strategy = self.recipe, self.strategy
        slices, models, donor, findings = self.opened_models()
        _refuse_errors([one for one in findings if one.check not in TOLD_BY_SHAPES])
        heads = heads_beside_backbone(models, donor) if recipe.backbone_only else None
        tie = (
            decided_tie(models, recipe.tied_embeddings) if heads is None else tie_beside(heads, recipe.tied_embeddings)
        )
        self._check_tensors(models, tie)
        self.vocabulary = self._vocabulary(models, donor)
        merges = self._merges(slices, tie)
        if heads is not None:
            merges += heads.merges(self.files, find_strategy("passthrough"), recipe.output_type, recipe.seed)
        _refuse_errors(findings)
        kinds = {merge.dtype for merge in merges if merge.dtype in FLOAT_BYTES}
        origins = [one.origin(offset) for one in slices for offset in range(one.count)] if recipe.slices else None
        config = output_config(donor, tie, kinds, origins)
        if self.vocabulary is not None and config:
            config = with_vocabulary(config, self.vocabulary, donor)
        ordered = tuple(sorted(merges, key=lambda merge: merge.name))
        if origins is not None and config:
            require_fitting(config, donor, {merge.name: merge.shape for merge in ordered}, donor.index.tensors)
        return MergePlan(
            recipe, strategy, ordered, models, donor, config, self.files, self.steps, findings=tuple(findings),
            vocabulary=self.vocabulary,
        )  # fmt: skip

    def opened_models(self) -> tuple[list[PlannedSlice], tuple[ModelSource, ...], ModelSource, list[ModelFinding]]:
        """Slices, models, the donor, and what speaks against merging them; allowed errors are warnings."""
        given = self._series_slices() if self.recipe.series is not None else self._slices()
        slices = self._as_one_save(given)
        self._check_counts(slices)
        models = _models_of(slices)
        donor = self._donor(models)
        found = [
            replace(one, severity="warning") if one.check in self.recipe.allow else one
            for one in compare_models(models, donor, self.recipe.vocabulary is not None)
            # Of layers that are stacked each is what its own model says: planning the config compares them one by one.
            if not (self.recipe.slices and one.check == "layers")
        ]
        if self.spacing_note is not None:
            found.append(ModelFinding("spacing", "warning", str(self.recipe.series), self.spacing_note))
        if self.recipe.series is None:
            found += _twice(slices)
        return slices, models, donor, found

    # -- inputs --------------------------------------------------------------------------------------------------

    def _open(self, reference: str) -> ModelSource:
        if reference not in self.opened:
            self.opened[reference] = open_model(reference, self.near, self.recipe.allow_pickle)
        return self.opened[reference]

    def _series_slices(self) -> list[PlannedSlice]:
        recipe = self.recipe
        assert recipe.series is not None
        checkpoints = open_series(recipe.series, recipe.steps, self.near, recipe.allow_pickle)
        self.steps = tuple(checkpoint.step for checkpoint in checkpoints)
        used = list(checkpoints)
        if isinstance(self.strategy, TrajectoryMerge):
            given = resolved(self.strategy.defaults, [self.top], Place("", 0.0))
            weights = self._weigh(self.strategy, self.strategy.places(checkpoints, given))
            self.spacing_note = self.strategy.spacing_note(checkpoints, given)
            used = [checkpoint for checkpoint, weight in zip(checkpoints, weights, strict=True) if weight != 0]
            self.steps = tuple(checkpoint.step for checkpoint in used)
            self.series_weights = tuple(weight for weight in weights if weight != 0)
        empty = ParameterBook("series", {})
        sources = tuple(PlannedSource(open_checkpoint(one, recipe.allow_pickle), 0, empty) for one in used)
        base = None if recipe.base_model is None else PlannedSource(self._open(recipe.base_model), 0, empty)
        return [PlannedSlice(sources, self._used_base(base), sources[0].model.layers, empty)]

    series_weights: tuple[float, ...] | None = None
    spacing_note: str | None = None

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
        kept = self._without_base(sources, self.recipe.base_model)
        if base is not None and not any(self._is_base(source, self.recipe.base_model) for source in sources):
            kept = self._with_base(kept, base)
        layers = (kept or sources)[0].model.layers
        return [PlannedSlice(tuple(kept), self._used_base(base), layers, ParameterBook("", {}))]

    def _with_base(self, sources: list[PlannedSource], base: PlannedSource) -> list[PlannedSource]:
        """A strategy that knows no base merges it as one more model where there is a weight for all, as in mergekit.

        Without one mergekit stops; here the base then gives config and tokenizer alone.
        """
        if self.strategy.needs_base or self.strategy.takes_base:
            return sources
        if WEIGHT in self.strategy.model_parameters and WEIGHT not in self.top.settings:
            return sources
        return [*sources, base]

    def _as_one_save(self, slices: list[PlannedSlice]) -> list[PlannedSlice]:
        """The same slices of models under the names of one save."""
        models = _models_of(slices)
        renamed = {model.label: one for model, one in zip(models, as_one_save(models), strict=True) if one is not model}
        self.opened |= {label: one for label, one in renamed.items() if label in self.opened}

        def of(source: PlannedSource) -> PlannedSource:
            return replace(source, model=renamed.get(source.model.label, source.model))

        return [
            replace(one, sources=tuple(map(of, one.sources)), base=None if one.base is None else of(one.base))
            for one in slices
        ]

    def _slice(self, index: int) -> PlannedSlice:
        entry = self.recipe.slices[index]
        sources = []
        for position, one in enumerate(entry.sources):
            where = f"slices.{index}.sources.{position}"
            model = self._open(one.model)
            if model.stacks and model.main_stack is None:
                raise UserError(
                    f"{where}: {one.model} has several stacks of layers ({', '.join(sorted(model.stacks))}), and "
                    "layer_range does not say which is meant; merge whole models"
                )
            if one.layer_range[1] > model.layers:
                raise UserError(
                    f"{where}.layer_range: found {list(one.layer_range)}, but {one.model} has {model.layers} layers"
                )
            book = parameter_book(one.parameters, f"{where}.parameters", self.strategy, of_model=True)
            sources.append(PlannedSource(model, one.layer_range[0], book))
        reference = entry.base_model or self.recipe.base_model
        base = next((one for one in sources if self._is_base(one, reference)), None)
        if base is None and reference is not None:
            base = PlannedSource(self._open(reference), sources[0].first_layer, ParameterBook("base_model", {}))
        book = parameter_book(entry.parameters, f"slices.{index}.parameters", self.strategy, of_model=False)
        kept = tuple(self._without_base(sources, reference))
        stack = sources[0].model.main_stack
        return PlannedSlice(kept, self._used_base(base), entry.count, book, stack)

    def _is_base(self, source: PlannedSource, reference: str | None) -> bool:
        """Whether ``source`` holds the base's weights, however it is written."""
        if reference is None or source.model.label == reference:
            return reference is not None
        return source.model.is_same(self._open(reference))

    def _without_base(self, sources: list[PlannedSource], reference: str | None) -> list[PlannedSource]:
        """Where deltas are merged, the base's own delta is nothing; mergekit's configs list it all the same."""
        if not (self.strategy.needs_base or self.strategy.takes_base):
            return sources
        kept = []
        for source in sources:
            if not self._is_base(source, reference):
                kept.append(source)
            elif source.book.settings:
                raise UserError(f"{source.book.where}: the base model takes no parameters; remove them")
        return kept

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
                wanted = existing_folder(self.recipe.donor, self.near)
                found = [
                    one for one in by_label.values() if wanted is not None and one.folder.resolve() == wanted.resolve()
                ]
                if found:
                    return found[0]
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

    def _vocabulary(self, models: Sequence[ModelSource], donor: ModelSource) -> OutputVocabulary | None:
        """The output's tokens and their rows where the recipe speaks of them."""
        wanted = self.recipe.vocabulary
        if wanted is None:
            return None
        base = donor if self.recipe.base_model is None else self._open(self.recipe.base_model)
        known = [*models, donor]
        return VocabularyBuilder(wanted, known, base, self.recipe.base_model is not None).vocabulary(self._open)

    # -- tensors -------------------------------------------------------------------------------------------------

    def _merges(self, slices: Sequence[PlannedSlice], tie: EmbeddingTie) -> list[TensorMerge]:
        total = sum(one.count for one in slices)
        first_layer = 0
        merges = []
        for index, one in enumerate(slices):
            ends = (index == 0, index == len(slices) - 1)
            for tensor in _tensors_of(one, first_layer, total, ends, tie):
                merges.append(self._merge(one, tensor, tie))
            first_layer += one.count
        return merges

    def _merge(self, one: PlannedSlice, tensor: _OutputTensor, tie: EmbeddingTie) -> TensorMerge:
        def as_stored(source: PlannedSource) -> StoredNumbers:
            own = tie.stored_name(tensor.name_in(source), source.model)
            if own not in source.model.index.tensors:
                raise UserError(
                    f"{source.model.label}: tensor {own!r} is missing; {one.sources[0].model.label} has its like"
                )
            return source.model.numbers(own, self.files)

        numbers = self._by_token(one, as_stored) if has_row_per_token(tensor.name) else as_stored

        def own_parameters(source: PlannedSource) -> dict[str, Any]:
            # As in mergekit, what a model's own parameters are matched with is the name of its own tensor.
            place = Place(tensor.name_in(source), tensor.depth)
            return resolved(self.strategy.model_defaults, [source.book, one.book, self.top], place)

        sources = [(source, numbers(source)) for source in one.sources]
        base = None if one.base is None else numbers(one.base)
        inputs = [read for _, read in sources] + ([] if base is None else [base])
        _check_alike(tensor.output, inputs)
        own = [own_parameters(source) for source in one.sources]
        parameters = resolved(self.strategy.defaults, [one.book, self.top], Place(tensor.output, tensor.depth))
        weights = self._weights(tensor.output, [read.label for _, read in sources], own)
        order = list(range(len(sources)))
        if not self.strategy.ordered:
            order.sort(key=lambda index: (sources[index][0].model.place, sources[index][0].first_layer))
        settled = self.strategy.settled(parameters)
        merge = TensorMerge(
            name=tensor.output,
            shape=inputs[0].shape,
            dtype=_output_type(self.recipe.output_type, inputs),
            strategy=settled,
            sources=tuple(sources[index][1] for index in order),
            base=base,
            weights=tuple(weights[index] for index in order),
            parameters=parameters,
            model_parameters=tuple(own[index] for index in order),
            seed=self.recipe.seed,
            layer=tensor.layer,
            layers=tensor.layers,
            allow_nonfinite=self.recipe.allow_nonfinite,
            identities=() if isinstance(settled, WeightedSum) else tuple(sources[i][0].model.digest for i in order),
        )
        if self.strategy.check is not None:
            self.strategy.check(merge.group())
        return merge

    def _by_token(
        self, one: PlannedSlice, stored: Callable[[PlannedSource], StoredNumbers]
    ) -> Callable[[PlannedSource], StoredNumbers]:
        """``stored`` with its rows in the order of the output's tokens, where the recipe speaks of these."""
        vocabulary = self.vocabulary
        if vocabulary is None:
            return stored
        known = {source.model.label: stored(source) for source in one.every_source}
        return lambda source: vocabulary.numbers(source.model.label, known)

    def _weights(self, name: str, labels: Sequence[str], own: list[dict[str, Any]]) -> tuple[float, ...]:
        if self.series_weights is not None:
            return self.series_weights
        if isinstance(self.strategy, TrajectoryMerge):
            return self._weigh(self.strategy, self.steps or range(1, len(labels) + 1))
        if WEIGHT not in self.strategy.model_parameters:
            return (1.0,) * len(labels)
        weights = tuple(float(one.pop(WEIGHT)) for one in own)
        # Differences from a base may all count nothing: the base is what is left. A mean of nothing is none.
        if not any(weights) and not self.strategy.needs_base:
            raise UserError(f"tensor {name!r}: the weights of all models are zero; give one a weight")
        return weights


def _refuse_errors(findings: Sequence[ModelFinding]) -> None:
    errors = [one for one in findings if one.severity == "error"]
    if errors:
        first, more = errors[0], f" ({len(errors) - 1} more such)" if len(errors) > 1 else ""
        raise UserError(
            f"{first.model}: {first.message}{more}: such models make no model together; merge others, or say "
            f"allow: [{first.check}] (--allow {first.check}), and the donor's config counts"
        )


def _twice(slices: Sequence[PlannedSlice]) -> Iterator[ModelFinding]:
    """A warning for every model whose weights are merged twice into the same layers."""
    told = set()
    for one in slices:
        for index, source in enumerate(one.sources):
            for other in one.sources[:index]:
                pair = (source.model.label, other.model.label)
                if pair in told or source.first_layer != other.first_layer or not source.model.is_same(other.model):
                    continue
                told.add(pair)
                message = f"holds the same weights as {other.model.label}, which is merged too: they count twice"
                yield ModelFinding("duplicate", "warning", source.model.label, message)


def _models_of(slices: Sequence[PlannedSlice]) -> tuple[ModelSource, ...]:
    """Every model that takes part, once, in order."""
    return tuple({source.model.label: source.model for one in slices for source in one.every_source}.values())


def _tensors_of(
    one: PlannedSlice, first_layer: int, total: int, ends: tuple[bool, bool], tie: EmbeddingTie
) -> Iterator[_OutputTensor]:
    """What of the output comes from a slice; ``ends`` says whether it is the first and whether it is the last."""
    lead = one.sources[0]
    for name in sorted({*lead.model.index.tensors, *tie.added} - tie.ignored):
        stack, layer = stack_of(name), layer_of(name)
        if stack is None or layer is None:
            if ends[0 if is_before_layers(name) else 1]:
                yield _OutputTensor(name, name)
        elif one.stack is None or stack != one.stack:
            # A stack beside the one that is sliced stays as it is, and comes from the first slice.
            if ends[0]:
                count = lead.model.layers_of(stack)
                yield _OutputTensor(name, name, layer, count, _depth(layer, count))
        elif 0 <= (offset := layer - lead.first_layer) < one.count:
            place = first_layer + offset
            yield _OutputTensor(name, with_layer(name, place), place, total, _depth(offset, one.count), offset)


def _depth(layer: int, count: int) -> float:
    """How deep a layer lies in what a gradient spans; a single layer lies at its end, as in mergekit."""
    return min(1.0, layer / (count - 1)) if count > 1 else 1.0


def _check_alike(name: str, inputs: Sequence[StoredNumbers]) -> None:
    first = inputs[0]
    for one in inputs:
        if one.shape != first.shape:
            embedding = is_before_layers(name) or any(part in name.split(".") for part in OUTPUT_HEADS)
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


def _output_type(wanted: str | None, inputs: Sequence[StoredNumbers]) -> str:
    kinds = {one.dtype for one in inputs}
    if kinds & set(EXACT_BYTES):
        return inputs[0].dtype
    if wanted is not None:
        return wanted
    return kinds.pop() if len(kinds) == 1 and not kinds & set(ONLY_READ) else "F32"
