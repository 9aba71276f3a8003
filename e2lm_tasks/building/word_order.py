"""Which of four sentences has its words in order? The other three hold the same words.

First and last word, punctuation, quotes and capital letters stay in their places, so that only the order of words
tells; and as all choices hold the same words, length and word frequency tell nothing. A word right after a quote or
bracket stays too: elsewhere it would be cut into other tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from e2lm_tasks.building.item import CHOICES, Item
from e2lm_tasks.building.prose import Prose, WordFrequency

MIN_WORDS = 8
MAX_WORDS = 30

#: Fewer movable words give twins that resemble each other.
MIN_MOVABLE = 5

#: Least share of movable words that a shuffled twin moves.
MIN_MOVED_SHARE = 0.6

#: The most frequent words of a text are its grammar (articles, prepositions, auxiliaries) in any language.
GRAMMAR_WORDS = 50

#: Two words further apart than this are rarely felt to be exchanged.
MAX_SWAP_DISTANCE = 4

TRIES = 20

_PARTS = re.compile(r"^(\W*)(.*?)(\W*)$", re.DOTALL)

WordOrder = list[int]


@dataclass(frozen=True, slots=True)
class _Places:
    """A sentence as words and the marks around them, all in order."""

    marks_before: list[str]
    words: list[str]
    marks_after: list[str]

    @classmethod
    def of(cls, text: str) -> _Places:
        parts = [match for match in map(_PARTS.match, text.split()) if match is not None]
        return cls([part[1] for part in parts], [part[2] for part in parts], [part[3] for part in parts])

    @property
    def movable(self) -> WordOrder:
        return [place for place in range(1, len(self.words) - 1) if not self.marks_before[place]]

    def arranged(self, order: WordOrder) -> str:
        """The words in another order, the marks around each place unchanged."""
        return " ".join(
            f"{before}{self.words[taken]}{after}"
            for before, taken, after in zip(self.marks_before, order, self.marks_after, strict=True)
        )

    def stutters(self, order: WordOrder) -> bool:
        """Whether a word follows itself: that alone would tell."""
        ordered = [self.words[taken].casefold() for taken in order]
        return any(word == follower for word, follower in pairwise(ordered))


def shuffled_items(prose: Prose, rng: np.random.Generator) -> Iterator[Item | None]:
    """A sentence against three twins whose inner words are in random order."""
    for places in _sentences(prose, rng):
        true = places.arranged(list(range(len(places.words))))
        twins: list[str] = []
        for _ in range(TRIES):
            order = _shuffled(places, rng)
            twin = None if order is None else places.arranged(order)
            if twin is not None and twin not in (true, *twins):
                twins.append(twin)
            if len(twins) == CHOICES - 1:
                break
        yield Item("", true, tuple(twins)) if len(twins) == CHOICES - 1 else None


def swapped_items(prose: Prose, frequency: WordFrequency, rng: np.random.Generator) -> Iterator[Item | None]:
    """A sentence against its twins after one exchange of two words, after another one, and after both.

    Each exchange is between a word of grammar and one of content. With both exchanges in every combination, all four
    choices are alike in how they differ from the others. Against three twins with one exchange each, the true
    sentence would be the centre of the four, and a model that tells nothing apart would prefer it 1/8 of the time
    (only if all three exchanges happen to displease it), not 1/4.
    """
    grammar = frequency.most_frequent(GRAMMAR_WORDS)
    for places in _sentences(prose, rng):
        swaps = _swaps(places, grammar)
        picked = [swaps[index] for index in rng.permutation(len(swaps)).tolist()]
        items = (_swapped_item(places, first, second) for first, second in _apart(picked))
        yield next((item for item in items if item is not None), None)


def _sentences(prose: Prose, rng: np.random.Generator) -> Iterator[_Places]:
    for index in rng.permutation(len(prose)).tolist():
        places = _Places.of(prose.sentences[index].text)
        if MIN_WORDS <= len(places.words) <= MAX_WORDS and len(places.movable) >= MIN_MOVABLE:
            yield places


def _shuffled(places: _Places, rng: np.random.Generator) -> WordOrder | None:
    movable = places.movable
    order = list(range(len(places.words)))
    for place, taken in zip(movable, rng.permutation(movable).tolist(), strict=True):
        order[place] = taken
    moved = sum(places.words[place] != places.words[taken] for place, taken in enumerate(order))
    return None if moved < MIN_MOVED_SHARE * len(movable) or places.stutters(order) else order


def _swaps(places: _Places, grammar: frozenset[str]) -> list[tuple[int, int]]:
    words, movable = places.words, places.movable
    return [
        (first, second)
        for first in movable
        for second in movable
        if first < second <= first + MAX_SWAP_DISTANCE
        and _is_small(words[first])
        and _is_small(words[second])
        and (words[first] in grammar) != (words[second] in grammar)
    ]


def _is_small(word: str) -> bool:
    """Whether no letter is a capital; some scripts have none."""
    return word.islower() or (word.isalpha() and word.upper() == word.lower())


def _apart(swaps: list[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """The first exchange with each of those that share no place with it."""
    if not swaps:
        return
    first = swaps[0]
    for second in swaps[1 : TRIES + 1]:
        if not set(first) & set(second):
            yield first, second


def _swapped_item(places: _Places, first: tuple[int, int], second: tuple[int, int]) -> Item | None:
    count = len(places.words)
    orders = [_exchanged(count, first), _exchanged(count, second), _exchanged(count, first, second)]
    if any(places.stutters(order) for order in orders):
        return None
    true, *twins = (places.arranged(order) for order in (list(range(count)), *orders))
    return Item("", true, tuple(twins)) if len({true, *twins}) == CHOICES else None


def _exchanged(count: int, *pairs: tuple[int, int]) -> WordOrder:
    order = list(range(count))
    for first, second in pairs:
        order[first], order[second] = order[second], order[first]
    return order
