"""The items of an entry as lm-eval asks them: description and few-shot examples, every choice, and the right one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2lm import UserError
from e2lm.errors import one_line

#: Of lm-eval's own choice of few-shot examples.
FEWSHOT_SEED = 1234


@dataclass(frozen=True, slots=True)
class EntryItem:
    """One item; ``question`` is its own text, ``context`` all that stands before a choice."""

    task: str
    doc_id: int
    question: str
    context: str
    choices: tuple[str, ...]
    gold: int | None

    @property
    def answer(self) -> str:
        """The right choice, without the blank before it; empty where none is known."""
        return "" if self.gold is None else self.choices[self.gold].strip()


def entry_items(folder: Path, name: str) -> list[EntryItem]:
    """The items of all tasks of ``name``; a :class:`UserError` where lm-eval cannot load them."""
    return [item for task in loaded_tasks(folder, name) for item in _items(task)]


def loaded_tasks(folder: Path, name: str) -> list[Any]:
    """lm-eval's task objects of a task or group in ``folder``."""
    from lm_eval.tasks import TaskManager

    try:
        loaded = TaskManager(include_path=str(folder), include_defaults=False).load([name])["tasks"]
    except Exception as error:  # whatever a task, its code or its data raises
        raise UserError(f"{name}: lm-eval cannot load it ({type(error).__name__}: {one_line(error)})") from error
    return list(loaded.values())


def _items(task: Any) -> Iterator[EntryItem]:
    name = str(task.config.task)
    if task.OUTPUT_TYPE != "multiple_choice":
        raise UserError(f"{name}: output_type {task.OUTPUT_TYPE}; items can be looked at of multiple_choice alone")
    task.set_fewshot_seed(FEWSHOT_SEED)
    task.build_all_requests(limit=None, rank=0, world_size=1)
    by_doc: dict[int, list[Any]] = {}
    for instance in task.instances:
        by_doc.setdefault(int(instance.doc_id), []).append(instance)
    for doc_id, instances in sorted(by_doc.items()):
        doc = instances[0].doc
        choices = tuple(str(instance.args[1]) for instance in instances)
        yield EntryItem(
            name, doc_id, str(task.doc_to_text(doc)), str(instances[0].args[0]), choices, _gold(task, doc, len(choices))
        )


def _gold(task: Any, doc: Any, count: int) -> int | None:
    gold = task.doc_to_target(doc)
    if isinstance(gold, str):
        listed = list(task.doc_to_choice(doc))
        gold = listed.index(gold) if gold in listed else None
    return gold if isinstance(gold, int) and 0 <= gold < count else None
