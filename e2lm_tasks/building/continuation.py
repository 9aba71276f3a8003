"""Which of four ends belongs to this beginning? The wrong ends are ends of other sentences of the same text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from e2lm_tasks.building.item import CHOICES, MAX_ITEM_BYTES, Item, occurs_in
from e2lm_tasks.building.prose import Prose

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

#: A rival is up to one bin longer than the true end, in up to four bytes per character.
ROOM_FOR_RIVALS_BYTES = 4 * LENGTH_BIN_CHARS

#: Wrong ends tried per item before the item is given up.
TRIES = 40


@dataclass(frozen=True, slots=True)
class _Cut:
    """A sentence cut in two, with the sentences before it as context of its beginning."""

    context: str
    end: str
    run: int


def continuation_items(prose: Prose, rng: np.random.Generator) -> Iterator[Item | None]:
    """Items in random order; None where a sentence gives none."""
    cuts = [_cut(prose, index, rng) for index in range(len(prose))]
    # Only ends that could be true ones compete, else those would differ in length by how they were chosen.
    rivals: dict[tuple[int, int], list[_Cut]] = defaultdict(list)
    for index, cut in enumerate(cuts):
        if cut is not None:
            rivals[_bin(prose, index, cut)].append(cut)
    for index in rng.permutation(len(prose)).tolist():
        cut = cuts[index]
        if cut is not None:
            yield _item(cut, rivals[_bin(prose, index, cut)], rng)


def _cut(prose: Prose, index: int, rng: np.random.Generator) -> _Cut | None:
    words = prose.sentences[index].text.split()
    if len(words) < MIN_WORDS:
        return None
    at = int(rng.integers(round(len(words) * CUT_FROM), round(len(words) * CUT_TO) + 1))
    beginning, end = " ".join(words[:at]), " ".join(words[at:])
    # An end that holds only one half of a pair of brackets or quotes would give itself away.
    if not MIN_END_CHARS <= len(end) <= MAX_END_CHARS or any(mark in end for mark in '()"“”「」『』（）'):
        return None
    room = MAX_ITEM_BYTES - len(f"{beginning} {end}".encode()) - ROOM_FOR_RIVALS_BYTES
    context = f"{prose.before(index, room)} {beginning}".strip()
    if len(context) < MIN_CONTEXT_CHARS or occurs_in(end, context):
        return None
    return _Cut(context, end, prose.sentences[index].run)


def _bin(prose: Prose, index: int, cut: _Cut) -> tuple[int, int]:
    return prose.sentences[index].source, len(cut.end) // LENGTH_BIN_CHARS


def _item(cut: _Cut, rivals: list[_Cut], rng: np.random.Generator) -> Item | None:
    wrong: list[str] = []
    for drawn in rng.integers(len(rivals), size=TRIES).tolist():
        rival = rivals[drawn]
        if rival.run == cut.run or rival.end in (cut.end, *wrong) or occurs_in(rival.end, cut.context):
            continue
        wrong.append(rival.end)
        if len(wrong) == CHOICES - 1:
            return Item(cut.context, cut.end, tuple(wrong))
    return None
