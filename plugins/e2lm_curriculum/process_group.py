"""The processes of ``accelerate launch``: which writes, and where they wait for each other. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2lm_curriculum.folder_lock import folder_lock


def process_count() -> int:
    """How many processes train one model together; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


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
