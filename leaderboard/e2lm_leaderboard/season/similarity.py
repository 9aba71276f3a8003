"""How much of an entry stands in entries of others: fingerprints of items, compared through an index.

An item is the set of its words, prompt and choices together, in small letters and without the commonest of English. A
few words put in, left out or moved leave the set nearly as it was. Sets are compared by MinHash (Broder 1997, On the
resemblance and containment of documents): :data:`BANDS` hashes of :data:`ROWS` minima each; two items with Jaccard
index .85 share at least :data:`LEAST_BANDS` of them 19 times in 20, two of .4 once in 90. What it costs does not grow
with the number of earlier entries: they are found by hash, and of bands that very many items share (one template filled
in) the rarest alone are looked at.

The organiser is told who and how much, the entrant neither: whoever could ask would learn others' items one by one.

Shape suffixes: I items, H hash functions, W words of an item.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from e2lm_leaderboard.bundle.items import TaskItem
from e2lm_leaderboard.bundle.rules import COMMON_WORDS_TEXT

BANDS, ROWS, LEAST_BANDS = 8, 3, 3
#: What is compared with one entry, and looked up of all: of what so many items have in common the rarest.
MOST_PAIRS, MOST_HITS = 4_000_000, 1_000_000
ITEM_BITS = 32
#: A Mersenne prime; products of two numbers below it fit into 64 bits.
PRIME = (1 << 31) - 1
#: Fewer words say nothing of where an item comes from.
LEAST_WORDS = 4
WORD = re.compile(r"\w+")


def fingerprints(items: Iterable[TaskItem]) -> list[tuple[int, int]]:
    """Number of the item and hash of each of its bands; none of items of a few words."""
    found = []
    for number, item in enumerate(items):
        words = _words(item)
        if len(words) >= LEAST_WORDS:
            found += [(number, band) for band in _bands(words)]
    return found


def _words(item: TaskItem) -> frozenset[str]:
    text = " ".join((item.context, *item.choices)).casefold()
    return frozenset(WORD.findall(text)) - _common()


@cache
def _common() -> frozenset[str]:
    return frozenset(word for words in COMMON_WORDS_TEXT.values() for word in words.split())


@cache
def _functions() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    rng = np.random.default_rng(0)
    a_H, b_H = (rng.integers(1, PRIME, size=(BANDS * ROWS, 1), dtype=np.uint64) for _ in range(2))
    return a_H, b_H


def _bands(words: frozenset[str]) -> list[int]:
    digests_W = np.array(
        [
            int.from_bytes(blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
            for word in words
        ],
        dtype=np.uint64,
    )
    a_H, b_H = _functions()
    least_H = ((a_H * (digests_W % PRIME)[None, :] + b_H) % PRIME).min(axis=1)
    rows = least_H.astype(">u8").reshape(BANDS, ROWS)
    return [_number(bytes([band]) + row.tobytes(), signed=True) for band, row in enumerate(rows)]


def _number(text: bytes, signed: bool = False) -> int:
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big", signed=signed)


def shares(
    fingerprints: Sequence[tuple[int, int]], hits: Iterable[tuple[int, str, int]], items: int
) -> dict[str, float]:
    """Share of so many items that stand in each other entry, from own item and hash, and hash, entry, its item.

    >>> own = [(0, 11), (0, 12), (0, 13), (1, 14)]
    >>> shares(own, [(11, "a", 5), (12, "a", 5), (13, "a", 5), (14, "a", 2)], 4)
    {'a': 0.25}
    """
    own_of: dict[int, list[int]] = {}
    for item, value in dict.fromkeys(fingerprints):
        own_of.setdefault(value, []).append(item)
    found: dict[str, dict[int, list[int]]] = {}
    for value, entry, item in hits:
        found.setdefault(entry, {}).setdefault(value, []).append(item)
    known = {entry: _items_found(own_of, items_of) for entry, items_of in found.items()}
    return {entry: count / items for entry, count in sorted(known.items()) if count}


def _items_found(own_of: Mapping[int, Sequence[int]], items_of: Mapping[int, Sequence[int]]) -> int:
    """How many own items share enough bands with one item of another entry; of the rarest bands where many do."""
    pairs, total = [], 0
    for value in sorted(items_of, key=lambda value: len(own_of[value]) * len(items_of[value])):
        own_I, other_I = np.array(own_of[value]), np.array(items_of[value])
        total += len(own_I) * len(other_I)
        if total > MOST_PAIRS:
            break
        pairs.append((own_I[:, None] << ITEM_BITS | other_I[None, :]).ravel())
    if not pairs:
        return 0
    pair_P, count_P = np.unique(np.concatenate(pairs), return_counts=True)
    return len(np.unique(pair_P[count_P >= LEAST_BANDS] >> ITEM_BITS))


def flat(tasks: Sequence[Sequence[TaskItem]]) -> list[TaskItem]:
    """The items of all tasks."""
    return [item for task in tasks for item in task]
