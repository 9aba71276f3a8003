"""The examples in planned order: entry n of the data set is the n-th example that training sees.

The order lives in the data, not in a sampler: a sampler that reads the step counter lags behind by what the loader
prefetches and replays wrongly on resume, while reading a planned data set in sequence cannot.

Shape suffixes: K tokens, X examples, T tokens per example, S optimiser steps, B examples per step, N draws (S * B).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from e2lm_curriculum.plan_file import PLAN_FILE
from e2lm_curriculum.prepared_corpus import PREPARED_FOLDER, TOKENS_FILE


class PlannedDataset(Dataset[NDArray[Any]]):
    """Rows of ``blocks_XT`` in the order of ``indices_SB``; both may be memory-mapped."""

    def __init__(self, blocks_XT: NDArray[Any], indices_SB: NDArray[np.int64]) -> None:
        self._blocks_XT = blocks_XT
        self._indices_N = indices_SB.reshape(-1)

    @classmethod
    def read(cls, out: Path, sequence_length: int) -> Self:
        """The data set in the prepared folder of ``out``."""
        tokens_K = np.load(out / PREPARED_FOLDER / TOKENS_FILE, mmap_mode="r")
        examples = len(tokens_K) // sequence_length
        blocks_XT = tokens_K[: examples * sequence_length].reshape(examples, sequence_length)
        return cls(blocks_XT, np.load(out / PREPARED_FOLDER / PLAN_FILE, mmap_mode="r"))

    def __len__(self) -> int:
        return len(self._indices_N)

    def __getitem__(self, position: int) -> NDArray[Any]:
        return self._blocks_XT[self._indices_N[position]]  # type: ignore[no-any-return]


def causal_batch(examples: list[NDArray[Any]]) -> dict[str, torch.Tensor]:
    """``input_ids`` and ``labels``, both (examples, tokens); the model itself shifts the labels by one."""
    input_ids_BT = torch.from_numpy(np.stack(examples).astype(np.int64))
    return {"input_ids": input_ids_BT, "labels": input_ids_BT}
