"""Who may write into a folder: one process at a time, and of those of ``accelerate launch`` the main one.

Imports no torch.
"""

from __future__ import annotations

import fcntl
import os
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


def process_count() -> int:
    """How many processes train one model together; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def require_alone(what: str) -> None:
    """A :class:`UserError` under a launcher of several processes: ``what`` is for one."""
    if process_count() > 1:
        raise UserError(
            f"{what} is for one process, found {process_count()} of torchrun or accelerate; start it without them "
            "(--jobs trains several models at once)"
        )


def is_main() -> bool:
    """Whether this process is the one that writes."""
    return os.environ.get("RANK", "0") == "0"


def wait_for_all() -> None:
    """Return when every process got here; at once if there is only this one."""
    if process_count() > 1:
        import torch
        from accelerate import PartialState  # type: ignore[import-untyped]

        PartialState(cpu=not torch.cuda.is_available()).wait_for_everyone()


@contextmanager
def shared_folder(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for all processes of this group: the main one has the lock before any goes on."""
    if not is_main():
        wait_for_all()
        yield
        return
    with folder_lock(folder):
        wait_for_all()
        yield
