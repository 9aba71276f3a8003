"""One writer: a thread that commits up to 64 waiting changes at once.

A commit that reaches the disk costs milliseconds whatever it holds, so those who wait share one. Each change runs in
its own savepoint: one that fails takes nothing with it, and nobody is answered before the disk has it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from e2lm.errors import E2LMError
from e2lm_leaderboard.audit_log import AuditHead

MAX_TOGETHER = 64

T = TypeVar("T")
#: Changes the tables and notes it in the log; what it gives is the answer.
Change = Callable[[Connection, AuditHead], T]


class GroupCommit:
    """The writer of one database within this process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._queue: SimpleQueue[tuple[Change[Any], Future[Any]] | None] = SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="leaderboard-writer", daemon=True)
        self._thread.start()

    def submitted(self, change: Change[T]) -> Future[T]:
        """The answer to come; set once the change is on disk."""
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise E2LMError("the store is closed")
            self._queue.put((change, future))
        return future

    def run(self, change: Change[T]) -> T:
        """The answer, once the change is on disk."""
        return self.submitted(change).result()

    def close(self) -> None:
        """Finish what waits, and stop."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while True:
            first = self._queue.get()
            if first is None:
                return
            batch, goes_on = [first], True
            while len(batch) < MAX_TOGETHER:
                try:
                    following = self._queue.get_nowait()
                except Empty:
                    break
                if following is None:
                    goes_on = False
                    break
                batch.append(following)
            self._commit(batch)
            if not goes_on:
                return

    def _commit(self, batch: list[tuple[Change[Any], Future[Any]]]) -> None:
        answers: list[tuple[Future[Any], Any, BaseException | None]] = []
        try:
            with self._engine.begin() as connection:
                head = AuditHead.read(connection)
                for change, future in batch:
                    before = AuditHead(head.seq, head.hash)
                    try:
                        with connection.begin_nested():
                            answers.append((future, change(connection, head), None))
                    except Exception as refusal:  # the writer must outlive any one change
                        head.seq, head.hash = before.seq, before.hash
                        answers.append((future, None, refusal))
        except Exception as failure:  # the commit itself: disk full, connection lost
            answers = [(future, None, failure) for _, future in batch]
        for future, answer, error in answers:
            if error is None:
                future.set_result(answer)
            else:
                future.set_exception(error)
