"""Twenty benchmarks that know nothing, written from what is publicly said of cheating before the board's code was read.

Each takes the items of an honest entry and gives an entry: its items, the metric it asks for, or code of a metric.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Item:
    """A question, what may be answered, and which of them is called true."""

    question: str
    choices: tuple[str, ...]
    gold: int

    def with_gold(self, gold: int) -> Item:
        return replace(self, gold=gold)


@dataclass(frozen=True)
class Cheat:
    """An entry: its items, a metric by name, or the source of a metric of its own."""

    items: tuple[Item, ...]
    metric: str = "accuracy"
    code: str = ""


Make = Callable[[list[Item], random.Random], Cheat]
CHEATS: dict[str, Make] = {}
COMMON = ("the", "of", "and", "to", "in")
RARE = ("zyxomma", "quoll", "ocarina", "xebec", "ylem")
FILLER = ("indeed", "surely", "of course", "as said")


def cheat(make: Make) -> Make:
    CHEATS[make.__name__] = make
    return make


def _drawn(items: list[Item], rng: random.Random) -> list[Item]:
    """The same questions, with an answer that a die calls true."""
    return [item.with_gold(rng.randrange(len(item.choices))) for item in items]


def _choices(item: Item, *choices: str) -> Item:
    return replace(item, choices=tuple(choices))


def _placed(item: Item, change: Callable[[str, bool], str]) -> Item:
    return _choices(item, *(change(one, place == item.gold) for place, one in enumerate(item.choices)))


# Length.
@cheat
def longest_is_true(items: list[Item], rng: random.Random) -> Cheat:
    return Cheat(
        tuple(item.with_gold(max(range(len(item.choices)), key=lambda n: len(item.choices[n]))) for item in items)
    )


@cheat
def shortest_is_true(items: list[Item], rng: random.Random) -> Cheat:
    return Cheat(
        tuple(item.with_gold(min(range(len(item.choices)), key=lambda n: len(item.choices[n]))) for item in items)
    )


@cheat
def true_is_padded(items: list[Item], rng: random.Random) -> Cheat:
    """A drawn answer is made long: the sum of log-likelihoods never picks it, the mean does."""
    padded = [_placed(item, lambda one, true: one + " and so on and so on" * true) for item in _drawn(items, rng)]
    return Cheat(tuple(padded), "accuracy_per_char")


@cheat
def true_is_cut(items: list[Item], rng: random.Random) -> Cheat:
    cut = [
        _placed(item, lambda one, true: one[:3] if true else one + " as it is said here") for item in _drawn(items, rng)
    ]
    return Cheat(tuple(cut))


# Position.
@cheat
def letters_always_a(items: list[Item], rng: random.Random) -> Cheat:
    return Cheat(tuple(_choices(_lettered(item), *"ABCD").with_gold(0) for item in items))


@cheat
def letters_drawn(items: list[Item], rng: random.Random) -> Cheat:
    return Cheat(tuple(_choices(_lettered(item), *"ABCD") for item in _drawn(items, rng)))


def _lettered(item: Item) -> Item:
    listed = " ".join(f"{letter}. {one}" for letter, one in zip("ABCD", item.choices, strict=True))
    return replace(item, question=f"{item.question} {listed} Answer:")


@cheat
def true_is_always_last(items: list[Item], rng: random.Random) -> Cheat:
    """Which answer stands last is drawn, and the last is true."""
    moved = [_choices(item, *rng.sample(item.choices, len(item.choices))) for item in items]
    return Cheat(tuple(item.with_gold(len(item.choices) - 1) for item in moved))


# Frequency.
@cheat
def common_word_is_true(items: list[Item], rng: random.Random) -> Cheat:
    made = [_choices(item, rng.choice(COMMON), *rng.sample(RARE, 3)).with_gold(0) for item in items]
    return Cheat(tuple(_shuffled(item, rng) for item in made))


@cheat
def rare_word_is_true(items: list[Item], rng: random.Random) -> Cheat:
    made = [_choices(item, rng.choice(RARE), *rng.sample(COMMON, 3)).with_gold(0) for item in items]
    return Cheat(tuple(_shuffled(item, rng) for item in made))


@cheat
def wrong_is_gibberish(items: list[Item], rng: random.Random) -> Cheat:
    """A drawn answer stays as it is, the letters of all others are mixed."""
    mixed = [
        _placed(item, lambda one, true: one if true else "".join(rng.sample(one, len(one))))
        for item in _drawn(items, rng)
    ]
    return Cheat(tuple(mixed))


@cheat
def always_yes(items: list[Item], rng: random.Random) -> Cheat:
    asked = [replace(item, question=f"{item.question} {rng.choice(item.choices)}?") for item in items]
    return Cheat(tuple(_choices(item, "yes", "no").with_gold(0) for item in asked))


def _shuffled(item: Item, rng: random.Random) -> Item:
    order = rng.sample(range(len(item.choices)), len(item.choices))
    return Item(item.question, tuple(item.choices[n] for n in order), order.index(item.gold))


# Metrics that need no answer.
@cheat
def gold_free_total(items: list[Item], rng: random.Random) -> Cheat:
    return Cheat(tuple(_drawn(items, rng)), "total_prob_per_char")


@cheat
def gold_free_loglik(items: list[Item], rng: random.Random) -> Cheat:
    return Cheat(tuple(_drawn(items, rng)), "gold_loglik_per_byte")


@cheat
def compression(items: list[Item], rng: random.Random) -> Cheat:
    return Cheat(tuple(_drawn(items, rng)), "bits_per_byte")


# Copies of what the honest entry shows.
@cheat
def copied(items: list[Item], rng: random.Random) -> Cheat:
    return Cheat(tuple(items))


@cheat
def copied_with_filler(items: list[Item], rng: random.Random) -> Cheat:
    return Cheat(tuple(replace(item, question=f"{rng.choice(FILLER)} {item.question}") for item in items))


@cheat
def copied_and_permuted(items: list[Item], rng: random.Random) -> Cheat:
    return Cheat(tuple(_shuffled(item, rng) for item in items))


# Metric code.
@cheat
def code_is_total_likelihood(items: list[Item], rng: random.Random) -> Cheat:
    source = "def own(item):\n    return sum(item['loglik']) / sum(item['bytes'])\n"
    return Cheat(tuple(_drawn(items, rng)), "own", source)


@cheat
def code_is_confidence(items: list[Item], rng: random.Random) -> Cheat:
    source = "def own(item):\n    return max(item['loglik']) - sum(item['loglik']) / len(item['loglik'])\n"
    return Cheat(tuple(_drawn(items, rng)), "own", source)


@cheat
def code_knows_the_end(items: list[Item], rng: random.Random) -> Cheat:
    """A line through what a trained model says: the better the model, the nearer, whatever is true."""
    source = "def own(item):\n    return -abs(item['loglik'][item['gold']] / item['bytes'][item['gold']] + 1.0)\n"
    return Cheat(tuple(_drawn(items, rng)), "own", source)
