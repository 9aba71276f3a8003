"""Which tokens of a tokenizer stand for text, and which for a mask, an unknown token or the end of a text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from e2lm.errors import UserError
from e2lm_curriculum.corpus.tokenizer import FIRST_TEXT_ID, MASK_ID, UNKNOWN_ID


@dataclass(frozen=True)
class SpecialTokens:
    """``vocabulary`` is the highest identifier and one; ``special`` are those that are no text, rising.

    ``mask`` and ``unknown`` are None where the tokenizer has none that means only that.
    """

    vocabulary: int
    special: tuple[int, ...]
    mask: int | None
    unknown: int | None
    #: What to say where ``mask`` or ``unknown`` is asked for and missing.
    name: str = "tokenizer"

    @classmethod
    def own(cls, vocabulary: int) -> Self:
        """Of a tokenizer that ``e2lm train`` made for masks: the special tokens are the first four."""
        return cls(vocabulary, tuple(range(FIRST_TEXT_ID)), MASK_ID, UNKNOWN_ID)

    @classmethod
    def of(cls, tokenizer: Any) -> Self:
        """Of any tokenizer of transformers; an unknown token that means something else too, as GPT-2's, is none."""
        special = sorted({int(one) for one in tokenizer.all_special_ids})
        vocabulary = max(tokenizer.get_vocab().values(), default=-1) + 1
        unknown, mask = tokenizer.unk_token_id, tokenizer.mask_token_id
        others = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.sep_token_id)
        if unknown in (*others, tokenizer.cls_token_id, mask):
            unknown = None
        return cls(vocabulary, tuple(special), mask, unknown, str(tokenizer.name_or_path or type(tokenizer).__name__))

    @cached_property
    def texts(self) -> NDArray[np.int64]:
        """The identifiers that stand for text, rising."""
        return np.setdiff1d(np.arange(self.vocabulary), self.special)

    def is_text(self, tokens: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Which of ``tokens`` stand for text.

        >>> SpecialTokens.own(10).is_text(np.array([0, 3, 4, 9])).tolist()
        [False, False, True, True]
        """
        return np.isin(tokens, self.special, invert=True)

    @property
    def needed_mask(self) -> int:
        """``mask`` where it must be; a :class:`UserError` without one."""
        return self._needed(self.mask, "mask")

    @property
    def needed_unknown(self) -> int:
        """``unknown`` where it must be; a :class:`UserError` without one of its own."""
        return self._needed(self.unknown, "unk")

    def _needed(self, found: int | None, role: str) -> int:
        if found is None:
            raise UserError(
                f"{self.name}: has no {role}_token of its own, which this curriculum puts in place of others; "
                f"tokenizer.add_special_tokens({{'{role}_token': '<|{role}|>'}}) and model.resize_token_embeddings"
                "(len(tokenizer)) add one"
            )
        return found
