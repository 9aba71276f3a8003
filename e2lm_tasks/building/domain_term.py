"""Is a term of the domain known where it belongs? Against words that the documents use as often but everybody uses.

A term is a word whose share in the documents is many times its share in the background text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from e2lm import UserError
from e2lm_tasks.building.item import CHOICES, MAX_ITEM_BYTES, Item, occurs_in
from e2lm_tasks.building.prose import Prose, WordFrequency

#: A term's share in the documents over that in the background (Ahmad et al. 1999, "weirdness"), add-one smoothed.
TERM_RATIO = 4.0
#: A common word's share at most so many times that in the background.
COMMON_RATIO = 1.5
MIN_COUNT = 3
MIN_LETTERS = 4
MIN_CONTEXT_CHARS = 30
#: In fewer words a word that is missing may be missing by chance: 4 times less than seen 3 times in 10,000.
MIN_BACKGROUND_WORDS = 10_000


def term_items(
    prose: Prose, frequency: WordFrequency, background: WordFrequency, rng: np.random.Generator
) -> Iterator[Item | None]:
    """One item per sentence that uses a term, in random order; wrong words are as frequent in the documents."""
    terms, common = terms_and_common(frequency, background)
    by_count: dict[int, list[str]] = defaultdict(list)
    for word in sorted(common):
        by_count[frequency.counts[word].bit_length()].append(word)
    for index in rng.permutation(len(prose)).tolist():
        words = prose.sentences[index].text.split()
        places = [place for place, word in enumerate(words) if word.strip(".,;:") in terms and place > 0]
        tried = (
            _item(prose, index, words, places[draw], frequency, by_count, rng)
            for draw in rng.permutation(len(places)).tolist()
        )
        yield next((item for item in tried if item is not None), None)


def terms_and_common(frequency: WordFrequency, background: WordFrequency) -> tuple[frozenset[str], frozenset[str]]:
    """The terms of the documents, and the words that are as usual elsewhere.

    A :class:`UserError` tells where the background is too small to say what is usual.
    """
    if background.total < MIN_BACKGROUND_WORDS:
        raise UserError(
            f"--background: found {background.total:,} words of prose; at least {MIN_BACKGROUND_WORDS:,} are needed to "
            "tell the terms of the domain from what everybody writes"
        )
    ratios = {
        word: ((count + 1) / (frequency.total + 1)) / ((background.counts[word] + 1) / (background.total + 1))
        for word, count in frequency.counts.items()
        if count >= MIN_COUNT and len(word) >= MIN_LETTERS and word.isalpha()
    }
    return (
        frozenset(word for word, ratio in ratios.items() if ratio >= TERM_RATIO),
        frozenset(word for word, ratio in ratios.items() if ratio <= COMMON_RATIO),
    )


def _item(
    prose: Prose, index: int, words: list[str], place: int,
    frequency: WordFrequency, by_count: dict[int, list[str]], rng: np.random.Generator,
) -> Item | None:  # fmt: skip
    term = words[place].strip(".,;:")
    beginning = " ".join(words[:place])
    context = f"{prose.before(index, MAX_ITEM_BYTES - len(beginning.encode()) - 60)} {beginning}".strip()
    band = by_count[frequency.counts[term].bit_length()]
    drawn = [band[i] for i in rng.permutation(len(band)).tolist()]
    fresh = [word for word in drawn if not occurs_in(word, context)]
    wrong = sorted(fresh[:40], key=lambda word: abs(len(word) - len(term)))[: CHOICES - 1]
    if len(context) < MIN_CONTEXT_CHARS or occurs_in(term, context) or len(wrong) < CHOICES - 1:
        return None
    return Item(context, term, tuple(wrong))
