"""What ``e2lm train`` is told: the fields of its YAML file and its options alike.

At which steps a checkpoint is kept.

The arms of a comparison: a curriculum, and the controls that tell what of its effect is due to what.

============== ====================================================== ==========================================
arm            what it trains on                                      what its difference from the curriculum is
============== ====================================================== ==========================================
vanilla        each epoch a fresh permutation                         the effect itself
curriculum     the plan of the curriculum                             -
exposure-matched  the same draws as the curriculum, shuffled          the order alone (the rest is re-weighting)
anti           the curriculum over reversed difficulties              easy first against hard first
random-pacing  the curriculum over shuffled difficulties              difficulty against a growing pool alone
============== ====================================================== ==========================================

Shape suffixes: X examples, S optimiser steps, B examples per step, N draws (S * B).
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import Field

from e2lm.curriculum import Curriculum, Plan, TrainingBudget
from e2lm.errors import UserError, one_line
from e2lm.noun import Noun
from e2lm_curriculum.config.curriculum import CurriculumSetting
from e2lm_curriculum.model.size import ModelSize, model_size
from e2lm_curriculum.plan.draws import shuffled_plan

#: The first kept step after step 0 comes at this share of training: two decades of tokens.
FIRST_FRACTION = 0.01

#: BabyLM counts in millions of words.
BABYLM_UNIT = 1_000_000

#: Only where the corpus is not prepared yet: about what a vocabulary of 4,096 gives for English prose.
ASSUMED_WORDS_PER_TOKEN = 0.7


def checkpoint_steps(steps: int, count: int) -> tuple[int, ...]:
    """Step 0 and ``count`` further steps, log-spaced, the last one being ``steps``; fewer if there are not so many.

    >>> checkpoint_steps(244, 6)
    (0, 2, 6, 15, 39, 97, 244)
    >>> checkpoint_steps(3, 10)
    (0, 1, 2, 3)
    """
    count = min(count, steps)
    first = max(1.0, FIRST_FRACTION * steps)
    chosen = [0]
    for position in range(1, count + 1):
        fraction = 1.0 if count == 1 else (position - 1) / (count - 1)
        exact = math.exp(math.log(first) + fraction * (math.log(steps) - math.log(first)))
        chosen.append(min(max(chosen[-1] + 1, round(exact)), steps - (count - position)))
    return tuple(chosen)


def token_steps(steps: int, tokens_per_step: int, every_tokens: int) -> tuple[int, ...]:
    """Step 0, the steps nearest to each multiple of ``every_tokens``, and the last.

    >>> token_steps(10, 100, 250)
    (0, 2, 5, 8, 10)
    """
    count = steps * tokens_per_step // every_tokens
    wanted = [nearest_step(number * every_tokens, tokens_per_step) for number in range(1, count + 1)]
    return tuple(sorted({0, steps, *(step for step in wanted if 0 < step <= steps)}))


def nearest_step(tokens: float, tokens_per_step: float) -> int:
    """The step at which most nearly ``tokens`` have been seen; of two equally near the even one."""
    return round(tokens / tokens_per_step)


def babylm_words(words: float, unit: int = BABYLM_UNIT) -> tuple[int, ...]:
    """Numbers of words, up to ``words``, at which BabyLM wants checkpoints.

    Every million up to ten, every ten up to a hundred, every hundred up to a thousand (BabyLM 2025, evaluation
    pipeline). ``unit`` stands for the million.

    >>> babylm_words(35e6)[-5:]
    (8000000, 9000000, 10000000, 20000000, 30000000)
    """
    found = [factor * decade for decade in (1, 10, 100) for factor in range(1, 11)]
    return tuple(sorted({number * unit for number in found if number * unit <= words}))


def word_steps(steps: int, tokens_per_step: int, words_per_token: float, unit: int = BABYLM_UNIT) -> tuple[int, ...]:
    """Step 0, the steps nearest to BabyLM's numbers of words, and the last.

    >>> word_steps(20, 1_000_000, 0.5)
    (0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20)
    """
    words = babylm_words(steps * tokens_per_step * words_per_token, unit)
    wanted = {nearest_step(number / words_per_token, tokens_per_step) for number in words}
    return tuple(sorted({0, steps, *(step for step in wanted if 0 < step <= steps)}))


Arm = Literal["vanilla", "curriculum", "exposure-matched", "anti", "random-pacing"]
ARMS: tuple[Arm, ...] = get_args(Arm)

VANILLA: Arm = "vanilla"
CURRICULUM: Arm = "curriculum"
EXPOSURE_MATCHED: Arm = "exposure-matched"


def arm_plan(
    arm: Arm, curriculum: Curriculum, scores_X: NDArray[np.float64], budget: TrainingBudget, rng: np.random.Generator
) -> Plan:
    """The plan of ``arm`` for ``curriculum``.

    With generators in the same state ``exposure-matched`` holds exactly the draws of ``curriculum``. All else that a
    plan may hold (sequence lengths, objectives, vocabulary) is that of the curriculum in every arm but ``vanilla``.
    """
    match arm:
        case "vanilla":
            return shuffled_plan(scores_X, budget, rng)
        case "curriculum":
            return curriculum.plan(scores_X, budget, rng)
        case "exposure-matched":
            return shuffled_draws(curriculum.plan(scores_X, budget, rng), rng)
        case "anti":
            return curriculum.plan(reversed_scores(scores_X), budget, rng)
        case "random-pacing":
            return curriculum.plan(rng.permutation(scores_X), budget, rng)


def reversed_scores(scores_X: NDArray[np.float64]) -> NDArray[np.float64]:
    """Difficulties mirrored within their own range, so that thresholds on their value keep their meaning.

    >>> reversed_scores(np.array([1.0, 2.0, 4.0])).tolist()
    [4.0, 3.0, 1.0]
    """
    return np.asarray(scores_X.max() + scores_X.min() - scores_X)


def shuffled_draws(plan: Plan, rng: np.random.Generator) -> Plan:
    """The same examples as often as in ``plan``, in random order over the whole run.

    >>> plan = shuffled_draws(Plan(np.array([[0, 0], [0, 1]])), np.random.default_rng(0))
    >>> sorted(plan.indices_SB.ravel().tolist())
    [0, 0, 0, 1]
    """
    indices_N = rng.permutation(np.asarray(plan.indices_SB).reshape(-1))
    return replace(plan, indices_SB=indices_N.reshape(plan.indices_SB.shape))


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
