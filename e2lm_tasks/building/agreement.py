"""Which of two forms of a small word stands here? The neighbouring word decides, so a few words of context suffice.

Both forms are right equally often over the task: a model that only knows their frequencies gets chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from e2lm_tasks.building.item import MAX_ITEM_BYTES, Item
from e2lm_tasks.building.prose import Prose

#: Form and counterpart; ``a`` and ``an`` are decided by the next word, which becomes part of the choice.
COUNTERPART = {
    "is": "are", "are": "is", "was": "were", "were": "was", "has": "have", "have": "has", "does": "do", "do": "does",
    "this": "these", "these": "this", "a": "an", "an": "a",
}  # fmt: skip
DECIDED_BY_NEXT = frozenset({"a", "an", "this", "these"})
MIN_WORDS_BEFORE = 2
CHOICES = 2


def agreement_items(prose: Prose, rng: np.random.Generator) -> Iterator[Item | None]:
    """Items in random order; None where a sentence gives none or its form is ahead of its counterpart."""
    given: Counter[str] = Counter()
    for index in rng.permutation(len(prose)).tolist():
        words = prose.sentences[index].text.split()
        places = [place for place, word in enumerate(words[:-1]) if word in COUNTERPART and place >= MIN_WORDS_BEFORE]
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
