"""Lets a process of a pool end with the command that started it: one that waits for work would wait for ever."""

from __future__ import annotations

import os
from multiprocessing import connection, parent_process
from threading import Thread
from typing import NoReturn


def end_with_parent() -> None:
    """Let this process, and what it starts, end as soon as its parent has, however that came about.

    To be called in a process that ``multiprocessing`` started, as ``initializer`` of a pool; nothing happens elsewhere.
    """
    parent = parent_process()
    if parent is not None:
        Thread(target=_end_after, args=(parent.sentinel,), daemon=True, name="e2lm-end-with-parent").start()


def _end_after(sentinel: int) -> None:
    connection.wait([sentinel])
    end_at_once(1)


def end_at_once(exit_code: int) -> NoReturn:
    """End this process and all that it started, from whichever thread, without another word."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    os._exit(exit_code)
