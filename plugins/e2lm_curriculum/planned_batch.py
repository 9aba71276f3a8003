"""From draws to what a model trains on at that step: pieces, vocabulary, masks and labels.

Everything follows from the number of the draw: no counter is read, so loaders may read ahead, in any process.

Shape suffixes: B examples, T tokens per example, L tokens per piece, P pieces (B * T / L), S steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from e2lm.curriculum import Plan
from e2lm_curriculum.corpus_tags import LAST_TAG
from e2lm_curriculum.objective import IGNORED, masked_tokens, masking_rates, planned_labels
from e2lm_curriculum.plan_setting import MASK_RATE
from e2lm_curriculum.planned_dataset import Draw
from e2lm_curriculum.tokenizer import FIRST_TEXT_ID, UNKNOWN_ID

#: Keeps the stream of masks apart from the order's.
MASK_STREAM = 2


@dataclass(frozen=True)
class PlannedBatch:
    """Makes the batch of a step as ``plan`` has it; ``default`` is the objective where the plan names none.

    ``vocabulary`` is the size of the tokenizer. The plan's examples are not needed, only what it sets by step.
    """

    plan: Plan
    default: str
    vocabulary: int
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
        rates_PL = masking_rates(objective, tokens_PL, tags_PL, rate)
        chosen_PL = rng.random(tokens_PL.shape) < rates_PL
        inputs_PL = masked_tokens(objective, tokens_PL, chosen_PL, self.vocabulary, rng)
        labels_PL = planned_labels(objective, tokens_PL, tags_PL)
        if objective == "mlm":
            # Only token labels are limited: a part of speech is no token.
            labels_PL = self._limited(labels_PL, tags_PL, step)
        return self._limited(inputs_PL, tags_PL, step), np.where(chosen_PL, labels_PL, IGNORED)

    def _limited(self, tokens_PL: NDArray[np.int64], tags_PL: NDArray[np.int64] | None, step: int) -> NDArray[np.int64]:
        shares_S = self.plan.vocabulary_shares_S
        if shares_S is None:
            return tokens_PL
        return limited_tokens(tokens_PL, tags_PL, float(shares_S[step]), self.plan.vocabulary_map, self.vocabulary)


def limited_tokens(
    tokens_PL: NDArray[np.int64],
    tags_PL: NDArray[np.int64] | None,
    share: float,
    vocabulary_map: str,
    vocabulary: int,
) -> NDArray[np.int64]:
    """``tokens_PL`` with the unknown token for all that ``share`` leaves out (CLIMB, vocabulary_map).

    With V the vocabulary: ``token-id`` leaves out id > share V, ``pos`` tag > share 11, ``pos-and-token-id``
    tag V + id > share 11 V. Special tokens stay, and tokens without a tag where tags decide.

    >>> limited_tokens(np.array([[0, 5, 50, 90]]), None, 0.5, "token-id", 100).tolist()
    [[0, 5, 50, 3]]
    """
    if vocabulary_map == "token-id":
        left_out_PL = tokens_PL > share * vocabulary
    else:
        assert tags_PL is not None
        if vocabulary_map == "pos":
            left_out_PL = tags_PL > share * LAST_TAG
        else:
            left_out_PL = tags_PL * vocabulary + tokens_PL > share * LAST_TAG * vocabulary
        left_out_PL &= tags_PL >= 0
    return np.where(left_out_PL & (tokens_PL >= FIRST_TEXT_ID), UNKNOWN_ID, tokens_PL)
