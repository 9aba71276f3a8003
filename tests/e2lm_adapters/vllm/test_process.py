from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from e2lm_adapters.vllm import process as vllm_process
from e2lm_adapters.vllm.process import EngineGone, EngineProcesses, child_processes


@pytest.fixture
def sleeper(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[EngineProcesses, Any]]:
    """A process that does nothing for a minute, and what watches it."""
    monkeypatch.setattr(vllm_process, "POLL_S", 0.05)
    monkeypatch.setattr(vllm_process, "GRACE_S", 0.2)
    before = child_processes()
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    process.start()
    yield EngineProcesses(before), process
    process.kill()
    process.join()


def test_a_call_that_no_answer_can_come_to_ends_with_the_process(sleeper: tuple[EngineProcesses, Any]) -> None:
    watched, process = sleeper
    never = threading.Event()
    threading.Timer(0.3, os.kill, (process.pid, signal.SIGKILL)).start()
    with pytest.raises(EngineGone):
        watched.call(never.wait)
    never.set()
    assert watched.are_gone()
    with pytest.raises(EngineGone):
        watched.call(lambda: 1)


def test_answers_and_errors_of_a_living_engine_come_through(sleeper: tuple[EngineProcesses, Any]) -> None:
    watched, _ = sleeper
    assert watched.call(lambda: 7) == 7
    assert not watched.are_gone()

    def fails() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        watched.call(fails)


def test_an_engine_without_a_process_of_its_own_is_called_directly() -> None:
    watched = EngineProcesses(child_processes())
    assert watched.call(threading.current_thread) is threading.current_thread()
    assert not watched.are_gone()
