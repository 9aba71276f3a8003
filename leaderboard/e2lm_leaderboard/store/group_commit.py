"""One writer: a thread that commits up to 64 waiting changes at once.

A commit that reaches the disk costs milliseconds whatever it holds, so those who wait share one. Each change runs in
its own savepoint: one that fails takes nothing with it, and nobody is answered before the disk has it. Where the
connection is lost all of them are tried again, for each is the same done twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from e2lm.errors import E2LMError
from e2lm_leaderboard.store.audit_log import AuditHead
from e2lm_leaderboard.store.database import is_unavailable, unavailable

MAX_TOGETHER = 64
#: How long changes wait for a database that was restarted, and how often they ask.
RETRY_S, PAUSE_S = 10.0, 0.2

T = TypeVar("T")
#: Changes the tables and notes it in the log; what it gives is the answer.
Change = Callable[[Connection, AuditHead], T]


class GroupCommit:
    """The writer of one database within this process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # A server does, once it was restarted; SQLite has waited already, and a full disk stays full.
        self._may_come_back = engine.dialect.name != "sqlite"
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
        answers: list[tuple[Any, BaseException | None]] = []
        until = time.monotonic() + RETRY_S
        while not answers:
            try:
                answers = self._answers(batch)
            except Exception as failure:  # of all together: disk full, connection lost
                if self._may_come_back and is_unavailable(failure) and time.monotonic() < until:
                    time.sleep(PAUSE_S)
                    continue
                error = unavailable(str(self._engine.url), failure) if is_unavailable(failure) else failure
                answers = [(None, error) for _ in batch]
        for (_, future), (answer, refusal) in zip(batch, answers, strict=True):
            if refusal is None:
                future.set_result(answer)
            else:
                future.set_exception(refusal)

    def _answers(self, batch: list[tuple[Change[Any], Future[Any]]]) -> list[tuple[Any, BaseException | None]]:
        """What each change gave or why it did not, once all are on disk."""
        answers: list[tuple[Any, BaseException | None]] = []
        with self._engine.begin() as connection:
            head = AuditHead.read(connection)
            for change, _ in batch:
                before = AuditHead(head.seq, head.hash)
                try:
                    with connection.begin_nested():
                        answers.append((change(connection, head), None))
                except Exception as refusal:  # the writer must outlive any one change
                    if is_unavailable(refusal):
                        raise  # SQLite may have rolled back what the others did, too
                    head.seq, head.hash = before.seq, before.hash
                    answers.append((None, refusal))
        return answers
