"""Calls into an engine with a process of its own, which end when that process does.

vLLM (0.32) waits forever for the answer to ``collective_rpc`` if its engine is killed between the question and the
answer: nobody completes the future (``core_client.py``, ``call_utility``).
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Collection
from concurrent.futures import Future, wait
from multiprocessing import connection
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")

#: How often it is looked whether the processes are alive.
POLL_S = 0.5
#: What vLLM gets to notice a death by itself and to say why.
GRACE_S = 5.0


class EngineGone(Exception):  # noqa: N818 - a fact, told to the engine's owner, never to the user
    """The process of an engine ended."""


class EngineProcesses:
    """The processes that came into being since ``before`` was taken from :func:`child_processes`."""

    def __init__(self, before: Collection[Any]) -> None:
        self._processes = [process for process in child_processes() if process not in before]

    def are_gone(self) -> bool:
        """Whether one of them has ended."""
        if not self._processes:
            return False
        try:
            return bool(connection.wait([process.sentinel for process in self._processes], timeout=0))
        except (OSError, ValueError):  # closed: somebody saw it end
            return True

    def call(self, action: Callable[[], T]) -> T:
        """What ``action`` gives; :class:`EngineGone` when a process ends and no answer can come any more."""
        if not self._processes:
            return action()
        if self.are_gone():
            raise EngineGone
        answer: Future[T] = Future()
        # A daemon: left behind, waiting, it must not keep this process from ending.
        Thread(target=_run, args=(action, answer), daemon=True, name="e2lm-engine-call").start()
        while not wait([answer], timeout=POLL_S).done:
            if self.are_gone() and not wait([answer], timeout=GRACE_S).done:
                raise EngineGone
        return answer.result()


def child_processes() -> list[Any]:
    """Processes that this one has started through ``multiprocessing``."""
    return list(multiprocessing.active_children())


def _run(action: Callable[[], T], answer: Future[T]) -> None:
    try:
        answer.set_result(action())
    except BaseException as error:  # carried to the thread that asked
        answer.set_exception(error)
