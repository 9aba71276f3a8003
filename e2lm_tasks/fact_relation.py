"""A table of plain facts of one kind, and the questions it gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import yaml
from pydantic import Field, model_validator

from e2lm import UserError
from e2lm.errors import one_line
from e2lm.noun import Noun

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
