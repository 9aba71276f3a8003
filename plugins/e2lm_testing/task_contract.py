"""What every suite of lm-eval tasks keeps to."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pytest

from e2lm.errors import UserError
from e2lm.task_suite import TaskSuite
from e2lm_testing.contract import check_described, check_refusal, own_randomness_only, resolved

#: Items per task that are looked at.
ITEMS = 16


class TaskContract:
    """Subclass it and set ``task_suite`` to a :class:`TaskSuite`, or to the name of an installed one.

    Tasks whose data are neither in the suite nor on this machine are skipped by name.
    """

    task_suite: ClassVar[TaskSuite | str]

    @property
    def _suite(self) -> TaskSuite:
        return resolved(self.task_suite, "e2lm_register_tasks", TaskSuite, "task suite")

    @property
    def _tasks(self) -> dict[str, Any]:
        tasks, missing = loaded_tasks(Path(self._suite.folder))
        if not tasks:
            pytest.skip(f"no data on this machine for any of {len(missing)} tasks; {next(iter(missing.values()))}")
        return tasks

    def test_it_says_what_it_is(self) -> None:
        check_described(self._suite.name, self._suite.description)

    def test_lm_eval_finds_tasks_in_its_folder(self) -> None:
        assert task_names(Path(self._suite.folder)), f"no task in {self._suite.folder}; lm-eval looks for *.yaml files"

    def test_every_task_has_items_and_every_item_a_request(self) -> None:
        for name, task in self._tasks.items():
            requests = built_requests(task)
            assert requests, f"task {name!r} has no item"
            for request in requests:
                assert all(isinstance(argument, str | dict) for argument in request.args), f"task {name!r}"
                assert request.args[-1] != "", f"task {name!r} asks for an empty text at item {request.doc_id}"

    def test_the_true_choice_is_one_of_several_that_differ(self) -> None:
        for name, task in self._tasks.items():
            if task.OUTPUT_TYPE == "multiple_choice" and not task.multiple_input:
                for doc in first_docs(task):
                    choices, gold = task.doc_to_choice(doc), task.doc_to_target(doc)
                    assert len(set(choices)) == len(choices) >= 2, f"task {name!r}: choices {choices}"
                    place = choices.index(gold) if isinstance(gold, str) else gold
                    places = place if isinstance(place, list) else [place]
                    assert all(0 <= one < len(choices) for one in places), f"task {name!r}: true choice {gold!r}"

    def test_building_it_twice_gives_the_same_requests_and_changes_no_item(self) -> None:
        for name, task in self._tasks.items():
            items = json.dumps(first_docs(task), default=str)
            with own_randomness_only():
                first = [request.args for request in built_requests(task)]
            assert [request.args for request in built_requests(task)] == first, f"task {name!r}"
            assert json.dumps(first_docs(task), default=str) == items, f"task {name!r} changes its items"

    def test_lm_eval_makes_finite_numbers_of_its_answers(self) -> None:
        for name, task in self._tasks.items():
            request_of_doc: dict[int, list[Any]] = {}
            for request in built_requests(task):
                request_of_doc.setdefault(request.doc_id, []).append(request)
            for doc, requests in zip(first_docs(task), request_of_doc.values(), strict=False):
                answers = [_answer(task.OUTPUT_TYPE, place) for place in range(len(requests))]
                for metric, value in task.process_results(doc, answers).items():
                    if isinstance(value, int | float):
                        unknown = math.isnan(value) and metric not in ("acc", "acc_norm")
                        assert unknown or math.isfinite(value), f"task {name!r}: {metric} is {value}"


def _answer(output_type: str, place: int) -> Any:
    if output_type == "generate_until":
        return "an answer"
    return -5.0 - place if output_type == "loglikelihood_rolling" else (-5.0 - place, place == 0)


@cache
def task_names(folder: Path) -> tuple[str, ...]:
    """The tasks that lm-eval finds in ``folder``, groups left out."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder), include_defaults=False)
    return tuple(sorted(manager.all_subtasks))


@cache
def loaded_tasks(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The tasks of ``folder`` by name, and why those are missing whose data are not on this machine."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder), include_defaults=False)
    tasks: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for name in task_names(folder):
        try:
            tasks[name] = manager.load([name])["tasks"][name]
        except UserError as error:
            check_refusal(error)
            missing[name] = str(error)
        except (ConnectionError, FileNotFoundError) as error:
            missing[name] = str(error).partition("\n")[0]
    return tasks, missing


def first_docs(task: Any) -> list[Any]:
    """The first items of what is evaluated."""
    return [doc for _, doc in task.doc_iterator(limit=ITEMS, rank=0, world_size=1)]


def built_requests(task: Any) -> list[Any]:
    """The requests of the first items, without few-shot examples."""
    task.build_all_requests(limit=ITEMS, rank=0, world_size=1)
    return list(task.instances)
