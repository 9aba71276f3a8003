"""Which of four ends belongs to this beginning? The wrong ends are ends of other sentences of the same text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from e2lm_tasks.item import CHOICES, MAX_ITEM_BYTES, Item, occurs_in
from e2lm_tasks.prose import Prose

#: A sentence is cut at a word in the middle third, so that beginning and end both say something.
CUT_FROM = 1 / 3
CUT_TO = 2 / 3
MIN_WORDS = 9

MIN_END_CHARS = 15
MAX_END_CHARS = 160

#: Ends compete within bins of this width, true and wrong ones drawn alike, so that length tells nothing.
LENGTH_BIN_CHARS = 10

#: A prompt shorter than this hardly narrows down what follows.
MIN_CONTEXT_CHARS = 60

#: Wrong ends tried per item before the item is given up.
TRIES = 40


def continuation_items(prose: Prose, rng: np.random.Generator) -> Iterator[Item | None]:
    """Items in random order; None where a sentence gives none."""
    cuts = [_cut(sentence.text, rng) for sentence in prose.sentences]
    bins: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, cut in enumerate(cuts):
        if cut is not None:
            bins[_bin(prose, index, cut[1])].append(index)
    for index in rng.permutation(len(prose)).tolist():
        cut = cuts[index]
        if cut is not None:
            yield _item(prose, index, cuts, bins[_bin(prose, index, cut[1])], rng)


def _cut(text: str, rng: np.random.Generator) -> tuple[str, str] | None:
    words = text.split()
    if len(words) < MIN_WORDS:
        return None
    at = int(rng.integers(round(len(words) * CUT_FROM), round(len(words) * CUT_TO) + 1))
    end = " ".join(words[at:])
    # An end that holds only one half of a pair of brackets or quotes would give itself away.
    if not MIN_END_CHARS <= len(end) <= MAX_END_CHARS or any(mark in end for mark in '()"“”'):
        return None
    return " ".join(words[:at]), end


def _bin(prose: Prose, index: int, end: str) -> tuple[int, int]:
    return prose.sentences[index].source, len(end) // LENGTH_BIN_CHARS


def _item(
    prose: Prose, index: int, cuts: list[tuple[str, str] | None], rivals: list[int], rng: np.random.Generator
) -> Item | None:
    cut = cuts[index]
    assert cut is not None
    beginning, true = cut
    room = MAX_ITEM_BYTES - len(f"{beginning} {true}".encode()) - LENGTH_BIN_CHARS * 4 - 2
    context = f"{prose.before(index, room)} {beginning}".strip()
    if len(context) < MIN_CONTEXT_CHARS or occurs_in(true, context):
        return None
    wrong: list[str] = []
    for rival in rng.integers(len(rivals), size=TRIES).tolist():
        other = rivals[rival]
        end = cuts[other]
        assert end is not None
        if prose.sentences[other].run == prose.sentences[index].run or end[1] in wrong or occurs_in(end[1], context):
            continue
        wrong.append(end[1])
        if len(wrong) == CHOICES - 1:
            return Item(context, true, tuple(wrong))
    return None
