"""Who works on what: several runs share a season, each takes what no other has in hand, and a dead one's work goes on.

A lease lasts a minute and is renewed while the work goes on. A worker of this machine whose process is gone has lost
its lease at once.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import psutil

from e2lm.errors import E2LMError
from e2lm_leaderboard.store.store import Entry, Store

LEASE_S = 60.0


def new_worker() -> str:
    """A name that says where a worker lives, and that no other has."""
    return f"{socket.gethostname()[:60]}:{os.getpid()}:{int(psutil.Process().create_time())}:{secrets.token_hex(4)}"


def is_gone(worker: str) -> bool:
    """Whether the process of a worker of this machine has ended; of others it is not known.

    >>> is_gone(new_worker()), is_gone("elsewhere:1:0:ab")
    (False, False)
    """
    host, _, rest = worker.partition(":")
    pid, _, rest = rest.partition(":")
    if host != socket.gethostname()[:60] or not pid.isdecimal():
        return False
    try:
        return str(int(psutil.Process(int(pid)).create_time())) != rest.partition(":")[0]
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


@contextmanager
def held(store: Store, entry: Entry, worker: str, now: Callable[[], datetime]) -> Iterator[None]:
    """Renew the lease on ``entry`` until the block ends, then give it back."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(LEASE_S / 4):
            try:
                store.renew(entry.id, worker, now(), LEASE_S)
            except E2LMError:  # a database that is away for a moment: the next time will do, or the lease is lost
                continue

    thread = threading.Thread(target=renew, daemon=True, name="e2lm-lease")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        store.renew(entry.id, worker, now(), 0)
