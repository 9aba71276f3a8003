"""Which of four words ends this sentence? The wrong ones end other sentences, as often and at about that length."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2lm.words import WORD
from e2lm_tasks.building.item import CHOICES, MAX_ITEM_BYTES, Item, occurs_in
from e2lm_tasks.building.prose import Prose, WordFrequency

#: A word seen less often could not have been learnt from text of this kind.
MIN_COUNT = 3
MIN_LETTERS = 4

#: Words compete within bins of this width in letters.
LETTERS_PER_BIN = 3

#: Words with this many first letters in common are forms of one word, and both could be right.
STEM_LETTERS = 4

#: Written with Chinese characters or katakana alone, a word is a noun nearly always.
_NOUN = re.compile(r"(?:[\u4e00-\u9fff々]{2,}|[\u30a1-\u30faー]{3,})(?![\u3041-\u3096])")
MAX_WORDS_AFTER = 8

MIN_CONTEXT_CHARS = 40
TRIES = 60


@dataclass(frozen=True, slots=True)
class _Band:
    """Words of like frequency and length, with how often each ends a sentence."""

    words: list[str]
    share_W: NDArray[np.float64]  # W words


def cloze_items(prose: Prose, frequency: WordFrequency, rng: np.random.Generator) -> Iterator[Item | None]:
    """Items in random order; None where a sentence gives none.

    The true word is one occurrence drawn among all last words of the corpus; wrong words are drawn within its band
    with the probabilities of last words too, so that frequency tells nothing.
    """
    ending_of = _ending if prose.has_blanks else _last_noun
    endings = [ending_of(sentence.text) for sentence in prose.sentences]
    bands = _bands(Counter(ending[1] for ending in endings if ending is not None), frequency)
    for index in rng.permutation(len(prose)).tolist():
        ending = endings[index]
        if ending is not None:
            yield _item(prose, index, ending, bands.get(_band_of(ending[1], frequency)), rng)


def _ending(text: str) -> tuple[str, str, str] | None:
    """All but the last word, the last word, and the mark after it."""
    beginning, _, last = text.rpartition(" ")
    word, mark = last[:-1], last[-1:]
    if len(word) < MIN_LETTERS or not word.islower() or WORD.fullmatch(word) is None or mark.isalpha():
        return None
    return beginning, word, mark


def _last_noun(text: str) -> tuple[str, str, str] | None:
    """As :func:`_ending` where a sentence ends in its verb, as in Japanese: the last noun, and all that follows it."""
    parts = text.split(" ")
    for place in range(len(parts) - 1, len(parts) // 2, -1):
        noun = _NOUN.match(parts[place])
        if noun is not None and WORD.findall(parts[place]) == [noun[0]]:
            after = " ".join([parts[place][noun.end() :], *parts[place + 1 :]])
            return (" ".join(parts[:place]), noun[0], after) if place > len(parts) - 1 - MAX_WORDS_AFTER else None
    return None


def _band_of(word: str, frequency: WordFrequency) -> tuple[int, int]:
    return int(math.log2(frequency.counts[word.casefold()])), len(word) // LETTERS_PER_BIN


def _bands(last_words: Counter[str], frequency: WordFrequency) -> dict[tuple[int, int], _Band]:
    grouped: dict[tuple[int, int], list[str]] = defaultdict(list)
    for word in sorted(last_words):
        if frequency.counts[word.casefold()] >= MIN_COUNT:
            grouped[_band_of(word, frequency)].append(word)
    bands = {}
    for key, words in grouped.items():
        counts_W = np.array([last_words[word] for word in words], dtype=np.float64)
        bands[key] = _Band(words, counts_W / counts_W.sum())
    return bands


def _item(
    prose: Prose, index: int, ending: tuple[str, str, str], band: _Band | None, rng: np.random.Generator
) -> Item | None:
    beginning, true, mark = ending
    room = MAX_ITEM_BYTES - len(f"{beginning} {true}{mark}".encode()) - LETTERS_PER_BIN * 4 - 2
    context = f"{prose.before(index, room)} {beginning}".strip()
    if band is None or len(context) < MIN_CONTEXT_CHARS or occurs_in(true, context):
        return None
    chosen = [true]
    for drawn in rng.choice(len(band.words), size=TRIES, p=band.share_W).tolist():
        word = band.words[drawn]
        if any(word[:STEM_LETTERS] == other[:STEM_LETTERS] for other in chosen) or occurs_in(word, context):
            continue
        chosen.append(word)
        if len(chosen) == CHOICES:
            return Item(context, f"{true}{mark}", tuple(f"{word}{mark}" for word in chosen[1:]))
    return None
