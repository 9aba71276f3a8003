"""Which word comes next, a frequent one or three rare ones? What a model learns before it learns anything else.

Frequency gives the answer by design: the rung is passed by whoever knows the commonest words, in whatever order.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from e2lm_tasks.building.item import CHOICES, MAX_ITEM_BYTES, Item, occurs_in
from e2lm_tasks.building.prose import Prose, WordFrequency

FREQUENT_WORDS = 100
#: A rare word is seen at most so often in the text.
RARE_COUNT = 2
MIN_WORDS_BEFORE = 3


def frequent_word_items(prose: Prose, frequency: WordFrequency, rng: np.random.Generator) -> Iterator[Item | None]:
    """Items in random order; the rare words are as long as the frequent one where such words exist."""
    frequent = frequency.most_frequent(FREQUENT_WORDS)
    rare = sorted(word for word, count in frequency.counts.items() if count <= RARE_COUNT and word.isalpha())
    for index in rng.permutation(len(prose)).tolist():
        words = prose.sentences[index].text.split()
        places = [place for place in range(MIN_WORDS_BEFORE, len(words)) if words[place] in frequent]
        if not places or len(rare) < CHOICES:
            yield None
            continue
        place = places[int(rng.integers(len(places)))]
        beginning = " ".join(words[:place])
        room = MAX_ITEM_BYTES - len(beginning.encode()) - 2
        context = f"{prose.before(index, room - 40)} {beginning}".strip()
        drawn = [rare[i] for i in rng.choice(len(rare), size=min(200, len(rare)), replace=False).tolist()]
        fresh = [word for word in drawn if not occurs_in(word, context)]
        wrong = sorted(fresh, key=lambda word: abs(len(word) - len(words[place])))[: CHOICES - 1]
        yield Item(context, words[place], tuple(wrong)) if len(wrong) == CHOICES - 1 else None
