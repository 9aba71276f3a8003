"""The rungs that only the developmental ladder has: a frequent word, agreement, two steps.

Frequent word: a frequent one or three rare ones? What a model learns before it learns anything else. Frequency gives
the answer by design: the rung is passed by whoever knows the commonest words, in whatever order.

Agreement: which of two forms of a small word stands here? The neighbouring word decides, so a few words of context
suffice. Both forms are right equally often over the task: a model that only knows their frequencies gets chance.

Two steps: where is it in the end? Two sentences in the prompt have to be joined; words of the corpus stand for the
things.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from e2lm_tasks.building.item import CHOICES, MAX_ITEM_BYTES, Item, occurs_in
from e2lm_tasks.building.prose import Prose, WordFrequency

FREQUENT_WORDS = 100
#: A rare word is seen at most so often in the text.
RARE_COUNT = 2
MIN_BEFORE_FREQUENT = 3

#: Form and counterpart; ``a`` and ``an`` are decided by the next word, which becomes part of the choice.
COUNTERPART = {
    "is": "are", "are": "is", "was": "were", "were": "was", "has": "have", "have": "has", "does": "do", "do": "does",
    "this": "these", "these": "this", "a": "an", "an": "a",
}  # fmt: skip
DECIDED_BY_NEXT = frozenset({"a", "an", "this", "these"})
MIN_BEFORE_FORM = 2
FORMS = 2

#: Enough frequent words that no two prompts look alike, few enough that a small model knows them.
CHAIN_WORDS = 400
MIN_LETTERS, MAX_LETTERS = 4, 8


def frequent_word_items(prose: Prose, frequency: WordFrequency, rng: np.random.Generator) -> Iterator[Item | None]:
    """Items in random order; the rare words are as long as the frequent one where such words exist."""
    frequent = frequency.most_frequent(FREQUENT_WORDS)
    rare = sorted(word for word, count in frequency.counts.items() if count <= RARE_COUNT and word.isalpha())
    for index in rng.permutation(len(prose)).tolist():
        words = prose.sentences[index].text.split()
        places = [place for place in range(MIN_BEFORE_FREQUENT, len(words)) if words[place] in frequent]
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


def agreement_items(prose: Prose, rng: np.random.Generator) -> Iterator[Item | None]:
    """Items in random order; None where a sentence gives none or its form is ahead of its counterpart."""
    given: Counter[str] = Counter()
    for index in rng.permutation(len(prose)).tolist():
        words = prose.sentences[index].text.split()
        places = [place for place, word in enumerate(words[:-1]) if word in COUNTERPART and place >= MIN_BEFORE_FORM]
        places = [place for place in places if given[words[place]] <= given[COUNTERPART[words[place]]]]
        if not places:
            yield None
            continue
        place = places[int(rng.integers(len(places)))]
        given[words[place]] += 1
        after = [words[place + 1].rstrip(".,;:!?")] if words[place] in DECIDED_BY_NEXT else []
        true, wrong = (" ".join([form, *after]) for form in (words[place], COUNTERPART[words[place]]))
        beginning = " ".join(words[:place])
        room = MAX_ITEM_BYTES - len(beginning.encode()) - len(wrong.encode()) - 2
        yield Item(f"{prose.before(index, room)} {beginning}".strip(), true, (wrong,))


def two_step_items(frequency: WordFrequency, rng: np.random.Generator) -> Iterator[Item | None]:
    """Endless items: "a" in "b" in "c", "d" in "e" in "f"; of "a" one must say "c".

    Wrong choices are the answer after one step and both of the other chain, so copying what follows "a" fails.
    """
    ranked = sorted(frequency.counts, key=lambda word: (-frequency.counts[word], word))
    words = [word for word in ranked if MIN_LETTERS <= len(word) <= MAX_LETTERS and word.isalpha()][:CHAIN_WORDS]
    while len(words) >= 2 * CHOICES:
        a, b, c, d, e, f = (words[place] for place in rng.choice(len(words), size=6, replace=False).tolist())
        sentences = [
            f"The {a} is in the {b}.",
            f"The {b} is in the {c}.",
            f"The {d} is in the {e}.",
            f"The {e} is in the {f}.",
        ]
        told = " ".join(sentences[place] for place in rng.permutation(len(sentences)).tolist())
        yield Item(f"{told} So in the end the {a} is in the", f"{c}.", (f"{b}.", f"{e}.", f"{f}."))
