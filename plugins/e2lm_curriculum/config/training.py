"""What ``e2lm train`` is told, in three parts: the models, the text they are shown, and how they are trained on it.

A YAML file (and the options of the command) has the fields of all three side by side.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import Field, field_validator

from e2lm.curriculum import TrainingBudget
from e2lm.errors import UserError, one_line
from e2lm.noun import Noun
from e2lm_curriculum.corpus.files import TEXT_FIELD, RecordFields
from e2lm_curriculum.model.size import ModelSize, model_size
from e2lm_curriculum.plan.arms import Arm
from e2lm_curriculum.plan.setting import CurriculumSetting

#: 256 bytes and two special tokens must fit, and some merges with them.
SMALLEST_VOCABULARY = 300

#: BabyLM counts in millions of words.
BABYLM_UNIT = 1_000_000

DEMO_LADDER = ("50k", "140k", "360k", "780k")

#: Fields that change how a run is carried out but none of its numbers: they may differ when a run goes on.
WITHOUT_EFFECT = frozenset({"out", "sizes", "jobs", "resume_interval_s", "label", "loader_workers"})

CheckpointGrid = Literal["log", "tokens", "babylm"]
Family = Literal["llama", "roberta"]
ScheduleName = Literal["constant", "cosine", "linear", "wsd"]
Precision = Literal["auto", "float32", "bfloat16"]
Seed = Annotated[int, Field(ge=0, lt=1 << 31)]


class ModelConfig(Noun):
    """The ladder of models."""

    sizes: Annotated[tuple[str, ...], Field(min_length=1)] = DEMO_LADDER
    #: ``roberta`` is trained on masked tokens and read by e2lm-mlm.
    family: Family = "llama"

    @field_validator("sizes")
    @classmethod
    def _are_known_and_different(cls, sizes: tuple[str, ...]) -> tuple[str, ...]:
        shapes = [model_size(name) for name in sizes]
        for place, shape in enumerate(shapes):
            if shape in shapes[:place]:
                raise ValueError(f"{shape.name!r} is there twice")
        return sizes

    @property
    def ladder(self) -> tuple[ModelSize, ...]:
        """The models to train, in the order of ``sizes``."""
        return tuple(model_size(name) for name in self.sizes)


class DataConfig(Noun):
    """The text, how it is cut into examples, how many of them are seen and in which order."""

    corpus: Annotated[tuple[str, ...], Field(min_length=1)]
    #: Share of the corpus, in characters, that is never trained on.
    held_out: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    #: The field of a record, or column of a table, that holds its text; else ``text``.
    text_field: Annotated[str, Field(min_length=1)] | None = None
    #: The field of a record that says where it is from; mixtures and shares are then over its values, not over files.
    source_field: Annotated[str, Field(min_length=1)] | None = None
    #: The field of a record with a number of its own, for difficulty ``document-score``.
    score_field: Annotated[str, Field(min_length=1)] | None = None
    vocabulary: Annotated[int, Field(ge=SMALLEST_VOCABULARY, le=1 << 20)] = 4096
    sequence_length: Annotated[int, Field(ge=8)] = 256
    tokens: Annotated[int, Field(ge=1)] = 1_000_000
    batch_size: Annotated[int, Field(ge=1)] = 16
    #: A name of ``e2lm train plan``, or a mapping (docs/curriculum.md).
    curriculum: str | CurriculumSetting = "shuffle"
    #: What is made of the curriculum: itself, or one of the controls it is compared with.
    arm: Arm | None = None

    @property
    def corpus_files(self) -> tuple[Path, ...]:
        """The text to read, in order."""
        return tuple(Path(name) for name in self.corpus)

    @property
    def record_fields(self) -> RecordFields:
        """What is read of a record."""
        return RecordFields(self.text_field or TEXT_FIELD, self.source_field, self.score_field)

    @property
    def budget(self) -> TrainingBudget:
        """The number of whole steps nearest to ``tokens``, at least one.

        >>> DataConfig(corpus=("c",)).budget.tokens
        999424
        """
        steps = max(1, round(self.tokens / (self.batch_size * self.sequence_length)))
        return TrainingBudget(steps, self.batch_size, self.sequence_length)


class RunConfig(Noun):
    """How models are trained, which of their checkpoints are kept, and where."""

    out: Annotated[str, Field(min_length=1)]
    #: Name of the series; else that of its size.
    label: Annotated[str, Field(pattern=r"^[\w.-]+$")] | None = None
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 3e-3
    schedule: ScheduleName = "constant"
    #: Share of the steps in which the learning rate rises from 0. Short runs want a long one: at 244 steps of 780k the
    #: held-out loss was 4.38 with 5 steps of warm-up and 4.17 with 25.
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    seed: Seed = 0
    #: Seeds of the weights and of the order alone, so that runs can share one and not the other; else ``seed``.
    init_seed: Seed | None = None
    order_seed: Seed | None = None
    #: ``auto`` is bfloat16 autocast on a GPU and float32 elsewhere; weights are float32 in every case.
    precision: Precision = "auto"
    #: Checkpoints after step 0, on the grid ``log``.
    checkpoints: Annotated[int, Field(ge=1)] = 10
    #: ``log``: log-spaced; ``tokens``: every ``checkpoint_tokens``; ``babylm``: at BabyLM's numbers of words.
    checkpoint_grid: CheckpointGrid = "log"
    checkpoint_tokens: Annotated[int, Field(ge=1)] = 100_000
    #: What BabyLM's grid counts in; less than a million for a small corpus.
    word_unit: Annotated[int, Field(ge=1)] = BABYLM_UNIT
    jobs: Annotated[int, Field(ge=1)] = 1
    #: A killed run loses at most about this many seconds of work.
    resume_interval_s: Annotated[float, Field(ge=0)] = 30.0
    #: Processes that read ahead; the batches are the same with any number of them.
    loader_workers: Annotated[int, Field(ge=0)] = 0

    @property
    def out_folder(self) -> Path:
        """Where everything is written."""
        return Path(self.out)

    @property
    def seed_of_weights(self) -> int:
        """Seed of the random weights at step 0."""
        return self.seed if self.init_seed is None else self.init_seed

    @property
    def seed_of_order(self) -> int:
        """Seed of the plan and of masks."""
        return self.seed if self.order_seed is None else self.order_seed


class _TrainingFile(RunConfig, DataConfig, ModelConfig):
    """The fields of all parts side by side, as a file has them: models first, then data, then the run."""


#: Every field of a file, and so every option of ``e2lm train`` that stands for one.
TRAINING_FIELDS = tuple(_TrainingFile.model_fields)

PartT = TypeVar("PartT", bound=Noun)


def _part(kind: type[PartT], file: _TrainingFile) -> PartT:
    return kind.model_validate({name: getattr(file, name) for name in kind.model_fields})


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """One file of ``e2lm train``, in its parts.

    >>> config = TrainingConfig.from_data({"corpus": ["c.txt"], "out": "o", "sizes": ["4x64"], "seed": 3}, "f.yml")
    >>> config.model.sizes, config.data.corpus, config.run.seed_of_order
    (('4x64',), ('c.txt',), 3)
    """

    model: ModelConfig
    data: DataConfig
    run: RunConfig

    @classmethod
    def from_data(cls, data: Mapping[str, Any], source: str) -> TrainingConfig:
        """The parts of what a file says; a :class:`UserError` names ``source``, the field and what is allowed."""
        file = _TrainingFile.from_data(data, source)
        return cls(_part(ModelConfig, file), _part(DataConfig, file), _part(RunConfig, file))

    @property
    def fields(self) -> dict[str, Any]:
        """All fields side by side, JSON-ready: :meth:`from_data` makes the same configuration of them."""
        parts: tuple[Noun, ...] = (self.model, self.data, self.run)
        return {name: value for part in parts for name, value in part.model_dump(mode="json").items()}

    def changed(self, **fields: Any) -> TrainingConfig:
        """The same with other values in ``fields``; they are checked like those of a file."""
        return TrainingConfig.from_data({**self.fields, **fields}, "e2lm train")

    def effective(self) -> dict[str, Any]:
        """The fields on which the numbers depend, JSON-ready; those left open are not among them."""
        return {name: one for name, one in self.fields.items() if one is not None and name not in WITHOUT_EFFECT}


class _Loader(yaml.SafeLoader):
    """YAML 1.1 takes ``3e-3`` for a string; people mean a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(?:\.\d*)?[eE][-+]?\d+"), list("-+0123456789")
)


def config_data(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, not yet checked field by field; a :class:`UserError` if there is none."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # a SafeLoader
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UserError(f"{path}: no such file; give a YAML file with the fields of e2lm train --help") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML ({one_line(error)})") from error
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected 'field: value' lines, found {type(data).__name__}")
    return data
