"""Facts that a text states of something ("A tuple is immutable."), as questions and as one step of inference.

English only: the pattern is a determiner, up to three words, and a verb of a closed list.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from e2lm_tasks.building.facts import FactQuestion, with_false_twins
from e2lm_tasks.building.item import CHOICES, Item
from e2lm_tasks.building.prose import Prose

VERBS = (
    "is", "was", "has", "had", "can", "may", "must", "will", "should", "contains", "consists", "provides", "returns",
    "makes", "takes", "means", "uses", "needs", "gives", "holds", "allows", "supports", "produces", "causes",
    "requires", "includes", "becomes", "belongs", "lives", "occurs", "shows", "works", "lies", "defines", "describes",
    "represents", "forms",
)  # fmt: skip
PLURAL_VERBS = ("are", "were", "have", "had", "can", "may", "must", "will", "should", "do", "use", "contain", "provide")
_REST = r"(?P<rest>[^\W\d_].{3,160}\.)"
ONE_THING = re.compile(
    rf"(?P<subject>(?:An?|The|Each|Every) (?P<noun>[a-z]+(?:[ -][a-z]+){{0,3}}?)) (?P<verb>{'|'.join(VERBS)}) " + _REST
)
MANY_THINGS = re.compile(
    rf"(?P<subject>(?P<noun>[A-Z][a-z]+(?:[ -][a-z]+){{0,2}}?s)) (?P<verb>{'|'.join(PLURAL_VERBS)}) " + _REST
)
#: A subject with one of these words tells of the text before it, or is a phrase rather than a thing.
NOT_THINGS = frozenset(
    [
        "following",
        "above",
        "former",
        "latter",
        "same",
        "first",
        "second",
        "last",
        "next",
        "other",
        "only",
        "which",
        "that",
        "who",
        "of",
        "in",
        "to",
        "for",
        "or",
        "and",
        "with",
        "this",
        "these",
        "those",
        "one",
    ]
)
#: Predicates compete within bins of this width in characters.
LENGTH_BIN_CHARS = 20
#: Made-up names: no word of them is in a dictionary, so nothing is known of their bearers.
NAMES = (
    "Zorvil",
    "Plenka",
    "Dabrix",
    "Muntor",
    "Quessa",
    "Farlo",
    "Brinok",
    "Tavick",
    "Ulmeth",
    "Gosser",
    "Wendra",
    "Kiplo",
)


@dataclass(frozen=True, slots=True)
class StatedFact:
    """``subject verb rest``, as a sentence of the text says it; ``noun`` is the subject without its determiner."""

    subject: str
    noun: str
    verb: str
    rest: str
    of_one_thing: bool


def stated_facts(prose: Prose) -> list[StatedFact]:
    """The facts in order of the text, each once."""
    found: dict[StatedFact, None] = {}
    for sentence in prose.sentences:
        one = ONE_THING.fullmatch(sentence.text)
        match = one or MANY_THINGS.fullmatch(sentence.text)
        if match is not None and not NOT_THINGS & set(match["noun"].lower().split()):
            found[StatedFact(match["subject"], match["noun"], match["verb"], match["rest"], one is not None)] = None
    return list(found)


def fact_items(prose: Prose, rng: np.random.Generator) -> Iterator[Item | None]:
    """The beginning "A tuple is" is continued by what the text says of it, or by what it says of three other things."""
    facts = stated_facts(prose)
    return iter(_shuffled(_items(facts, [f"{fact.subject} {fact.verb}" for fact in facts], rng), rng))


def inference_items(prose: Prose, rng: np.random.Generator) -> Iterator[Item | None]:
    """The same of a bearer that nobody knows: "Zorvil is a tuple. So Zorvil is"."""
    facts = [fact for fact in stated_facts(prose) if fact.of_one_thing]
    names = [NAMES[int(place)] for place in rng.integers(len(NAMES), size=len(facts))]
    contexts = [
        f"{name} is {_article(fact.noun)} {fact.noun}. So {name} {fact.verb}"
        for fact, name in zip(facts, names, strict=True)
    ]
    return iter(_shuffled(_items(facts, contexts, rng), rng))


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"


def _items(facts: Sequence[StatedFact], contexts: Sequence[str], rng: np.random.Generator) -> list[Item]:
    groups: dict[tuple[str, int], list[int]] = defaultdict(list)
    for index, fact in enumerate(facts):
        groups[fact.verb, len(fact.rest) // LENGTH_BIN_CHARS].append(index)
    items: list[Item] = []
    for key in sorted(groups):
        members = groups[key]
        questions = [
            FactQuestion(key[0], 1, contexts[index], facts[index].rest, _rivals(facts, index, members))
            for index in members
        ]
        questions = [question for question in questions if len(question.others) >= CHOICES - 1]
        items += with_false_twins(questions, CHOICES, rng)
    return items


def _rivals(facts: Sequence[StatedFact], index: int, members: Sequence[int]) -> tuple[str, ...]:
    """Predicates of the same form about other things; none that the text states of this one too."""
    own = facts[index].noun
    true = {facts[other].rest for other in members if facts[other].noun == own}
    rests = [facts[other].rest for other in members if facts[other].rest not in true]
    return tuple(dict.fromkeys(rest for rest in rests if own not in rest))


def _shuffled(items: Sequence[Item], rng: np.random.Generator) -> list[Item]:
    return [items[place] for place in rng.permutation(len(items)).tolist()]
