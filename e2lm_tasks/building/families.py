"""Which kinds of tasks are built together. A new kind: a file beside it, named here; a new family: command.py too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from e2lm_tasks.building.cloze import cloze_items
from e2lm_tasks.building.continuation import continuation_items
from e2lm_tasks.building.copying import copying_items
from e2lm_tasks.building.domain import fact_items, inference_items, term_items
from e2lm_tasks.building.facts import easy_fact_items
from e2lm_tasks.building.item import CHOICES, Item
from e2lm_tasks.building.prose import Prose, WordFrequency
from e2lm_tasks.building.rungs import FORMS, agreement_items, frequent_word_items, two_step_items
from e2lm_tasks.building.word_order import shuffled_items, swapped_items

Maker = Callable[[Prose, WordFrequency, np.random.Generator], Iterator[Item | None]]


@dataclass(frozen=True, slots=True)
class ChoiceKind:
    """One kind of multiple-choice task."""

    name: str
    description: str
    make: Maker
    target_delimiter: str = " "
    answer_in_prompt: bool = False
    choices: int = CHOICES


@dataclass(frozen=True, slots=True)
class SuiteFamily:
    """The kinds of one suite in order, and whether held-out running text goes with them."""

    name: str
    kinds: tuple[ChoiceKind, ...]
    held_out: bool


COPYING = ChoiceKind(
    "copying",
    "The next word of a repeated random list against three other words of that list. "
    "The answer occurs in the prompt by design.",
    copying_items,
    answer_in_prompt=True,
)
FACTS = ChoiceKind(
    "facts",
    "What the text says of a thing against what it says, in a like sentence, of three others.",
    lambda prose, frequency, rng: fact_items(prose, rng),
)

EARLY = SuiteFamily(
    "e2lm_early",
    (
        ChoiceKind(
            "continuation",
            "The true end of a sentence against the ends of three other sentences of the same text and length.",
            lambda prose, frequency, rng: continuation_items(prose, rng),
        ),
        ChoiceKind(
            "shuffled",
            "A sentence against three twins with their inner words in random order; no context.",
            lambda prose, frequency, rng: shuffled_items(prose, rng),
            target_delimiter="",
        ),
        ChoiceKind(
            "swapped",
            "A sentence against its twins after one, another or both of two exchanges of a word of grammar with one of "
            "content; no context.",
            swapped_items,
            target_delimiter="",
        ),
        ChoiceKind(
            "cloze",
            "The last word of a sentence against three last words of like frequency and length.",
            cloze_items,
        ),
        COPYING,
    ),
    held_out=True,
)

#: From what is learnt first to what is learnt last.
LADDER = SuiteFamily(
    "e2lm_ladder",
    (
        ChoiceKind(
            "frequency",
            "A frequent word against three rare ones. Frequency gives the answer by design.",
            frequent_word_items,
        ),
        ChoiceKind(
            "agreement",
            "One of two forms of a small word (is, are; a, an; this, these), decided by its neighbour.",
            lambda prose, frequency, rng: agreement_items(prose, rng),
            choices=FORMS,
        ),
        COPYING,
        ChoiceKind(
            "facts",
            "Plain facts that a child or a pupil knows against coherent false twins; not taken from the text.",
            lambda prose, frequency, rng: easy_fact_items(rng),
        ),
        ChoiceKind(
            "two-steps",
            "The end of a chain of two statements in the prompt; copying what follows the first word fails.",
            lambda prose, frequency, rng: two_step_items(frequency, rng),
            answer_in_prompt=True,
        ),
    ),
    held_out=False,
)


def domain_family(background: WordFrequency) -> SuiteFamily:
    """Vocabulary, facts and one-step inferences of a domain; ``background`` is how everybody writes."""
    return SuiteFamily(
        "e2lm_domain",
        (
            ChoiceKind(
                "vocabulary",
                "A term of the domain where it belongs, against words as frequent there that everybody uses.",
                lambda prose, frequency, rng: term_items(prose, frequency, background, rng),
            ),
            FACTS,
            ChoiceKind(
                "inference",
                "What the text says of a thing, said of a bearer with a made-up name that is such a thing.",
                lambda prose, frequency, rng: inference_items(prose, rng),
            ),
        ),
        held_out=False,
    )
