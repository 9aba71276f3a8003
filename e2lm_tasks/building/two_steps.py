"""Where is it in the end? Two sentences in the prompt have to be joined; words of the corpus stand for the things."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from e2lm_tasks.building.item import CHOICES, Item
from e2lm_tasks.building.prose import WordFrequency

#: Enough frequent words that no two prompts look alike, few enough that a small model knows them.
WORDS = 400
MIN_LETTERS, MAX_LETTERS = 4, 8


def two_step_items(frequency: WordFrequency, rng: np.random.Generator) -> Iterator[Item | None]:
    """Endless items: "a" in "b" in "c", "d" in "e" in "f"; of "a" one must say "c".

    Wrong choices are the answer after one step and both of the other chain, so copying what follows "a" fails.
    """
    ranked = sorted(frequency.counts, key=lambda word: (-frequency.counts[word], word))
    words = [word for word in ranked if MIN_LETTERS <= len(word) <= MAX_LETTERS and word.isalpha()][:WORDS]
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
