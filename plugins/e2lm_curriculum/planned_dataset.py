"""The examples in planned order: entry n of the data set is the n-th example that training sees.

The order lives in the data, not in a sampler: a sampler that reads the step counter lags behind by what the loader
prefetches and replays wrongly on resume, while reading a planned data set in sequence cannot.

Shape suffixes: K tokens, X examples, T tokens per example, S optimiser steps, B examples per step, N draws (S * B).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from e2lm.curriculum import Indices
from e2lm_curriculum.prepared_corpus import PREPARED_FOLDER, TAGS_FILE, TOKENS_FILE


class Draw(NamedTuple):
    """The example at place ``number`` of the plan, with the part of speech of each token where there are any."""

    number: int
    tokens_T: NDArray[Any]
    tags_T: NDArray[np.int8] | None = None


class PlannedDataset(Dataset[Draw | None]):
    """Rows of ``blocks_XT`` in the order of ``indices_SB``; all may be memory-mapped.

    ``draws`` is how many there will be in the whole run. Those that are not planned yet are None: loaders read ahead
    of the segment that an online curriculum has planned, and what they read there is thrown away.
    """

    def __init__(
        self,
        blocks_XT: NDArray[Any],
        indices_SB: Indices,
        draws: int | None = None,
        tags_XT: NDArray[np.int8] | None = None,
    ) -> None:
        self._blocks_XT = blocks_XT
        self._tags_XT = tags_XT
        self._indices_N = indices_SB.reshape(-1)
        self._draws = len(self._indices_N) if draws is None else draws

    @classmethod
    def read(cls, out: Path, sequence_length: int, indices_SB: Indices, draws: int) -> Self:
        """The data set of the corpus in the prepared folder of ``out``."""
        blocks_XT = example_blocks(out, sequence_length)
        tags = out / PREPARED_FOLDER / TAGS_FILE
        return cls(blocks_XT, indices_SB, draws, _blocks(tags, sequence_length) if tags.is_file() else None)

    def __len__(self) -> int:
        return self._draws

    def __getitem__(self, number: int) -> Draw | None:
        if number >= len(self._indices_N):
            if number >= self._draws:
                raise IndexError(number)
            return None
        example = self._indices_N[number]
        return Draw(number, self._blocks_XT[example], None if self._tags_XT is None else self._tags_XT[example])


def example_blocks(out: Path, sequence_length: int) -> NDArray[Any]:
    """The examples (examples, tokens) of the corpus in the prepared folder of ``out``, memory-mapped."""
    return _blocks(out / PREPARED_FOLDER / TOKENS_FILE, sequence_length)


def _blocks(file: Path, sequence_length: int) -> NDArray[Any]:
    row_K = np.load(file, mmap_mode="r")
    examples = len(row_K) // sequence_length
    blocks_XT: NDArray[Any] = row_K[: examples * sequence_length].reshape(examples, sequence_length)
    return blocks_XT


def causal_batch(draws: list[Draw | None]) -> dict[str, torch.Tensor]:
    """``input_ids`` and ``labels``, both (examples, tokens); the model itself shifts the labels by one.

    Nothing at all for draws that are not planned yet: no model takes that.
    """
    rows = [draw.tokens_T for draw in draws if draw is not None]
    if len(rows) < len(draws):
        return {}
    input_ids_BT = torch.from_numpy(np.stack(rows).astype(np.int64))
    return {"input_ids": input_ids_BT, "labels": input_ids_BT}
