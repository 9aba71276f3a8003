"""What a suite of a domain asks: its terms, the facts that its documents state, one step of inference from them.

A term is a word whose share in the documents is many times its share in the background text; it stands against words
that the documents use as often but everybody uses.

Facts are what a text states of something ("A tuple is immutable."). English only: the pattern is a determiner, up to
three words, and a verb of a closed list.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from e2lm import UserError
from e2lm_tasks.building.facts import FactQuestion, with_false_twins
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
            _term_item(prose, index, words, places[draw], frequency, by_count, rng)
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


def _term_item(
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
    return iter(_shuffled(_fact_items(facts, [f"{fact.subject} {fact.verb}" for fact in facts], rng), rng))


def inference_items(prose: Prose, rng: np.random.Generator) -> Iterator[Item | None]:
    """The same of a bearer that nobody knows: "Zorvil is a tuple. So Zorvil is"."""
    facts = [fact for fact in stated_facts(prose) if fact.of_one_thing]
    names = [NAMES[int(place)] for place in rng.integers(len(NAMES), size=len(facts))]
    contexts = [
        f"{name} is {_article(fact.noun)} {fact.noun}. So {name} {fact.verb}"
        for fact, name in zip(facts, names, strict=True)
    ]
    return iter(_shuffled(_fact_items(facts, contexts, rng), rng))


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"


def _fact_items(facts: Sequence[StatedFact], contexts: Sequence[str], rng: np.random.Generator) -> list[Item]:
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
