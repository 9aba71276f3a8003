"""One process at a time in a folder."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2lm.errors import UserError

LOCK_FILE = ".lock"

#: A worker whose parent was killed notices within a step or two; this is how long its successor waits for that.
PATIENCE_S = 20.0
POLL_S = 0.2


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process; the system lets go when the process ends, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + PATIENCE_S
    with open(folder / LOCK_FILE, "w") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise UserError(
                        f"{folder}: another process trains here; wait for it, or give another --out"
                    ) from error
                time.sleep(POLL_S)
        yield
