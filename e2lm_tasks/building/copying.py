"""Which of four words comes next in a list that the prompt already holds? All four stand in that list once.

The answer occurs in the prompt by design: the task asks whether a model copies from its context (Olsson et al. 2022,
In-context Learning and Induction Heads). Words and order are random, so nothing but copying helps.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from e2lm_tasks.building.item import CHOICES, MAX_ITEM_BYTES, Item, occurs_in
from e2lm_tasks.building.prose import Prose, WordFrequency

LIST_WORDS = 8

#: Words of the list that are repeated right before the answer.
KEY_WORDS = 3

#: Rare words, so that no word is expected anyway; but seen more than once, so that no slip of the pen gets in.
MIN_COUNT = 2
RARE_SHARE = 0.5

LETTERS = range(5, 10)
UNSPACED_LETTERS = range(2, 7)

#: What stands around the words: before them, between them, at their end.
LIST = ("The list: ", ", ", ".")
JAPANESE_LIST = ("一覧：", "、", "。")

#: Draws of a list before the sentences around it are given up.
TRIES = 5


def copying_items(prose: Prose, frequency: WordFrequency, rng: np.random.Generator) -> Iterator[Item | None]:
    """Items in random order; None where a pair of sentences gives none."""
    words = rare_words(frequency, LETTERS if prose.has_blanks else UNSPACED_LETTERS)
    say = LIST if prose.has_blanks else JAPANESE_LIST
    if len(words) < LIST_WORDS * TRIES:
        return
    for index in rng.permutation(len(prose)).tolist():
        lead = prose.sentences[index].text
        link = prose.sentences[int(rng.integers(len(prose)))].text
        yield _item(lead, link, words, rng, say) if lead != link else None


def rare_words(frequency: WordFrequency, letters: range = LETTERS) -> list[str]:
    """The rarer half of the words that occur at least twice and have a middling length, sorted."""
    known = [
        (count, word)
        for word, count in frequency.counts.items()
        if count >= MIN_COUNT and len(word) in letters and word.isalpha()
    ]
    known.sort()
    return sorted(word for _, word in known[: int(len(known) * RARE_SHARE)])


def _item(
    lead: str, link: str, words: list[str], rng: np.random.Generator, say: tuple[str, str, str] = LIST
) -> Item | None:
    before, between, end = say
    around = f"{lead} {link}"
    for _ in range(TRIES):
        listed = [words[index] for index in rng.choice(len(words), size=LIST_WORDS, replace=False).tolist()]
        # A word within another one would stand in the prompt twice.
        if any(occurs_in(word, around) or sum(word in other for other in listed) > 1 for word in listed):
            continue
        start = int(rng.integers(LIST_WORDS - KEY_WORDS))
        at = start + KEY_WORDS
        rest = [word for place, word in enumerate(listed) if not start <= place <= at]
        wrong = [rest[place] for place in rng.permutation(len(rest)).tolist()[: CHOICES - 1]]
        shown, again = between.join(listed), between.join(listed[start:at])
        context = f"{lead} {before}{shown}{end} {link} {before}{again}{between.rstrip()}"
        return Item(context, listed[at], tuple(wrong)) if len(context.encode()) <= MAX_ITEM_BYTES - 40 else None
    return None
