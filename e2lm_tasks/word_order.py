"""Which of four sentences has its words in order? The other three hold the same words.

First and last word, punctuation, quotes and capital letters stay in their places, so that only the order of words
tells; and as all choices hold the same words, length and word frequency tell nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from e2lm_tasks.item import CHOICES, Item
from e2lm_tasks.prose import Prose
from e2lm_tasks.word_frequency import WordFrequency

MIN_WORDS = 8
MAX_WORDS = 30

#: Least share of inner words that a shuffled twin moves.
MIN_MOVED_SHARE = 0.6

#: The most frequent words of a text are its grammar (articles, prepositions, auxiliaries) in any language.
GRAMMAR_WORDS = 50

#: Two words further apart than this are rarely felt to be exchanged.
MAX_SWAP_DISTANCE = 4

TRIES = 20

_PARTS = re.compile(r"^(\W*)(.*?)(\W*)$", re.DOTALL)


def shuffled_items(prose: Prose, rng: np.random.Generator) -> Iterator[Item | None]:
    """A sentence against three twins whose inner words are in random order."""
    for words in _sentences(prose, rng):
        true = " ".join(words)
        twins: list[str] = []
        for _ in range(TRIES):
            twin = _shuffled(words, rng)
            if twin is not None and twin != true and twin not in twins:
                twins.append(twin)
            if len(twins) == CHOICES - 1:
                break
        yield Item("", true, tuple(twins)) if len(twins) == CHOICES - 1 else None


def swapped_items(prose: Prose, frequency: WordFrequency, rng: np.random.Generator) -> Iterator[Item | None]:
    """A sentence against three twins in each of which one word of grammar and one of content changed places."""
    grammar = frequency.most_frequent(GRAMMAR_WORDS)
    for words in _sentences(prose, rng):
        pairs = _swaps(words, grammar)
        picked = [pairs[index] for index in rng.permutation(len(pairs)).tolist()]
        twins = list(dict.fromkeys(_rearranged(words, _swapped_order(len(words), pair)) for pair in picked))
        yield Item("", " ".join(words), tuple(twins[: CHOICES - 1])) if len(twins) >= CHOICES - 1 else None


def _sentences(prose: Prose, rng: np.random.Generator) -> Iterator[list[str]]:
    for index in rng.permutation(len(prose)).tolist():
        words = prose.sentences[index].text.split()
        if MIN_WORDS <= len(words) <= MAX_WORDS:
            yield words


def _shuffled(words: list[str], rng: np.random.Generator) -> str | None:
    inner = rng.permutation(np.arange(1, len(words) - 1)).tolist()
    order = [0, *inner, len(words) - 1]
    cores = [_core(word) for word in words]
    moved = sum(cores[place] != cores[taken] for place, taken in enumerate(order))
    return _rearranged(words, order) if moved >= MIN_MOVED_SHARE * len(inner) else None


def _swaps(words: list[str], grammar: frozenset[str]) -> list[tuple[int, int]]:
    cores = [_core(word) for word in words]
    return [
        (first, second)
        for first in range(1, len(words) - 1)
        for second in range(first + 1, min(first + 1 + MAX_SWAP_DISTANCE, len(words) - 1))
        if cores[first].islower()
        and cores[second].islower()
        and (cores[first] in grammar) != (cores[second] in grammar)
    ]


def _swapped_order(count: int, pair: tuple[int, int]) -> list[int]:
    order = list(range(count))
    first, second = pair
    order[first], order[second] = second, first
    return order


def _rearranged(words: list[str], order: list[int]) -> str:
    """The words in another order, the marks around each place unchanged."""
    places = [_parts(word) for word in words]
    return " ".join(f"{place[0]}{places[taken][1]}{place[2]}" for place, taken in zip(places, order, strict=True))


def _parts(word: str) -> tuple[str, str, str]:
    match = _PARTS.match(word)
    assert match is not None  # the pattern matches every string
    return match[1], match[2], match[3]


def _core(word: str) -> str:
    return _parts(word)[1]
