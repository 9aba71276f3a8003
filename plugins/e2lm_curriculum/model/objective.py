"""Which tokens an objective masks, by what, and what is to be predicted there.

Shape suffixes: P pieces, L tokens per piece.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from e2lm_curriculum.corpus.reader import TAG_NUMBERS, TAGS
from e2lm_curriculum.corpus.special_tokens import SpecialTokens
from e2lm_curriculum.corpus.tokenizer import FIRST_TEXT_ID
from e2lm_curriculum.plan.setting import MASK_RATE

#: The part of a model that is trained and not published: heads of part-of-speech objectives.
HEADS = "objective_heads"

#: What torch's cross-entropy ignores.
IGNORED = -100

#: Objectives over parts of speech and the tags they list; every other tag is one class, the last.
TAGS_OF_OBJECTIVE = {
    "pos-all": TAGS[:-1],
    "pos-noun-verb": ("NOUN", "VERB"),
    "pos-noun-verb-adj": ("NOUN", "VERB", "ADJ"),
}

#: CLIMB masks listed tags more often, all else as in masked-token prediction.
LISTED_TAG_RATE = 0.4

#: Share of chosen tokens that become the mask token, and that become a random one; the rest stays. For tokens these are
#: CLIMB's own (BERT: 0.8, 0.1), for parts of speech BERT's, as in CLIMB.
REPLACED = {"mlm": (0.9, 0.1)}
REPLACED_BY_BERT = (0.8, 0.1)


def classes(objective: str) -> int:
    """How many classes a part-of-speech objective tells apart.

    >>> classes("pos-all"), classes("pos-noun-verb")
    (12, 3)
    """
    return len(TAGS_OF_OBJECTIVE[objective]) + 1


def masking_rates(
    objective: str,
    tokens_PL: NDArray[np.int64],
    tags_PL: NDArray[np.int64] | None,
    rate: float = MASK_RATE,
    ids: SpecialTokens | None = None,
) -> NDArray[np.float64]:
    """The probability with which each token is chosen; never a special one of ``ids`` (else of our tokenizers).

    ``rate`` for ``mlm``. For parts of speech 0.4 where the tag is listed, else 0.15; 0 where there is no tag.
    """
    is_text_PL = tokens_PL >= FIRST_TEXT_ID if ids is None else ids.is_text(tokens_PL)
    if objective == "mlm":
        return np.where(is_text_PL, rate, 0.0)
    assert tags_PL is not None
    listed = [TAG_NUMBERS[tag] for tag in TAGS_OF_OBJECTIVE[objective]]
    rates_PL = np.where(np.isin(tags_PL, listed), LISTED_TAG_RATE, MASK_RATE)
    return np.where(is_text_PL & (tags_PL >= 0), rates_PL, 0.0)


def masked_tokens(
    objective: str,
    tokens_PL: NDArray[np.int64],
    chosen_PL: NDArray[np.bool_],
    ids: SpecialTokens,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """``tokens_PL`` with chosen ones replaced by the mask token, by a random one of text, or by nothing."""
    mask_share, random_share = REPLACED.get(objective, REPLACED_BY_BERT)
    decision_PL = rng.random(tokens_PL.shape)
    random_PL = ids.texts[rng.integers(0, len(ids.texts), tokens_PL.shape)]
    replaced_PL = np.where(decision_PL < mask_share + random_share, random_PL, tokens_PL)
    replaced_PL = np.where(decision_PL < mask_share, ids.needed_mask, replaced_PL)
    return np.where(chosen_PL, replaced_PL, tokens_PL)


def planned_labels(
    objective: str, tokens_PL: NDArray[np.int64], tags_PL: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    """What each place has to be predicted as if it is chosen: its token, or the class of its tag."""
    if objective == "mlm":
        return tokens_PL
    assert tags_PL is not None
    listed = TAGS_OF_OBJECTIVE[objective]
    class_of_tag = np.full(len(TAGS) + 1, len(listed), dtype=np.int64)  # the last entry is for no tag, -1
    for number, tag in enumerate(listed):
        class_of_tag[TAG_NUMBERS[tag]] = number
    return np.asarray(class_of_tag[tags_PL])
