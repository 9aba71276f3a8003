"""Facts of arithmetic, made rather than listed: each kind a relation with wrong results near the right one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from e2lm_tasks.item import Item

#: How far wrong results lie from the right one: slips of counting, of a carry and of a digit.
SLIPS = (-10, -2, -1, 1, 2, 10)


@dataclass(frozen=True, slots=True)
class ArithmeticKind:
    """One kind of exercise: ``context(a, b)`` is continued by ``result(a, b)``."""

    relation: str
    grade: int
    context: Callable[[int, int], str]
    result: Callable[[int, int], int]
    low: tuple[int, int]
    high: tuple[int, int]
    items: int


ARITHMETIC = (
    ArithmeticKind("counting", 1, lambda a, b: f"{a}, {a + 1}, {a + 2}, {a + 3},",
                   lambda a, b: a + 4, (1, 0), (90, 0), 60),
    ArithmeticKind("counting-by", 2, lambda a, b: f"{a}, {a + b}, {a + 2 * b}, {a + 3 * b},",
                   lambda a, b: a + 4 * b, (1, 2), (20, 10), 60),
    ArithmeticKind("small-sum", 2, lambda a, b: f"{a} plus {b} equals", lambda a, b: a + b, (1, 1), (9, 9), 60),
    ArithmeticKind("small-difference", 3, lambda a, b: f"{a + b} minus {b} equals", lambda a, b: a, (1, 1), (9, 9), 60),
    ArithmeticKind("times-table", 3, lambda a, b: f"{a} times {b} equals", lambda a, b: a * b, (2, 2), (9, 9), 60),
    ArithmeticKind("sum", 4, lambda a, b: f"{a} plus {b} equals", lambda a, b: a + b, (11, 11), (89, 89), 60),
    ArithmeticKind("difference", 4, lambda a, b: f"{a + b} minus {b} equals", lambda a, b: a, (11, 11), (89, 89), 60),
    ArithmeticKind("quotient", 4, lambda a, b: f"{a * b} divided by {b} equals", lambda a, b: a, (2, 2), (12, 9), 60),
    ArithmeticKind("square", 5, lambda a, b: f"The square of {a} is", lambda a, b: a * a, (4, 0), (40, 0), 30),
    ArithmeticKind("product", 5, lambda a, b: f"{a} times {b} equals", lambda a, b: a * b, (12, 3), (49, 9), 60),
)  # fmt: skip


def arithmetic_items(kind: ArithmeticKind, choices: int, rng: np.random.Generator) -> list[Item]:
    """``kind.items`` different exercises; wrong results are positive and, where possible, as long as the right one."""
    seen: dict[str, Item] = {}
    for a, b in _operands(kind, rng):
        context = kind.context(a, b)
        if context not in seen:
            seen[context] = Item(context, str(kind.result(a, b)), _wrong(kind.result(a, b), choices - 1, rng))
        if len(seen) == kind.items:
            break
    return list(seen.values())


def _operands(kind: ArithmeticKind, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    pairs = [(a, b) for a in range(kind.low[0], kind.high[0] + 1) for b in range(kind.low[1], kind.high[1] + 1)]
    for index in rng.permutation(len(pairs)).tolist():
        yield pairs[index]


def _wrong(right: int, count: int, rng: np.random.Generator) -> tuple[str, ...]:
    """Results that are off by a slip; the right one is as often the smallest of all as the largest."""
    near = [right + slip for slip in SLIPS if right + slip > 0]
    order = sorted(near, key=lambda value: (len(str(value)) != len(str(right)), rng.random()))
    return tuple(map(str, order[:count]))
