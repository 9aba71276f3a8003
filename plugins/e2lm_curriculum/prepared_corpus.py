"""The corpus as token blocks on disk, with its tokenizer: made once per output folder, read by every size.

Shape suffixes: K tokens, X examples, T tokens per example, S optimiser steps, B examples per step.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from e2lm.atomic_file import whole_folder, write_json, write_text
from e2lm.curriculum import Curriculum, Plan
from e2lm.errors import E2LMError, UserError
from e2lm.noun import Noun
from e2lm.plugin_manager import plugin_manager
from e2lm_curriculum.arm import CURRICULUM, arm_plan
from e2lm_curriculum.corpus import SplitCorpus
from e2lm_curriculum.tokenizer import (
    END_OF_TEXT_ID,
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
    trained_tokenizer,
    write_tokenizer,
)
from e2lm_curriculum.training_config import TrainingConfig

PREPARED_FOLDER = ".prepared"
DESCRIPTION_FILE = "prepared.json"
TOKENS_FILE = "tokens.npy"
PLAN_FILE = "plan.npy"
HELD_OUT_FILE = "held_out.txt"

#: Documents encoded at once: enough to keep every core busy, few enough to bound memory.
DOCUMENTS_PER_BATCH = 1_000

#: Keeps the stream of orders apart from any other use of the same seed.
ORDER_STREAM = 1


class PreparedCorpus(Noun):
    """What lies in the prepared folder. ``examples`` blocks of ``sequence_length`` tokens; hashes are SHA-256."""

    vocabulary: int
    tokens: int
    sequence_length: int
    examples: int
    training_characters: int
    held_out_characters: int
    data_hash: str
    tokenizer_hash: str
    plan_hash: str

    @classmethod
    def read(cls, out: Path) -> Self | None:
        """The description in the prepared folder of ``out``, if it was finished."""
        file = out / PREPARED_FOLDER / DESCRIPTION_FILE
        return cls.from_json_file(file) if file.is_file() else None


def prepare(config: TrainingConfig, split: SplitCorpus) -> PreparedCorpus:
    """Train the tokenizer, pack the training documents, decide the order, and write all of it whole or not at all."""
    out = config.out_folder
    with whole_folder(out / PREPARED_FOLDER) as folder:
        tokenizer = trained_tokenizer(split.training, config.vocabulary)
        write_tokenizer(tokenizer, folder, config.sequence_length)
        tokens_K = packed_tokens(tokenizer, split.training)
        examples = len(tokens_K) // config.sequence_length
        if examples == 0:
            raise UserError(
                f"corpus: {len(tokens_K)} training tokens, but one example takes sequence_length="
                f"{config.sequence_length}; add text or lower sequence_length"
            )
        np.save(folder / TOKENS_FILE, tokens_K)
        plan = planned_order(config, examples)
        np.save(folder / PLAN_FILE, plan.indices_SB)
        prepared = PreparedCorpus(
            vocabulary=tokenizer.get_vocab_size(),
            tokens=len(tokens_K),
            sequence_length=config.sequence_length,
            examples=examples,
            training_characters=sum(map(len, split.training)),
            held_out_characters=sum(map(len, split.held_out)),
            data_hash=sha256(tokens_K.astype("<u4").tobytes()).hexdigest(),
            tokenizer_hash=sha256((folder / TOKENIZER_FILE).read_bytes()).hexdigest(),
            plan_hash=plan.hash,
        )
        write_json(folder / DESCRIPTION_FILE, prepared.model_dump(mode="json"))
    write_text(out / HELD_OUT_FILE, "\n\n".join(split.held_out) + "\n")
    return prepared


def packed_tokens(tokenizer: Any, documents: Sequence[str]) -> NDArray[np.unsignedinteger[Any]]:
    """All documents in order as one row of tokens, an end-of-text token before each."""
    dtype = np.uint16 if tokenizer.get_vocab_size() <= 1 << 16 else np.uint32
    parts = []
    for start in range(0, len(documents), DOCUMENTS_PER_BATCH):
        batch = list(documents[start : start + DOCUMENTS_PER_BATCH])
        for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            parts.append(np.array([END_OF_TEXT_ID, *encoding.ids], dtype=dtype))
    return np.concatenate(parts) if parts else np.empty(0, dtype=dtype)


def planned_order(config: TrainingConfig, examples: int) -> Plan:
    """The plan of the configured curriculum: the same for every size, a function of corpus, budget and seed alone."""
    curriculum: Curriculum = plugin_manager().find(
        "e2lm_register_curricula", Curriculum, config.curriculum, "curriculum"
    )
    budget = config.budget
    rng = np.random.default_rng([config.seed_of_order, ORDER_STREAM])
    plan = arm_plan(config.arm or CURRICULUM, curriculum, np.zeros(examples), budget, rng)
    indices_SB = plan.indices_SB
    if indices_SB.shape != (budget.steps, budget.batch_size):
        raise E2LMError(
            f"curriculum {curriculum.name!r} planned shape {indices_SB.shape}, "
            f"expected {(budget.steps, budget.batch_size)}"
        )
    if indices_SB.min() < 0 or indices_SB.max() >= examples:
        raise E2LMError(f"curriculum {curriculum.name!r} planned an example outside 0..{examples - 1}")
    return plan


def tokenizer_files(out: Path) -> tuple[Path, ...]:
    """The files that every checkpoint carries."""
    return tuple(out / PREPARED_FOLDER / name for name in (TOKENIZER_FILE, TOKENIZER_CONFIG_FILE))
