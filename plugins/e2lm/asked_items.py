"""The items of an lm-eval task as lm-eval asks them: all that stands before a choice, every choice, and the right one.

Nothing but the standard library and lm-eval is needed here: in a season's sandbox this file runs without e2lm.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

#: What lm-eval's ``simple_evaluate`` seeds before it loads tasks: their code may shuffle or draw.
RANDOM_SEED, NUMPY_SEED = 0, 1234
#: Of lm-eval's own choice of few-shot examples.
FEWSHOT_SEED = 1234


class AskingError(ValueError):
    """Why a task is not one of choices with one prompt."""


@dataclass(frozen=True, slots=True)
class AskedItem:
    """One item; ``question`` is its own text, ``context`` all that stands before a choice.

    ``gold`` is None where no choice, or more than one, is right. ``delimiter`` is what stands first in every choice
    and is not counted where log-likelihoods are divided by lengths.
    """

    task: str
    doc_id: int
    question: str
    context: str
    choices: tuple[str, ...]
    gold: int | None
    delimiter: str = ""

    @property
    def answer(self) -> str:
        """The right choice, without the blank before it; empty where none is known."""
        return "" if self.gold is None else self.choices[self.gold].strip()


def loaded_tasks(folder: str, name: str) -> list[Any]:
    """lm-eval's task objects of a task, group or tag in ``folder``, or of lm-eval's own where it is none of those."""
    import numpy as np
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=folder, include_defaults=False)
    if name not in manager.all_tasks:
        manager = TaskManager(include_path=folder)
    random.seed(RANDOM_SEED)
    np.random.seed(NUMPY_SEED)
    return list(manager.load([name])["tasks"].values())


def asked_items(task: Any) -> Iterator[AskedItem]:
    """The items of a multiple-choice task; an :class:`AskingError` for a task of another kind."""
    name = str(task.config.task)
    if task.OUTPUT_TYPE != "multiple_choice":
        raise AskingError(f"{name}: output_type {task.OUTPUT_TYPE}; items can be looked at of multiple_choice alone")
    task.set_fewshot_seed(FEWSHOT_SEED)
    task.build_all_requests(limit=None, rank=0, world_size=1)
    by_doc: dict[int, list[Any]] = {}
    for instance in task.instances:
        by_doc.setdefault(int(instance.doc_id), []).append(instance)
    with _drawing_nothing():
        found = [
            _item(task, name, doc_id, sorted(instances, key=lambda one: int(one.idx)))
            for doc_id, instances in sorted(by_doc.items())
        ]
    yield from found


@contextmanager
def _drawing_nothing() -> Iterator[None]:
    """Give the generators back as they were: the next task's code would draw otherwise than in lm-eval."""
    import numpy as np

    states = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def _item(task: Any, name: str, doc_id: int, instances: list[Any]) -> AskedItem:
    """One item of the requests that lm-eval makes of it."""
    doc = instances[0].doc
    if "acc_mutual_info" in task._metric_fn_list:  # every choice is asked once more, without its context
        instances = instances[: len(instances) // 2]
    contexts = {str(one.args[0]) for one in instances}
    if len(contexts) > 1:
        raise AskingError(f"{name}: item {doc_id}: {len(contexts)} prompts, one for each choice; expected one for all")
    choices = tuple(str(one.args[1]) for one in instances)
    gold, delimiter = _gold(task, doc, len(choices)), _delimiter(task, doc, choices)
    return AskedItem(name, doc_id, str(task.doc_to_text(doc)), contexts.pop(), choices, gold, delimiter)


def _delimiter(task: Any, doc: Any, choices: tuple[str, ...]) -> str:
    """What lm-eval put before each of the task's own choices, whose lengths it divides by."""
    own = [str(one) for one in task.doc_to_choice(doc)]
    before = {asked[: len(asked) - len(one)] for asked, one in zip(choices, own, strict=True)}
    is_whole = len(before) == 1 and all(asked.endswith(one) for asked, one in zip(choices, own, strict=True))
    return before.pop() if is_whole else ""


def _gold(task: Any, doc: Any, count: int) -> int | None:
    """Which choice is right, as lm-eval's ``process_results`` takes it."""
    gold = task.doc_to_target(doc)
    if isinstance(gold, list) and len(gold) == 1:
        gold = gold[0]
    if isinstance(gold, str):
        listed = list(task.doc_to_choice(doc))
        gold = listed.index(gold) if gold in listed else None
    return int(gold) if isinstance(gold, int) and 0 <= gold < count else None
