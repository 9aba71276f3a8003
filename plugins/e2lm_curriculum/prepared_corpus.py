"""The corpus as token blocks on disk, with its tokenizer: made once per output folder, read by every size.

Shape suffixes: K tokens, X examples, T tokens per example, S optimiser steps, B examples per step.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from e2lm.atomic_file import whole_folder, write_json, write_text
from e2lm.curriculum import Curriculum, Plan, TrainingText
from e2lm.errors import E2LMError, UserError
from e2lm.noun import Noun
from e2lm_curriculum.arm import CURRICULUM, arm_plan
from e2lm_curriculum.corpus import SplitCorpus
from e2lm_curriculum.difficulty import ScoredDifficulty, difficulty_of, scored
from e2lm_curriculum.packed_corpus import packed_corpus, training_text
from e2lm_curriculum.plan_builder import chosen_curriculum
from e2lm_curriculum.plan_check import check_plan
from e2lm_curriculum.plan_file import write_plan
from e2lm_curriculum.tokenizer import (
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
    trained_tokenizer,
    write_tokenizer,
)
from e2lm_curriculum.training_config import TrainingConfig

PREPARED_FOLDER = ".prepared"
DESCRIPTION_FILE = "prepared.json"
TOKENS_FILE = "tokens.npy"
TAGS_FILE = "tags.npy"
SCORES_FILE = "scores.npy"
HELD_OUT_FILE = "held_out.txt"

#: Keeps the stream of orders apart from any other use of the same seed.
ORDER_STREAM = 1


class PreparedCorpus(Noun):
    """What lies in the prepared folder. ``examples`` blocks of ``sequence_length`` tokens; hashes are SHA-256.

    ``scoring_cpu_s`` is what the difficulty cost when it was computed, None if the curriculum has none.
    """

    vocabulary: int
    tokens: int
    sequence_length: int
    examples: int
    training_characters: int
    held_out_characters: int
    data_hash: str
    tokenizer_hash: str
    plan_hash: str
    difficulty: str = ""
    scoring_cpu_s: float | None = None
    #: Words are what blanks separate.
    training_words: int | None = None
    #: Forward and backward passes of a batch: more than steps where several objectives are trained at once.
    forward_passes: int | None = None

    @property
    def words_per_token(self) -> float | None:
        """Words of the training text over its tokens; None for a corpus prepared before words were counted."""
        return None if self.training_words is None else self.training_words / self.tokens

    @classmethod
    def read(cls, out: Path) -> Self | None:
        """The description in the prepared folder of ``out``, if it was finished."""
        file = out / PREPARED_FOLDER / DESCRIPTION_FILE
        return cls.from_json_file(file) if file.is_file() else None


def prepare(config: TrainingConfig, split: SplitCorpus) -> PreparedCorpus:
    """Train the tokenizer, pack the training documents, decide the order, and write all of it whole or not at all."""
    out = config.out_folder
    curriculum = chosen_curriculum(config.curriculum)
    with whole_folder(out / PREPARED_FOLDER) as folder:
        tokenizer = trained_tokenizer(
            split.training, config.vocabulary, masks=curriculum.needs_masks or config.family == "roberta"
        )
        write_tokenizer(tokenizer, folder, config.sequence_length)
        packed = packed_corpus(tokenizer, split)
        tokens_K = packed.tokens_K
        examples = len(tokens_K) // config.sequence_length
        if examples == 0:
            raise UserError(
                f"corpus: {len(tokens_K)} training tokens, but one example takes sequence_length="
                f"{config.sequence_length}; add text or lower sequence_length"
            )
        np.save(folder / TOKENS_FILE, tokens_K)
        if packed.tags_K is not None:
            np.save(folder / TAGS_FILE, packed.tags_K)
        data_hash = sha256(tokens_K.astype("<u4").tobytes()).hexdigest()
        tokenizer_hash = sha256((folder / TOKENIZER_FILE).read_bytes()).hexdigest()
        text = training_text(config, packed, tokenizer)
        scores = curriculum_scores(curriculum, text, data_hash + tokenizer_hash)
        np.save(folder / SCORES_FILE, scores.scores_X)
        plan = planned_order(config, curriculum, scores.scores_X)
        check_plan(plan, curriculum, config.family, tags=packed.tags_K is not None)
        write_plan(plan, folder)
        prepared = PreparedCorpus(
            vocabulary=tokenizer.get_vocab_size(),
            tokens=len(tokens_K),
            sequence_length=config.sequence_length,
            examples=examples,
            training_characters=sum(map(len, split.training)),
            held_out_characters=sum(map(len, split.held_out)),
            data_hash=data_hash,
            tokenizer_hash=tokenizer_hash,
            plan_hash=plan.hash,
            difficulty=scores.name,
            scoring_cpu_s=scores.cpu_s if scores.name else None,
            training_words=sum(len(document.split()) for document in split.training),
            forward_passes=plan.forward_passes,
        )
        write_json(folder / DESCRIPTION_FILE, prepared.model_dump(mode="json"))
    write_text(out / HELD_OUT_FILE, "\n\n".join(split.held_out) + "\n")
    return prepared


def curriculum_scores(curriculum: Curriculum, text: TrainingText, key: str) -> ScoredDifficulty:
    """The scores that ``curriculum`` wants, stored under ``key``; zeros if it wants none."""
    difficulty = difficulty_of(curriculum)
    if difficulty is None:
        return ScoredDifficulty("", np.zeros(len(text.blocks_XT)), 0.0)
    return scored(difficulty, text, key)


def order_generator(config: TrainingConfig) -> np.random.Generator:
    """What decides every order of this run."""
    return np.random.default_rng([config.seed_of_order, ORDER_STREAM])


def planned_order(config: TrainingConfig, curriculum: Curriculum, scores_X: NDArray[np.float64]) -> Plan:
    """The plan of ``curriculum``: the same for every size, a function of corpus, budget and seed alone."""
    budget = config.budget
    plan = arm_plan(config.arm or CURRICULUM, curriculum, scores_X, budget, order_generator(config))
    indices_SB = plan.indices_SB
    if indices_SB.shape != (budget.steps, budget.batch_size):
        raise E2LMError(
            f"curriculum {curriculum.name!r} planned shape {indices_SB.shape}, "
            f"expected {(budget.steps, budget.batch_size)}"
        )
    if indices_SB.min() < 0 or indices_SB.max() >= len(scores_X):
        raise E2LMError(f"curriculum {curriculum.name!r} planned an example outside 0..{len(scores_X) - 1}")
    return plan


def tokenizer_files(out: Path) -> tuple[Path, ...]:
    """The files that every checkpoint carries."""
    return tuple(out / PREPARED_FOLDER / name for name in (TOKENIZER_FILE, TOKENIZER_CONFIG_FILE))
