"""Questions of fact: from tables of plain facts and from arithmetic, with wrong choices that are true elsewhere.

A choice must not give itself away. Within a relation every answer therefore is wrong as many times as often as it is
right, which takes away what its frequency could tell; and of the answers that are due, those nearest in length are
taken.

Facts of arithmetic are made rather than listed: each kind a relation with wrong results near the right one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import yaml
from pydantic import Field, model_validator

from e2lm import UserError
from e2lm.errors import one_line
from e2lm.noun import Noun
from e2lm_tasks.building.item import CHOICES, Item

TABLES = Path(__file__).parent / "fact_tables"
GRADES = (1, 2, 3, 4, 5)
SUBJECT, OBJECT = "{subject}", "{object}"


@dataclass(frozen=True, slots=True)
class FactQuestion:
    """``context`` is truly continued by ``answer``; each of ``others`` answers another question of the relation."""

    relation: str
    grade: int
    context: str
    answer: str
    others: tuple[str, ...]


class FactRelation(Noun):
    """Facts of one kind: ``pairs`` holds subject: object, ``objects`` holds object: [subjects].

    A prompt that mentions ``{subject}`` asks for the object, one that mentions ``{object}`` for the subject.
    ``choices`` is lowered where a relation has fewer answers than four. Grade 1 is what a child says, grade 5 what a
    handbook says.
    """

    relation: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    grade: int = Field(ge=GRADES[0], le=GRADES[-1])
    prompt: str
    inverse: str | None = None
    choices: int = Field(default=4, ge=2, le=4)
    pairs: dict[str, str] | None = None
    objects: dict[str, tuple[str, ...]] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.pairs is None) == (self.objects is None):
            raise ValueError("give either pairs or objects")
        for template in self.templates:
            if (SUBJECT in template) == (OBJECT in template):
                raise ValueError(f"{template!r} must hold either {SUBJECT} or {OBJECT}")
        if self.inverse is not None and (SUBJECT in self.prompt) == (SUBJECT in self.inverse):
            raise ValueError("prompt and inverse ask for the same side")
        for template in self.templates:
            if len(self._answers(template)) < self.choices:
                raise ValueError(f"{template!r} has {len(self._answers(template))} answers, {self.choices} are needed")
        return self

    @property
    def templates(self) -> tuple[str, ...]:
        """The prompts, one for each direction that is asked."""
        return (self.prompt,) if self.inverse is None else (self.prompt, self.inverse)

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """Every (subject, object) in the order of the table."""
        if self.pairs is not None:
            return tuple(self.pairs.items())
        return tuple((subject, value) for value, subjects in (self.objects or {}).items() for subject in subjects)

    def questions(self, template: str) -> Iterator[FactQuestion]:
        """One question per fact; an answer that is true as well is never among the others."""
        asks_object = SUBJECT in template
        for subject, value in self.facts:
            asked, answer = (subject, value) if asks_object else (value, subject)
            true = {o if asks_object else s for s, o in self.facts if (s if asks_object else o) == asked}
            others = tuple(one for one in self._answers(template) if one not in true)
            context = template.replace(SUBJECT if asks_object else OBJECT, asked)
            yield FactQuestion(self.relation, self.grade, context[0].upper() + context[1:], answer, others)

    def _answers(self, template: str) -> tuple[str, ...]:
        """The different answers, in the order of the table."""
        return tuple(dict.fromkeys(fact[1] if SUBJECT in template else fact[0] for fact in self.facts))


def read_relations(folder: Path = TABLES) -> list[FactRelation]:
    """The relations of every table in ``folder``, by file name; a :class:`UserError` names file, relation and field."""
    relations: list[FactRelation] = []
    for file in sorted(folder.glob("*.yaml")):
        try:
            entries = yaml.safe_load(file.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise UserError(f"{file}: not valid YAML ({one_line(error)})") from error
        if not isinstance(entries, list):
            raise UserError(f"{file}: found {type(entries).__name__}; a table is a list of relations")
        for index, entry in enumerate(entries):
            name = entry.get("relation", index) if isinstance(entry, dict) else index
            relations.append(FactRelation.from_data(entry, f"{file}: relation {name}"))
    names = [relation.relation for relation in relations]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{folder}: the relation {twice!r} is there twice")
    return relations


#: What a child and a pupil say.
EASY_GRADES = (1, 2)


def with_false_twins(questions: Sequence[FactQuestion], choices: int, rng: np.random.Generator) -> list[Item]:
    """One item of ``choices`` choices per question of one relation and direction, in the given order."""
    due = Counter({answer: (choices - 1) * count for answer, count in Counter(q.answer for q in questions).items()})
    items: dict[int, Item] = {}
    for index in rng.permutation(len(questions)).tolist():
        question = questions[index]
        tie_break = dict(zip(question.others, rng.random(len(question.others)).tolist(), strict=True))
        length = len(question.answer)
        wrong = sorted(question.others, key=lambda other: (-due[other], abs(len(other) - length), tie_break[other]))[
            : choices - 1
        ]
        due.subtract(wrong)
        items[index] = Item(question.context, question.answer, tuple(wrong))
    return [items[index] for index in range(len(questions))]


def easy_fact_items(rng: np.random.Generator) -> Iterator[Item]:
    """Questions of the easy grades of the tables that come with this package, in random order."""
    items = [
        item
        for relation in read_relations()
        if relation.grade in EASY_GRADES and relation.choices == CHOICES
        for template in relation.templates
        for item in with_false_twins(list(relation.questions(template)), CHOICES, rng)
    ]
    return (items[place] for place in rng.permutation(len(items)).tolist())


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
