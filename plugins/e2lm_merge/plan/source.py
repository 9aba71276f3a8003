"""The models of a merge: where a reference leads, what is stored there, and what ties the two embeddings.

A reference is a folder, ``folder@step`` of a training run, or ``owner/name@revision`` of the Hub.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from e2lm.checkpoint import Checkpoint
from e2lm.errors import UserError, nearest_names, one_line
from e2lm.series import Series
from e2lm.step_name import step_of
from e2lm.weights import StoredTensor, WeightIndex, read_weight_index

CONFIG_FILE = "config.json"

#: Output head and input embedding that ``tie_word_embeddings`` makes one: Llama, Qwen, OLMo and Mistral; GPT-2; NeoX.
TIED_PAIRS = (
    ("lm_head.weight", "model.embed_tokens.weight"),
    ("lm_head.weight", "transformer.wte.weight"),
    ("embed_out.weight", "gpt_neox.embed_in.weight"),
)

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")

#: What a checkpoint on the Hub is read from.
WANTED_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """One model: ``label`` is the reference as the user wrote it."""

    label: str
    folder: Path
    index: WeightIndex
    config: dict[str, Any]

    @property
    def layers(self) -> int:
        """How many layers the tensors' names speak of."""
        from e2lm_merge.plan.parameters import layer_of

        found = [layer for layer in map(layer_of, self.index.tensors) if layer is not None]
        return max(found, default=-1) + 1

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
        }


def _stored_bytes(stored: StoredTensor) -> bytes:
    with open(stored.file, "rb") as handle:
        handle.seek(stored.start)
        return handle.read(stored.end - stored.start)


def open_model(reference: str, near: Path | None = None) -> ModelSource:
    """The model that ``reference`` leads to; ``near`` is the folder relative paths are tried from after the current."""
    return _opened(reference, _located(reference, near))


def open_checkpoint(checkpoint: Checkpoint) -> ModelSource:
    """The model at a checkpoint of a series."""
    folder = checkpoint.folder
    if folder is None:
        assert checkpoint.repo is not None
        folder = _downloaded(checkpoint.repo, checkpoint.revision, checkpoint.location)
        folder = folder if checkpoint.subfolder is None else folder / checkpoint.subfolder
    return _opened(checkpoint.label, folder)


def open_series(reference: str, steps: Sequence[int] | None, near: Path | None = None) -> tuple[Checkpoint, ...]:
    """The checkpoints of the run at ``reference``, all of them or those at ``steps``, in order of training."""
    folder = _existing(reference, near)
    if folder is None:
        raise UserError(f"series: {reference}: no such folder; give the folder of a training run")
    series = Series.read(folder)
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


def _existing(path: str, near: Path | None) -> Path | None:
    for candidate in (Path(path), *([] if near is None else [near / path])):
        if candidate.is_dir():
            return candidate
    return None


def _located(reference: str, near: Path | None) -> Path:
    if "+" in reference and _existing(reference, near) is None:
        raise UserError(f"model {reference!r}: adapters (model+adapter) are not supported; merge the adapter in first")
    whole = _existing(reference, near)
    if whole is not None:
        return whole
    name, at, revision = reference.rpartition("@")
    if not at:
        name, revision = reference, ""
    folder = _existing(name, near)
    if folder is not None:
        return _step_folder(folder, reference, revision)
    if HUB_NAME.fullmatch(name) and not name.startswith("."):
        return _downloaded(name, revision or None, reference)
    raise UserError(
        f"model {reference!r}: no such folder; give a folder with safetensors, RUN@step or owner/name@revision"
    )


def _step_folder(folder: Path, reference: str, revision: str) -> Path:
    checkpoints = open_series(str(folder), None)
    named = step_of(revision)
    wanted = named.step if named is not None else int(revision) if revision.isdecimal() else None
    for checkpoint in checkpoints:
        if checkpoint.step == wanted and checkpoint.folder is not None:
            return checkpoint.folder
    steps = [checkpoint.step for checkpoint in checkpoints]
    raise UserError(f"model {reference!r}: no local checkpoint at step {revision!r}; the run has {_few(steps)}")


def _downloaded(repo: str, revision: str | None, reference: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(WANTED_FILES)))
    except Exception as error:
        raise UserError(
            f"model {reference!r}: neither a folder here nor to be had from the Hub ({one_line(error)[:160]})"
        ) from error


def _opened(label: str, folder: Path) -> ModelSource:
    return ModelSource(label, folder, read_weight_index(folder), _config(folder))


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
            raise UserError(
                f"{model.label}: tensor {name!r} is missing; {first.label} has it ({len(names - own)} such). "
                + nearest_names(name, own - names or own)
            )
        name = min(own - names)
        raise UserError(
            f"{model.label}: tensor {name!r} is extra; {first.label} lacks it ({len(own - names)} such); "
            "merge models of one architecture"
        )


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
