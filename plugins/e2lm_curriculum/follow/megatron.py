"""A plan for Megatron: its corpus as ``.bin`` and ``.idx``, and the three index files of a ``GPTDataset``.

Every example is a sequence. Sample e begins with example e, and the file that says in which order samples are shown,
``shuffle_index``, is the plan: it may name a sample often or never. So a step's global batch, which Megatron takes one
after the other from ``consumed_samples`` on, is the plan's, on any number of processes and after a kill.

Format: megatron.core.datasets.indexed_dataset and gpt_dataset (NVIDIA, megatron-core 0.16).

Shape suffixes: K tokens, N draws, X examples.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm.errors import UserError
from e2lm_curriculum.corpus.tokenizer import END_OF_TEXT_ID, TOKENS_FILE
from e2lm_curriculum.follow.plan import FollowedPlan
from e2lm_curriculum.plan.file import read_array

MEGATRON_FOLDER = "megatron"
CORPUS_PREFIX = "corpus"
MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1

#: Megatron's numbers for types of tokens.
TYPE_CODES = {"int32": 4, "uint16": 8}

#: Tokens copied at once.
TOKENS_AT_ONCE = 1 << 22


def write_megatron(plan: FollowedPlan, folder: Path) -> None:
    """Write the corpus and its three index files into ``folder``; of a plan of scores the order alone."""
    np.save(folder / "shuffle_index.npy", _draws_N(plan))
    if not plan.record.tokens:
        return
    tokens_K = read_array(plan.folder / TOKENS_FILE)
    rest = tokens_K[plan.record.examples * plan.record.sequence_length :]
    if not len(rest):
        # A sample's last label is the token after it: the last example needs one too.
        rest = np.array([END_OF_TEXT_ID], dtype=tokens_K.dtype)
    lengths = np.full(plan.record.examples + 1, plan.record.sequence_length, dtype=np.int32)
    lengths[-1] = len(rest)
    dtype = np.dtype(np.uint16 if tokens_K.dtype == np.uint16 else np.int32)
    whole = plan.record.examples * plan.record.sequence_length
    with open(folder / f"{CORPUS_PREFIX}.bin", "wb") as handle:
        for start in range(0, whole, TOKENS_AT_ONCE):
            handle.write(tokens_K[start : min(start + TOKENS_AT_ONCE, whole)].astype(dtype).tobytes())
        handle.write(rest.astype(dtype).tobytes())
    _write_index(folder / f"{CORPUS_PREFIX}.idx", lengths, dtype)
    samples = np.arange(plan.record.examples + 1, dtype=np.int32)
    np.save(folder / "document_index.npy", samples)
    np.save(folder / "sample_index.npy", np.stack([samples, np.zeros_like(samples)], axis=1))


def _draws_N(plan: FollowedPlan) -> NDArray[np.uint32]:
    return np.asarray(plan.plan.indices_SB).reshape(-1).astype(np.uint32)


def _write_index(file: Path, lengths: NDArray[np.int32], dtype: np.dtype[Any]) -> None:
    ends = np.cumsum(lengths, dtype=np.int64) * dtype.itemsize
    pointers = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    with open(file, "wb") as handle:
        handle.write(MAGIC + struct.pack("<QB", VERSION, TYPE_CODES[dtype.name]))
        handle.write(struct.pack("<QQ", len(lengths), len(lengths) + 1))
        for numbers in (lengths, pointers, np.arange(len(lengths) + 1, dtype=np.int64)):
            handle.write(numbers.tobytes())


class PlannedSamples:
    """What ``train_valid_test_datasets_provider`` gives Megatron as its training set: ``dataset`` in the plan's order.

    ``dataset`` is a ``GPTDataset`` of one epoch: of ``PLAN/megatron/corpus``, or, with a plan of scores, the one whose
    samples were scored. A :class:`UserError` where it has other samples.
    """

    def __init__(self, folder: Path | str, dataset: Any) -> None:
        plan = FollowedPlan.read(folder)
        index = plan.folder / MEGATRON_FOLDER
        if dataset.config.sequence_length != plan.record.sequence_length:
            raise UserError(
                f"{folder}: planned for sequences of {plan.record.sequence_length} tokens, found "
                f"{dataset.config.sequence_length}; give that --seq-length"
            )
        if plan.record.tokens:
            dataset.document_index = np.load(index / "document_index.npy", mmap_mode="r")
            dataset.sample_index = np.load(index / "sample_index.npy", mmap_mode="r")
        elif len(dataset) != plan.record.examples:
            raise UserError(f"{folder}: {plan.record.examples} samples were scored, found {len(dataset)}; give those")
        dataset.shuffle_index = np.load(index / "shuffle_index.npy", mmap_mode="r")
        self._dataset = dataset
        self._draws = plan.draws

    def __len__(self) -> int:
        return self._draws

    def __getitem__(self, number: int | None) -> Any:
        return self._dataset[number]

    def __getattr__(self, name: str) -> Any:
        """All else that Megatron asks of a data set."""
        if name == "_dataset":  # not yet made, as while it is copied to a process that loads
            raise AttributeError(name)
        return getattr(self._dataset, name)
