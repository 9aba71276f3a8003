"""Parts of speech of a corpus: as its lines give them, and as tokens carry them.

Shape suffixes: K tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from e2lm.errors import UserError, nearest_names

#: The universal tag set (Petrov, Das and McDonald 2012) in CLIMB's order, content words first.
TAGS = ("NOUN", "VERB", "ADJ", "ADV", "PRON", "DET", "ADP", "NUM", "CONJ", "PRT", ".", "X")
TAG_NUMBERS = {tag: number for number, tag in enumerate(TAGS)}

#: CLIMB's scale of a pacing over tags: at 1 the last of them is in.
LAST_TAG = len(TAGS) - 1

#: In the bytes of a text: a character of no word, and a text without tags.
NO_TAG = 255
NO_TAG_NUMBER = -1


def tagged_text(data: dict[str, Any], source: str) -> tuple[str, bytes]:
    """The words joined by blanks, and for each character the tag of its word.

    ``data`` has ``words`` and ``tags``, lists of the same length; a :class:`UserError` names ``source`` and what is
    wrong. The blank before a word belongs to the word, as in byte-level tokens.

    >>> tagged_text({"words": ["A", "cat"], "tags": ["DET", "NOUN"]}, "f")[1].hex()
    '0500000000'
    """
    words, tags = data["words"], data.get("tags")
    if not _is_strings(words) or not _is_strings(tags) or len(words) != len(tags):
        raise UserError(f"{source}: fields 'words' and 'tags': expected two lists of strings of the same length")
    for tag in tags:
        if tag not in TAG_NUMBERS:
            raise UserError(f"{source}: field 'tags': unknown tag {tag!r}. {nearest_names(tag, TAGS)}")
    parts = [word if place == 0 else f" {word}" for place, word in enumerate(words)]
    marks = [bytes([TAG_NUMBERS[tag]]) * len(part) for part, tag in zip(parts, tags, strict=True)]
    return "".join(parts), b"".join(marks)


def _is_strings(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def token_tags(offsets_K: Sequence[tuple[int, int]], tags: bytes) -> NDArray[np.int8]:
    """The tag of each token, that of its last character; -1 in a text without tags."""
    if not tags:
        return np.full(len(offsets_K), NO_TAG_NUMBER, dtype=np.int8)
    last_K = np.array([max(start, end - 1) for start, end in offsets_K], dtype=np.int64)
    return np.frombuffer(tags, dtype=np.uint8)[np.minimum(last_K, len(tags) - 1)].astype(np.int8)
