"""The models of a merge: where a reference leads, what is stored there, and what ties the two embeddings.

A reference is a folder, ``folder@step`` of a training run, or ``owner/name@revision`` of the Hub, each with ``+folder``
of a LoRA adapter behind it. Which model it is, is decided by what is stored, never by how the reference is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from e2lm.checkpoint import Checkpoint
from e2lm.errors import UserError, nearest_names, no_such, one_line
from e2lm.pickled_weights import is_pickled, read_pickled_index
from e2lm.series import Series
from e2lm.step_name import step_of
from e2lm.weights import (
    SHARD_INDEX,
    SINGLE_FILE,
    StoredTensor,
    WeightIndex,
    holds_weights,
    read_weight_index,
)
from e2lm_merge.numbers.stored import FileNumbers, OpenFiles, StoredNumbers
from e2lm_merge.plan.adapter import ADAPTER_CONFIG, LoraAdapter, adapted, open_adapter, read_adapter_config

CONFIG_FILE = "config.json"

#: Output head and input embedding that ``tie_word_embeddings`` makes one: Llama, Qwen, OLMo and Mistral; GPT-2; NeoX.
TIED_PAIRS = (
    ("lm_head.weight", "model.embed_tokens.weight"),
    ("lm_head.weight", "transformer.wte.weight"),
    ("embed_out.weight", "gpt_neox.embed_in.weight"),
)

#: First parts of the names of heads of other tasks; those of language models say "head" themselves, but for NeoX's.
HEADS = ("score", "classifier", "qa_outputs", "embed_out", "cls", "pooler", "summary")

GGUF = ".gguf"
NO_GGUF = (
    "GGUF holds quantised numbers, which are not merged; merge the safetensors it was made from and convert that, "
    "or let from_pretrained(folder, gguf_file=...) and save_pretrained of transformers write safetensors of it"
)

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")

#: What belongs to a model beside its weights: configuration, tokenizer, processors, chat templates, its own code.
DONOR_FILES = (
    "*.json", "*.jinja", "*.py", "*.model", "*.tiktoken", "*.vocab", "*.bpe", "*.spm", "vocab*.txt", "merges*.txt",
    "additional_chat_templates/*",
)  # fmt: skip
#: Of those, what is made anew, and what trainers, evaluations and uploaders leave: it says nothing of the model.
NOT_OF_THE_DONOR = (
    "config.json", "merge.json", "series.json", "*.index.json", "trainer_state.json", "training_args*",
    "*results*.json", "optimizer*", "scheduler*", "adapter_config.json",
)  # fmt: skip

#: What a checkpoint on the Hub is read from.
WANTED_FILES = ("*.safetensors", *DONOR_FILES)
WANTED_PICKLES = ("pytorch_model*.bin",)


#: Parts of the names of stacks of layers that lie beside those of the language model.
OTHER_STACKS = ("vision", "visual", "image", "audio", "speech", "mtp", "perceiver", "resampler", "qformer")

#: Where the config of a model with several parts keeps what its language model is.
TEXT_PARTS = ("text_config", "language_config", "llm_config")
LAYER_COUNT_FIELDS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")

#: Bytes of each end of every tensor that tell models apart; where these agree, all bytes are compared.
TOLD_BY_BYTES = 1 << 12
COMPARED_BYTES = 1 << 22


@dataclass(frozen=True)
class ModelSource:
    """One model: ``label`` is the reference as the user wrote it."""

    label: str
    folder: Path
    index: WeightIndex
    config: dict[str, Any]
    adapter: LoraAdapter | None = None
    own_names: Mapping[StoredTensor, str] | None = None

    def numbers(self, name: str, files: OpenFiles) -> StoredNumbers:
        """The numbers of the tensor ``name``, with the adapter merged in where there is one."""
        stored = self.index.tensors[name]
        if self.adapter is None or self.own_names is None:
            return FileNumbers(self.label, stored, files)
        return adapted(self.label, stored, self.adapter, self.own_names[stored], files)

    @cached_property
    def stacks(self) -> dict[str, int]:
        """How many layers each stack has, as the tensors' names tell."""
        from e2lm_merge.plan.parameters import layer_of, stack_of

        found: dict[str, int] = {}
        for name in self.index.tensors:
            stack, layer = stack_of(name), layer_of(name)
            if stack is not None and layer is not None:
                found[stack] = max(found.get(stack, 0), layer + 1)
        return found

    @cached_property
    def main_stack(self) -> str | None:
        """The stack of the language model; None where there is none, or more than one could be meant."""
        told = [name for name in self.stacks if not any(part in name for part in OTHER_STACKS)]
        found = told if len(self.stacks) > 1 else list(self.stacks)
        return found[0] if len(found) == 1 else None

    def layers_of(self, stack: str) -> int:
        """Layers of ``stack``; heads that predict further tokens, which some models store as more layers, are none."""
        stored = self.stacks.get(stack, 0)
        if stack != self.main_stack or not text_part(self.config).get("num_nextn_predict_layers"):
            return stored
        said = layer_count(self.config)
        return stored if said is None else min(said, stored)

    @property
    def layers(self) -> int:
        """How many layers the language model has, or the deepest stack where it is not known which that is."""
        if self.main_stack is not None:
            return self.layers_of(self.main_stack)
        return max(self.stacks.values(), default=0)

    @cached_property
    def place(self) -> tuple[str, str]:
        """Where the model lies, however it is written: the order of sums goes by it."""
        adapter = "" if self.adapter is None else str(self.adapter.folder.resolve())
        return str(self.folder.resolve()), adapter

    @cached_property
    def digest(self) -> str:
        """SHA-256 over names, types, shapes and both ends of every tensor: the same weights give the same."""
        told = sha256(b"" if self.adapter is None else self.adapter.digest.encode())
        for name, stored in sorted(self.index.tensors.items()):
            told.update(f"{name}\0{stored.dtype}\0{list(stored.shape)}\0".encode())
            with open(stored.file, "rb") as handle:
                for start in {stored.start, max(stored.start, stored.end - TOLD_BY_BYTES)}:
                    handle.seek(start)
                    told.update(handle.read(min(TOLD_BY_BYTES, stored.end - start)))
        return told.hexdigest()

    def is_same(self, other: ModelSource) -> bool:
        """Whether both hold the same numbers under the same names, wherever they lie."""
        alone = self.adapter is None and other.adapter is None
        if alone and self.folder.resolve() == other.folder.resolve():
            return True
        if self.digest != other.digest:
            return False
        return all(
            _equal_bytes(stored, other.index.tensors[name]) for name, stored in sorted(self.index.tensors.items())
        )

    @property
    def beside_weights(self) -> list[Path]:
        """Files that belong to the model beside weights and config: tokenizer, processors, templates, its own code."""
        found = {file for pattern in DONOR_FILES for file in self.folder.glob(pattern) if file.is_file()}
        return sorted(file for file in found if not any(fnmatchcase(file.name, one) for one in NOT_OF_THE_DONOR))

    @property
    def tied_pair(self) -> tuple[str, str] | None:
        """Head and embedding names where the model has such an embedding."""
        for head, embedding in TIED_PAIRS:
            if embedding in self.index.tensors:
                return head, embedding
        return None

    @property
    def says_tied(self) -> bool:
        """Whether the config says that head and embedding are one; the families above default to False."""
        return bool(self.config.get("tie_word_embeddings", self._tied_by_default))

    @property
    def _tied_by_default(self) -> bool:
        return self.config.get("model_type") == "gpt2"

    @property
    def is_tied(self) -> bool:
        """Whether head and embedding are one: no head is stored, or its bytes are the embedding's."""
        pair = self.tied_pair
        if pair is None or not self.says_tied:
            return False
        head, embedding = (self.index.tensors.get(name) for name in pair)
        if head is None or embedding is None:
            return True
        return _stored_bytes(head) == _stored_bytes(embedding)

    @property
    def identity(self) -> dict[str, Any]:
        """What tells that these are the same weights without reading them: headers, sizes and times of the files."""
        names = {name: [kept.dtype, kept.shape, kept.start] for name, kept in self.index.tensors.items()}
        files = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in self.index.files]
        return {
            "model": self.label,
            "header": sha256(json.dumps(names, sort_keys=True).encode()).hexdigest(),
            "files": files,
            **({} if self.adapter is None else {"adapter": self.adapter.digest}),
        }


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a config says of the language model: all of it, or the part of a model with several."""
    parts = (config.get(name) for name in TEXT_PARTS)
    return next((part for part in parts if isinstance(part, dict)), config)


def config_of_class(config: Mapping[str, Any]) -> Any:
    """A ``config.json`` as transformers completes it; raises what transformers raises where it cannot."""
    from transformers import AutoConfig

    return AutoConfig.for_model(**_with_floats(config))


def _with_floats(value: Any) -> Any:
    """``{"__float__": "Infinity"}``, in which transformers writes what JSON has no number for, as that number."""
    if isinstance(value, list):
        return [_with_floats(one) for one in value]
    if not isinstance(value, dict):
        return value
    if list(value) == ["__float__"] and isinstance(value["__float__"], str):
        return float(value["__float__"])
    return {name: _with_floats(one) for name, one in value.items()}


def layer_count(config: Mapping[str, Any]) -> int | None:
    """Layers of the language model as the config says; None where it does not."""
    for part in (text_part(config), config):
        for field in LAYER_COUNT_FIELDS:
            if isinstance(part.get(field), int):
                return int(part[field])
    return None


def _equal_bytes(one: StoredTensor, other: StoredTensor) -> bool:
    with open(one.file, "rb") as left, open(other.file, "rb") as right:
        left.seek(one.start)
        right.seek(other.start)
        for start in range(one.start, one.end, COMPARED_BYTES):
            count = min(COMPARED_BYTES, one.end - start)
            if left.read(count) != right.read(count):
                return False
    return True


def _stored_bytes(stored: StoredTensor) -> bytes:
    with open(stored.file, "rb") as handle:
        handle.seek(stored.start)
        return handle.read(stored.end - stored.start)


def open_model(reference: str, near: Path | None = None, allow_pickle: bool = False) -> ModelSource:
    """The model that ``reference`` leads to; ``near`` is the folder relative paths are tried from after the current.

    ``allow_pickle`` reads pickled weights where there are no others.
    """
    model, plus, adapter = reference.partition("+")
    if not plus or existing_folder(reference, near) is not None:
        return _opened(reference, _located(reference, near, allow_pickle), allow_pickle)
    opened = _opened(reference, _located(model, near, allow_pickle), allow_pickle)
    folder = _located(adapter, near, allow_pickle)
    own_names = {stored: name for name, stored in opened.index.tensors.items()}
    return replace(opened, adapter=open_adapter(folder, opened.index.tensors, model, allow_pickle), own_names=own_names)


def open_checkpoint(checkpoint: Checkpoint, allow_pickle: bool = False) -> ModelSource:
    """The model at a checkpoint of a series; ``allow_pickle`` reads pickled weights where there are no others."""
    folder = checkpoint.folder
    if folder is None:
        assert checkpoint.repo is not None
        folder = _downloaded(checkpoint.repo, checkpoint.revision, checkpoint.location, allow_pickle)
        folder = folder if checkpoint.subfolder is None else folder / checkpoint.subfolder
    return _opened(checkpoint.label, folder, allow_pickle)


def open_series(
    reference: str, steps: Sequence[int] | None, near: Path | None = None, allow_pickle: bool = False
) -> tuple[Checkpoint, ...]:
    """The checkpoints of the run at ``reference``, all of them or those at ``steps``, in order of training."""
    folder = existing_folder(reference, near)
    if folder is None:
        raise UserError(f"series: {reference}: {no_such(reference, 'folder')}; give the folder of a training run")
    series = Series.read(folder, index_of=_pickled_or_not if allow_pickle else read_weight_index)
    if steps is None:
        return series.checkpoints
    by_step = {checkpoint.step: checkpoint for checkpoint in series.checkpoints}
    for step in steps:
        if step not in by_step:
            raise UserError(f"steps: {reference} has no checkpoint at step {step}; it has {_few(sorted(by_step))}")
    return tuple(by_step[step] for step in sorted(set(steps)))


def _few(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:12]))
    return shown if len(numbers) <= 12 else f"{shown} ... {numbers[-1]}"


def existing_folder(path: str, near: Path | None) -> Path | None:
    """The folder ``path``, from the current folder or from ``near``; None where there is none."""
    for candidate in (Path(path), *([] if near is None else [near / path])):
        if candidate.is_dir():
            return candidate
    return None


def _located(reference: str, near: Path | None, allow_pickle: bool) -> Path:
    if reference.endswith(GGUF):
        raise UserError(f"model {reference!r}: {NO_GGUF}")
    whole = existing_folder(reference, near)
    if whole is not None:
        return whole
    name, at, revision = reference.rpartition("@")
    if not at:
        name, revision = reference, ""
    folder = existing_folder(name, near)
    if folder is not None:
        return _step_folder(folder, reference, revision, allow_pickle)
    if HUB_NAME.fullmatch(name) and not name.startswith("."):
        return _downloaded(name, revision or None, reference, allow_pickle)
    raise UserError(
        f"model {reference!r}: {no_such(reference, 'folder')}; give a folder with safetensors, RUN@step or "
        "owner/name@revision"
    )


def _step_folder(folder: Path, reference: str, revision: str, allow_pickle: bool) -> Path:
    checkpoints = open_series(str(folder), None, allow_pickle=allow_pickle)
    named = step_of(revision)
    wanted = named.step if named is not None else int(revision) if revision.isdecimal() else None
    for checkpoint in checkpoints:
        if checkpoint.step == wanted and checkpoint.folder is not None:
            return checkpoint.folder
    steps = [checkpoint.step for checkpoint in checkpoints]
    raise UserError(f"model {reference!r}: no local checkpoint at step {revision!r}; the run has {_few(steps)}")


def _downloaded(repo: str, revision: str | None, reference: str, allow_pickle: bool) -> Path:
    from huggingface_hub import snapshot_download

    def fetched(*patterns: str) -> Path:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=[*WANTED_FILES, *patterns]))

    try:
        folder = fetched()
        return folder if holds_weights(folder) or not allow_pickle else fetched(*WANTED_PICKLES)
    except Exception as error:
        raise UserError(
            f"model {reference!r}: neither a folder here nor to be had from the Hub ({one_line(error)[:160]})"
        ) from error


def _opened(label: str, folder: Path, allow_pickle: bool) -> ModelSource:
    if not (allow_pickle and is_pickled(folder)):
        _refuse_other_weights(label, folder)
    index = (_pickled_or_not if allow_pickle else read_weight_index)(folder)
    _refuse_lost(label, folder, index)
    return ModelSource(label, folder, index, _config(folder))


def _refuse_lost(label: str, folder: Path, index: WeightIndex) -> None:
    """A :class:`UserError` where a tensor is listed and stored nowhere: it would be left out in silence."""
    if (folder / SINGLE_FILE).is_file() or not (folder / SHARD_INDEX).is_file():
        return
    listed = json.loads((folder / SHARD_INDEX).read_text(encoding="utf-8"))["weight_map"]
    lost = sorted(name for name in listed if name not in index.tensors)
    if lost:
        more = f" ({len(lost)} such)" if len(lost) > 1 else ""
        raise UserError(
            f"{label}: {SHARD_INDEX} lists {lost[0]!r} in {listed[lost[0]]}, which lacks it{more}; copy the file again"
        )


def _pickled_or_not(folder: Path) -> WeightIndex:
    """The index of a checkpoint whose pickles may be read where there is nothing else."""
    return read_pickled_index(folder) if is_pickled(folder) else read_weight_index(folder)


def _refuse_other_weights(label: str, folder: Path) -> None:
    """A :class:`UserError` with a way out where a folder holds weights, but none that are merged as they are."""
    if (folder / SINGLE_FILE).is_file() or (folder / SHARD_INDEX).is_file():
        return
    if (folder / ADAPTER_CONFIG).is_file() and not holds_weights(folder):
        base = read_adapter_config(folder).get("base_model_name_or_path") or "MODEL"
        raise UserError(f"model {label!r}: an adapter without its model; write {base}+{label}")
    if any(folder.glob(f"*{GGUF}")) and not holds_weights(folder):
        raise UserError(f"model {label!r}: {NO_GGUF}")
    if is_pickled(folder):
        raise UserError(
            f"model {label!r}: pickled weights alone, which can run code; where you trust them, say --allow-pickle "
            "(allow_pickle: true in the config)"
        )


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({one_line(error)})") from error
    if not isinstance(config, dict):
        raise UserError(f"{path}: found {type(config).__name__}; expected the fields of a model config")
    return config


#: Buffers that older versions of transformers stored and newer ones compute: part of a name, and numbers of axes.
OLD_BUFFERS = (
    (".rotary_emb.inv_freq", 1),
    (".rotary_emb.cos_cached", 4),
    (".rotary_emb.sin_cached", 4),
    (".attention.bias", 4),
    (".attention.masked_bias", 0),
    (".attn.bias", 4),
    (".attn.masked_bias", 0),
    ("embeddings.position_ids", 2),
)


def _is_old_buffer(name: str, stored: StoredTensor) -> bool:
    return any(name.endswith(part) and len(stored.shape) == axes for part, axes in OLD_BUFFERS)


def as_one_save(models: Sequence[ModelSource]) -> list[ModelSource]:
    """``models`` under the names of one save: what older saves call otherwise is renamed, their buffers are left out.

    The Hub's gpt2 stores ``h.0.…`` and every fine-tune of it ``transformer.h.0.…``. A buffer that all models hold
    stays.
    """
    longest = max(models, key=lambda model: max(map(len, model.stacks), default=0))
    renamed = [_renamed_as(model, longest) for model in models]
    common = set.intersection(*(set(model.index.tensors) for model in renamed))
    found = []
    for model in renamed:
        kept = {
            name: stored
            for name, stored in model.index.tensors.items()
            if name in common or not _is_old_buffer(name, stored)
        }
        found.append(model if len(kept) == len(model.index.tensors) else _with_tensors(model, kept))
    return found


def _renamed_as(model: ModelSource, other: ModelSource) -> ModelSource:
    """``model`` with the prefix that ``other`` has before the same names, if there is one."""
    if len(model.stacks) != 1 or len(other.stacks) != 1:
        return model
    (own,), (its,) = model.stacks, other.stacks
    prefix = its.removesuffix(own)
    if own == its or not prefix.endswith(".") or not its.endswith(own):
        return model
    tensors = {}
    for name, stored in model.index.tensors.items():
        is_named_so = name in other.index.tensors and f"{prefix}{name}" not in other.index.tensors
        tensors[name if is_named_so else f"{prefix}{name}"] = stored
    return _with_tensors(model, tensors)


def _with_tensors(model: ModelSource, tensors: dict[str, StoredTensor]) -> ModelSource:
    return replace(model, index=replace(model.index, tensors=tensors))


def same_tensors(models: Sequence[ModelSource], ignored: frozenset[str]) -> None:
    """A :class:`UserError` that names tensor and model where one has a tensor that another lacks."""
    first = models[0]
    names = set(first.index.tensors) - ignored
    for model in models[1:]:
        own = set(model.index.tensors) - ignored
        if names == own:
            continue
        if names - own:
            name = min(names - own)
            heads = _differ_in_heads(names ^ own)
            raise UserError(
                f"{model.label}: tensor {name!r} is missing; {first.label} has it ({len(names - own)} such). "
                + (heads or nearest_names(name, own - names or own))
            )
        name = min(own - names)
        raise UserError(
            f"{model.label}: tensor {name!r} is extra; {first.label} lacks it ({len(own - names)} such); "
            + (_differ_in_heads(names ^ own) or "merge models of one architecture")
        )


def _differ_in_heads(names: set[str]) -> str:
    """What to do where models differ in ``names`` alone, all of them those of heads."""
    firsts = {name.partition(".")[0] for name in names}
    is_heads = all("head" in first or first in HEADS for first in firsts)
    return "where heads alone differ, say backbone_only: true, and the donor's is taken" if is_heads else ""


@dataclass(frozen=True, slots=True)
class EmbeddingTie:
    """``flag`` is the output's ``tie_word_embeddings``, None where the models have no embedding we know.

    ``ignored`` are tensors that are not written, ``added`` such that the first model may lack; ``pair`` is the head's
    and the embedding's name.
    """

    flag: bool | None = None
    pair: tuple[str, str] | None = None
    ignored: frozenset[str] = frozenset()
    added: frozenset[str] = frozenset()

    def stored_name(self, name: str, model: ModelSource) -> str:
        """Under which name ``model`` stores the output tensor ``name``: a tied model's head is its embedding."""
        if self.pair is not None and name == self.pair[0] and name not in model.index.tensors:
            return self.pair[1]
        return name


def decided_tie(models: Sequence[ModelSource], wanted: str | None) -> EmbeddingTie:
    """The tie of the output; a :class:`UserError` where models differ and the recipe does not choose."""
    pair = models[0].tied_pair
    if pair is None:
        return EmbeddingTie()
    tied = [model.is_tied for model in models]
    if wanted is None and len(set(tied)) > 1:
        one, other = models[tied.index(True)].label, models[tied.index(False)].label
        raise UserError(
            f"{one} ties input embedding and output head, {other} does not; say tied_embeddings: untie (both are "
            "written, the tied model's embedding counts as its head) or tie (the embedding alone is merged)"
        )
    tie = tied[0] if wanted is None else wanted == "tie"
    head = frozenset({pair[0]})
    if tie:
        return EmbeddingTie(True, pair, ignored=head)
    if any(tied):
        return EmbeddingTie(False, pair, added=head)
    has_head = pair[0] in models[0].index.tensors
    return EmbeddingTie(False if has_head else None, pair)
