"""The corpus as token blocks on disk, with its tokenizer: made once per output folder, read by every size.

Shape suffixes: K tokens, X examples, T tokens per example, S optimiser steps, B examples per step.

Training documents as one row of tokens.

Shape suffixes: K tokens, X examples, T tokens per example, F corpus files.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from e2lm.atomic_file import whole_folder, write_json, write_text
from e2lm.curriculum import Curriculum, Plan, TrainingText
from e2lm.errors import E2LMError, UserError
from e2lm.noun import Noun
from e2lm_curriculum.config.training import CURRICULUM, TrainingConfig, arm_plan
from e2lm_curriculum.corpus.reader import NO_TAG_NUMBER, SplitCorpus, token_tags
from e2lm_curriculum.corpus.tokenizer import (
    END_OF_TEXT_ID,
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
    trained_tokenizer,
    write_tokenizer,
)
from e2lm_curriculum.difficulty.scores import ScoredDifficulty, difficulty_of, scored
from e2lm_curriculum.plan.builder import chosen_curriculum
from e2lm_curriculum.plan.file import check_plan, write_plan

#: Documents encoded at once: enough to keep every core busy, few enough to bound memory.
DOCUMENTS_PER_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class PackedCorpus:
    """All training documents as one row of tokens, with the corpus file and, if there are any, the tag of each."""

    tokens_K: NDArray[np.unsignedinteger[Any]]
    files_K: NDArray[np.uint16]
    tags_K: NDArray[np.int8] | None


def packed_corpus(tokenizer: Any, split: SplitCorpus) -> PackedCorpus:
    """All documents in order, an end-of-text token before each."""
    dtype = np.uint16 if tokenizer.get_vocab_size() <= 1 << 16 else np.uint32
    documents = split.training
    files = split.training_files or (0,) * len(documents)
    tags = split.training_tags if any(split.training_tags) else ()
    token_parts: list[NDArray[Any]] = []
    tag_parts: list[NDArray[np.int8]] = []
    for start in range(0, len(documents), DOCUMENTS_PER_BATCH):
        batch = list(documents[start : start + DOCUMENTS_PER_BATCH])
        # Offsets, which the fast way leaves out, tell which word a token belongs to.
        encode = tokenizer.encode_batch if tags else tokenizer.encode_batch_fast
        for place, encoding in enumerate(encode(batch, add_special_tokens=False), start=start):
            token_parts.append(np.array([END_OF_TEXT_ID, *encoding.ids], dtype=dtype))
            if tags:
                tag_parts.append(np.append(np.int8(NO_TAG_NUMBER), token_tags(encoding.offsets, tags[place])))
    lengths = [len(part) for part in token_parts]
    return PackedCorpus(
        tokens_K=np.concatenate(token_parts) if token_parts else np.empty(0, dtype=dtype),
        files_K=np.repeat(np.asarray(files, dtype=np.uint16), lengths),
        tags_K=np.concatenate(tag_parts) if tag_parts else None,
    )


def training_text(config: TrainingConfig, packed: PackedCorpus, tokenizer: Any) -> TrainingText:
    """The packed corpus as difficulties see it."""
    length = config.sequence_length
    examples = len(packed.tokens_K) // length
    cut = slice(0, examples * length)
    names = tuple(file.stem for file in config.corpus_files)
    return TrainingText(
        blocks_XT=packed.tokens_K[cut].reshape(examples, length),
        vocabulary=tokenizer.get_vocab_size(),
        sources_X=most_frequent(packed.files_K[cut].reshape(examples, length), len(names)),
        source_names=names,
        decode=lambda row_T: str(tokenizer.decode(row_T.tolist())),
        tags_XT=None if packed.tags_K is None else packed.tags_K[cut].reshape(examples, length),
    )


def most_frequent(files_XT: NDArray[np.unsignedinteger[Any]], files: int) -> NDArray[np.int64]:
    """The most frequent number of each row, the smallest of equal ones.

    >>> most_frequent(np.array([[0, 1, 1], [2, 0, 1]]), 3).tolist()
    [1, 0]
    """
    rows_XT = np.arange(len(files_XT))[:, None] * files + files_XT.astype(np.int64)
    counts_XF = np.bincount(rows_XT.reshape(-1), minlength=len(files_XT) * files).reshape(len(files_XT), files)
    return np.asarray(counts_XF.argmax(axis=1))


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
