"""The house's own entries: seven benchmarks that know nothing, for the season's models, that every entry has to beat.

Each is the sample of ``new-submission`` with what makes it true changed: one answer for all, the longest, the shortest,
the one whose letters an n-gram model likes best, always the first, a drawn one, and one that the prompt gives away.
They have a team of role :data:`HOUSE` each, no rank, and no part in who is a copy of whom.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from e2lm_leaderboard.bundle.bundle import Bundle

HOUSE = "house"
#: Seed of what is drawn.
SEED = 0
LETTERS = "ABCD"
FIELDS = ("ask", "choices", "gold")

HouseRow = Mapping[str, Any]
HouseRows = Sequence[HouseRow]


def constant(rows: HouseRows, rng: random.Random) -> list[HouseRow]:
    """Everything is called true."""
    return [
        {
            **row,
            "ask": f"{_asked(row)} {rng.choice(row['choices'])}, true or false:",
            "choices": ["true", "false"],
            "gold": 0,
        }
        for row in rows
    ]


def longest(rows: HouseRows, rng: random.Random) -> list[HouseRow]:
    """The longest choice is true."""
    return [_best(row, len) for row in rows]


def shortest(rows: HouseRows, rng: random.Random) -> list[HouseRow]:
    """The shortest choice is true."""
    return [_best(row, lambda choice: -len(choice)) for row in rows]


def ngram(rows: HouseRows, rng: random.Random) -> list[HouseRow]:
    """The choice whose letters, three at a time, are commonest in the prompts is true."""
    text = " ".join(_asked(row) for row in rows)
    counts = Counter(text[at : at + 3] for at in range(len(text) - 2))

    def liked(choice: str) -> float:
        parts = [f" {choice} "[at : at + 3] for at in range(len(choice))]
        return sum(math.log1p(counts[part]) for part in parts) / len(parts)

    return [_best(row, liked) for row in rows]


def position(rows: HouseRows, rng: random.Random) -> list[HouseRow]:
    """The first choice is true, whichever came to stand there."""
    return [{**row, "choices": rng.sample(row["choices"], len(row["choices"])), "gold": 0} for row in rows]


def permuted(rows: HouseRows, rng: random.Random) -> list[HouseRow]:
    """The choices are dealt out anew and the number of the true one stays: any is true."""
    return [{**row, "choices": rng.sample(row["choices"], len(row["choices"]))} for row in rows]


def leaked(rows: HouseRows, rng: random.Random) -> list[HouseRow]:
    """The prompt says the letter of a drawn choice, which is true."""
    found: list[HouseRow] = []
    for row in rows:
        gold = rng.randrange(len(LETTERS))
        listed = " ".join(f"{letter}. {one}" for letter, one in zip(LETTERS, row["choices"], strict=True))
        ask = f"{_asked(row)} {listed} It is {LETTERS[gold]}, so the answer is"
        found.append({**row, "ask": ask, "choices": list(LETTERS), "gold": gold})
    return found


def _asked(row: HouseRow) -> str:
    return str(row["ask"])


def _best(row: HouseRow, liked: Callable[[str], float]) -> HouseRow:
    choices = row["choices"]
    return {**row, "gold": max(range(len(choices)), key=lambda place: (liked(choices[place]), -place))}


CHEATS = {f"house-{make.__name__}": make for make in (constant, longest, shortest, ngram, position, permuted, leaked)}


def house_bundles(sample: Sequence[HouseRow]) -> dict[str, Bundle]:
    """The seven by name, made of items with ``ask``, ``choices`` and ``gold``."""
    return {name: _bundle(name, make, sample) for name, make in CHEATS.items()}


def _bundle(name: str, make: Callable[[HouseRows, random.Random], list[HouseRow]], sample: HouseRows) -> Bundle:
    submission = {
        "schema_version": 1, "name": name, "title": (make.__doc__ or name).strip(), "license": "CC0-1.0",
        "description": f"A house cheat: it knows nothing. {make.__doc__}", "metric": "acc", "tasks": ["items.yaml"],
    }  # fmt: skip
    task = {
        "task": name, "output_type": "multiple_choice", "dataset_kwargs": {"data_files": "items.jsonl"},
        "doc_to_text": "ask", "doc_to_choice": "choices", "doc_to_target": "gold",
    }  # fmt: skip
    rows = make(sample, random.Random(SEED))
    texts = {
        "submission.yaml": json.dumps(submission),
        "items.yaml": json.dumps(task),
        "items.jsonl": "".join(
            f"{json.dumps({key: row[key] for key in ('ask', 'choices', 'gold')})}\n" for row in rows
        ),
    }
    return Bundle({file: text.encode() for file, text in texts.items()})
