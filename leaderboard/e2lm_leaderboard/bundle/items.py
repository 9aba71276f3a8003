"""Items of a task: prompt, choices and which of them is true, made from rows as lm-eval makes them.

A field of the task file is the name of a column, a template, a list of templates, or (in the code tier) what a function
gave for the row. lm-eval 0.4.13, ``api/task.py``: ``doc_to_text``, ``doc_to_choice``, ``doc_to_target``.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from e2lm_leaderboard.bundle.task_file import FunctionReference, TaskFile
from e2lm_leaderboard.bundle.template import SafeTemplate, TemplateError, TemplateSteps

#: A rendered list of choices is read as a Python literal, as lm-eval does; longer ones are refused.
MAX_LITERAL_CHARS = 16 * 1024


@dataclass(frozen=True, slots=True)
class TaskItem:
    """One question as the model sees it; ``line`` is where it came from."""

    context: str
    choices: tuple[str, ...]
    gold: int
    line: int

    @property
    def item_id(self) -> str:
        """What the item asks, as a hash: the same wherever it stands."""
        text = json.dumps([self.context, list(self.choices), self.gold], ensure_ascii=False)
        return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def answer(self) -> str:
        """The true choice."""
        return self.choices[self.gold]


class ItemError(Exception):
    """Why a row is no item: the field of the task file, and what was found."""

    def __init__(self, field: str, found: str, expected: str) -> None:
        super().__init__(found)
        self.field, self.found, self.expected = field, found, expected


class ItemMaker:
    """Makes items of the rows of one task; templates are parsed once.

    Raises :class:`ItemError` at once for a template that is not allowed.
    """

    def __init__(self, task: TaskFile) -> None:
        self._task = task
        self._templates: dict[str, SafeTemplate] = {}
        self._steps = TemplateSteps()
        for field in ("description", "doc_to_text", "doc_to_choice", "doc_to_target"):
            value = getattr(task, field)
            for text in value if isinstance(value, tuple) else (value,):
                if isinstance(text, str):
                    self._prepare(field, text)

    def _prepare(self, field: str, text: str) -> None:
        if text in self._templates:
            return
        try:
            self._templates[text] = SafeTemplate(text)
        except TemplateError as error:
            raise ItemError(field, str(error), "a template over the fields of an item") from error

    def items(
        self, rows: Iterable[tuple[int, dict[str, Any]]], answers: Mapping[int, dict[str, Any]] | None = None
    ) -> Iterator[TaskItem]:
        """The items; ``answers`` hold what functions gave, by line and field. :class:`ItemError` names field."""
        for line, row in rows:
            given = {} if answers is None else answers.get(line, {})
            yield self._item(line, row, given)

    def _item(self, line: int, row: dict[str, Any], given: dict[str, Any]) -> TaskItem:
        task = self._task
        description = self._text("description", task.description, row) if task.description else ""
        context = self._field("doc_to_text", task.doc_to_text, row, given)
        choices = self._choices(row, given)
        gold = _gold(self._field("doc_to_target", task.doc_to_target, row, given), choices)
        if isinstance(context, bool) or not isinstance(context, str | int | float):
            raise ItemError("doc_to_text", repr(context)[:80], "a text")
        return TaskItem(f"{description}{context}", choices, gold, line)

    def _field(self, name: str, value: Any, row: dict[str, Any], given: dict[str, Any]) -> Any:
        if isinstance(value, FunctionReference):
            if name not in given:
                raise ItemError(name, "no answer of the function", "a value for every row")
            return given[name]
        if isinstance(value, int):
            return value
        return row[value] if value in row else self._text(name, value, row)

    def _text(self, field: str, template: str, row: dict[str, Any]) -> str:
        try:
            return self._templates[template].render(row, self._steps)
        except TemplateError as error:
            raise ItemError(field, str(error), f"fields of the row: {', '.join(map(str, row))}"[:160]) from error

    def _choices(self, row: dict[str, Any], given: dict[str, Any]) -> tuple[str, ...]:
        value = self._task.doc_to_choice
        if isinstance(value, tuple):
            return tuple(self._text("doc_to_choice", text, row) for text in value)
        found = self._field("doc_to_choice", value, row, given)
        if isinstance(found, str):
            found = _literal(found)
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise ItemError("doc_to_choice", repr(found)[:80], "a list of texts")
        return tuple(found)


def _literal(text: str) -> Any:
    if len(text) > MAX_LITERAL_CHARS:
        raise ItemError("doc_to_choice", f"{len(text)} characters", f"a list of at most {MAX_LITERAL_CHARS}")
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ItemError("doc_to_choice", text[:80], "a list of texts") from error


def _gold(found: Any, choices: tuple[str, ...]) -> int:
    """The index of the true choice, from a number, its digits or its text."""
    if isinstance(found, str) and found in choices:
        return choices.index(found)
    if isinstance(found, str) and found.isdecimal() and found.isascii() and len(found) < 4:
        found = int(found)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < len(choices):
        raise ItemError("doc_to_target", repr(found)[:80], f"a number from 0 to {len(choices) - 1}, or a choice")
    return found
