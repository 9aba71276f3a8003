"""From a plan to what a model trains on at each step: examples in order, pieces, vocabulary, masks and labels.

Entry n of the data set is the n-th example that training sees. The order lives in the data, not in a sampler: a sampler
that reads the step counter lags behind by what the loader prefetches and replays wrongly on resume, while reading a
planned data set in sequence cannot. All else follows from the number of the draw, so loaders may read ahead, in any
process.

Shape suffixes: K tokens, X examples, T tokens per example, L tokens per piece, P pieces (B * T / L), S optimiser steps,
B examples per step, N draws (S * B).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from e2lm.arrays import Indices
from e2lm.curriculum import Plan
from e2lm_curriculum.corpus.reader import LAST_TAG
from e2lm_curriculum.corpus.special_tokens import SpecialTokens
from e2lm_curriculum.corpus.tokenizer import TAGS_FILE, TOKENS_FILE
from e2lm_curriculum.model.objective import IGNORED, masked_tokens, masking_rates, planned_labels
from e2lm_curriculum.plan.file import read_array
from e2lm_curriculum.plan.setting import MASK_RATE
from e2lm_curriculum.train.prepared import PREPARED_FOLDER


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
    row_K = read_array(file)
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


#: Keeps the stream of masks apart from the order's.
MASK_STREAM = 2


@dataclass(frozen=True)
class PlannedBatch:
    """Makes the batch of a step as ``plan`` has it; ``default`` is the objective where the plan names none.

    ``ids`` are those of the tokenizer. The plan's examples are not needed, only what it sets by step.
    """

    plan: Plan
    default: str
    ids: SpecialTokens
    batch_size: int
    seed: int

    def __call__(self, draws: list[Draw | None]) -> dict[str, Any]:
        """``input_ids`` and ``labels`` of all active objectives, one below the other, and the objectives' names.

        Labels that do not count are -100. Nothing at all for draws that are not planned yet: no model takes that.
        """
        known = [draw for draw in draws if draw is not None]
        if len(known) < len(draws):
            return {}
        step = known[0].number // self.batch_size
        tokens_PL, tags_PL = self._pieces(known, step)
        rng = np.random.default_rng([self.seed, MASK_STREAM, known[0].number])
        objectives = self.plan.objectives_at(step) or (self.default,)
        parts = [self._part(one, tokens_PL, tags_PL, step, rng) for one in objectives]
        return {
            "input_ids": torch.from_numpy(np.concatenate([part[0] for part in parts])),
            "labels": torch.from_numpy(np.concatenate([part[1] for part in parts])),
            "objectives": objectives,
        }

    def _pieces(self, draws: list[Draw], step: int) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        tokens_BT = np.stack([draw.tokens_T for draw in draws]).astype(np.int64)
        lengths_S = self.plan.sequence_lengths_S
        length = tokens_BT.shape[1] if lengths_S is None else int(lengths_S[step])
        tags = [draw.tags_T for draw in draws if draw.tags_T is not None]
        tags_PL = np.stack(tags).astype(np.int64).reshape(-1, length) if tags else None
        return tokens_BT.reshape(-1, length), tags_PL

    def _part(
        self,
        objective: str,
        tokens_PL: NDArray[np.int64],
        tags_PL: NDArray[np.int64] | None,
        step: int,
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if objective == "clm":
            limited_PL = self._limited(tokens_PL, tags_PL, step)
            return limited_PL, limited_PL
        rates_S = self.plan.mask_rates_S
        rate = MASK_RATE if rates_S is None else float(rates_S[step])
        rates_PL = masking_rates(objective, tokens_PL, tags_PL, rate, self.ids)
        chosen_PL = rng.random(tokens_PL.shape) < rates_PL
        inputs_PL = masked_tokens(objective, tokens_PL, chosen_PL, self.ids, rng)
        labels_PL = planned_labels(objective, tokens_PL, tags_PL)
        if objective == "mlm":
            # Only token labels are limited: a part of speech is no token.
            labels_PL = self._limited(labels_PL, tags_PL, step)
        return self._limited(inputs_PL, tags_PL, step), np.where(chosen_PL, labels_PL, IGNORED)

    def _limited(self, tokens_PL: NDArray[np.int64], tags_PL: NDArray[np.int64] | None, step: int) -> NDArray[np.int64]:
        shares_S = self.plan.vocabulary_shares_S
        if shares_S is None:
            return tokens_PL
        return limited_tokens(tokens_PL, tags_PL, float(shares_S[step]), self.plan.vocabulary_map, self.ids)


def limited_tokens(
    tokens_PL: NDArray[np.int64],
    tags_PL: NDArray[np.int64] | None,
    share: float,
    vocabulary_map: str,
    ids: SpecialTokens,
) -> NDArray[np.int64]:
    """``tokens_PL`` with the unknown token for all that ``share`` leaves out (CLIMB, vocabulary_map).

    With V the vocabulary: ``token-id`` leaves out id > share V, ``pos`` tag > share 11, ``pos-and-token-id``
    tag V + id > share 11 V. Special tokens stay, and tokens without a tag where tags decide.

    >>> limited_tokens(np.array([[0, 5, 50, 90]]), None, 0.5, "token-id", SpecialTokens.own(100)).tolist()
    [[0, 5, 50, 3]]
    """
    vocabulary = ids.vocabulary
    if vocabulary_map == "token-id":
        left_out_PL = tokens_PL > share * vocabulary
    else:
        assert tags_PL is not None
        if vocabulary_map == "pos":
            left_out_PL = tags_PL > share * LAST_TAG
        else:
            left_out_PL = tags_PL * vocabulary + tokens_PL > share * LAST_TAG * vocabulary
        left_out_PL &= tags_PL >= 0
    return np.where(left_out_PL & ids.is_text(tokens_PL), ids.needed_unknown, tokens_PL)
