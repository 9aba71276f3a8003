"""Wrong choices for questions of fact: answers to other questions of the same kind, so true elsewhere and false here.

A choice must not give itself away. Within a relation every answer therefore is wrong as many times as often as it is
right, which takes away what its frequency could tell; and of the answers that are due, those nearest in length are
taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from e2lm_tasks.fact_relation import FactQuestion, read_relations
from e2lm_tasks.item import CHOICES, Item

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
