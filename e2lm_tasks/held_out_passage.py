"""Passages of running text, for the loss of a model on text that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from e2lm_tasks.item import MAX_ITEM_BYTES
from e2lm_tasks.prose import Prose

#: Shorter passages measure the first words, which no model can know, more than the text.
MIN_PASSAGE_BYTES = 120


def passages(prose: Prose, rng: np.random.Generator) -> Iterator[str]:
    """Passages that share no sentence, in random order, each at most :data:`MAX_ITEM_BYTES` of UTF-8."""
    found: list[str] = []
    index = 0
    while index < len(prose):
        passage = prose.after(index, MAX_ITEM_BYTES)
        if len(passage.encode("utf-8")) >= MIN_PASSAGE_BYTES:
            found.append(passage)
        index += max(1, _sentence_count(prose, index, passage))
    for place in rng.permutation(len(found)).tolist():
        yield found[place]


def _sentence_count(prose: Prose, index: int, passage: str) -> int:
    """How many sentences from ``index`` on make up ``passage``."""
    length, count = -1, 0
    while length < len(passage) and index + count < len(prose):
        length += len(prose.sentences[index + count].text) + 1
        count += 1
    return count
