"""What ``e2lm train`` is told: the fields of its YAML file and its options alike."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field

from e2lm.curriculum import TrainingBudget
from e2lm.errors import UserError, one_line
from e2lm.noun import Noun
from e2lm_curriculum.arm import Arm
from e2lm_curriculum.checkpoint_grid import BABYLM_UNIT
from e2lm_curriculum.model_size import ModelSize, model_size
from e2lm_curriculum.plan_setting import CurriculumSetting

#: 256 bytes and two special tokens must fit, and some merges with them.
SMALLEST_VOCABULARY = 300

#: Fields that change how a run is carried out but none of its numbers: they may differ when a run goes on.
WITHOUT_EFFECT = frozenset({"out", "sizes", "jobs", "resume_interval_s", "label", "loader_workers"})

DEMO_LADDER = ("50k", "140k", "360k", "780k")

CheckpointGrid = Literal["log", "tokens", "babylm"]
Family = Literal["llama", "roberta"]
Schedule = Literal["constant", "cosine", "linear", "wsd"]
Precision = Literal["auto", "float32", "bfloat16"]


class TrainingConfig(Noun):
    """A ladder of models, the text they read, how much of it, in which order."""

    corpus: Annotated[tuple[str, ...], Field(min_length=1)]
    out: Annotated[str, Field(min_length=1)]
    sizes: Annotated[tuple[str, ...], Field(min_length=1)] = DEMO_LADDER
    tokens: Annotated[int, Field(ge=1)] = 1_000_000
    batch_size: Annotated[int, Field(ge=1)] = 16
    sequence_length: Annotated[int, Field(ge=8)] = 256
    vocabulary: Annotated[int, Field(ge=SMALLEST_VOCABULARY, le=1 << 20)] = 4096
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 3e-3
    schedule: Schedule = "constant"
    #: Share of the steps in which the learning rate rises from 0. Short runs want a long one: at 244 steps of 780k the
    #: held-out loss was 4.38 with 5 steps of warm-up and 4.17 with 25.
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    seed: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    #: Seeds of the weights and of the order alone, so that runs can share one and not the other; else ``seed``.
    init_seed: Annotated[int, Field(ge=0, lt=1 << 31)] | None = None
    order_seed: Annotated[int, Field(ge=0, lt=1 << 31)] | None = None
    #: Checkpoints after step 0, on the grid ``log``.
    checkpoints: Annotated[int, Field(ge=1)] = 10
    #: ``log``: log-spaced; ``tokens``: every ``checkpoint_tokens``; ``babylm``: at BabyLM's numbers of words.
    checkpoint_grid: CheckpointGrid = "log"
    checkpoint_tokens: Annotated[int, Field(ge=1)] = 100_000
    #: What BabyLM's grid counts in; less than a million for a small corpus.
    word_unit: Annotated[int, Field(ge=1)] = BABYLM_UNIT
    #: Share of the corpus, in characters, that is never trained on.
    held_out: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    #: A name of ``e2lm train plan``, or a mapping (docs/curriculum.md).
    curriculum: str | CurriculumSetting = "shuffle"
    #: ``roberta`` is trained on masked tokens and read by e2lm-mlm.
    family: Family = "llama"
    #: What is made of the curriculum: itself, or one of the controls it is compared with.
    arm: Arm | None = None
    #: Name of the series; else that of its size.
    label: Annotated[str, Field(pattern=r"^[\w.-]+$")] | None = None
    #: ``auto`` is bfloat16 autocast on a GPU and float32 elsewhere; weights are float32 in every case.
    precision: Precision = "auto"
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
    def corpus_files(self) -> tuple[Path, ...]:
        """The text to read, in order."""
        return tuple(Path(name) for name in self.corpus)

    @property
    def model_sizes(self) -> tuple[ModelSize, ...]:
        """The models to train; a :class:`UserError` for an unknown size or one that is asked for twice."""
        sizes = tuple(model_size(name) for name in self.sizes)
        for position, size in enumerate(sizes):
            if size in sizes[:position]:
                raise UserError(f"field 'sizes': {size.name!r} is there twice")
        return sizes

    @property
    def budget(self) -> TrainingBudget:
        """The number of whole steps nearest to ``tokens``, at least one.

        >>> TrainingConfig(corpus=("c",), out="o").budget.tokens
        999424
        """
        steps = max(1, round(self.tokens / (self.batch_size * self.sequence_length)))
        return TrainingBudget(steps, self.batch_size, self.sequence_length)

    @property
    def warmup_steps(self) -> int:
        """Steps in which the learning rate rises from 0."""
        return round(self.warmup * self.budget.steps)

    @property
    def seed_of_weights(self) -> int:
        """Seed of the random weights at step 0."""
        return self.seed if self.init_seed is None else self.init_seed

    @property
    def seed_of_order(self) -> int:
        """Seed of the plan."""
        return self.seed if self.order_seed is None else self.order_seed

    def effective(self) -> dict[str, Any]:
        """The fields on which the numbers depend, JSON-ready; those left open are not among them."""
        fields = self.model_dump(mode="json", exclude=set(WITHOUT_EFFECT))
        return {name: value for name, value in fields.items() if value is not None}


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
