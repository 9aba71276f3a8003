"""What a killed run goes on from: Trainer's own checkpoints, of which only whole ones are trusted."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from e2lm.atomic_file import PARTIAL_MARK, sync_folder
from e2lm.step_name import step_of

RESUME_FOLDER = ".resume"
COMPLETE_MARK = "complete"

#: While one is being written the one before it must stay.
KEPT_STATES = 2


def resume_folder(run: Path) -> Path:
    """Where Trainer writes its state for the run in folder ``run``."""
    return run / RESUME_FOLDER


def sweep_partials(folder: Path) -> None:
    """Delete what a killed process left half-written directly in ``folder``."""
    for partial in folder.glob(f"{PARTIAL_MARK}*"):
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink()


def mark_complete(state: Path) -> None:
    """Make everything in ``state`` durable, then say so. Trainer writes in place, so a kill may leave half of it."""
    for file in sorted(state.rglob("*")):
        if file.is_file():
            with open(file, "rb") as handle:
                os.fsync(handle.fileno())
    (state / COMPLETE_MARK).touch()
    sync_folder(state)


def newest_state(run: Path) -> Path | None:
    """The complete state with the highest step, if there is one; incomplete ones are deleted."""
    by_step: dict[int, Path] = {}
    folder = resume_folder(run)
    for state in sorted(folder.iterdir()) if folder.is_dir() else []:
        named = step_of(state.name)
        if named is not None and (state / COMPLETE_MARK).is_file():
            by_step[named.step] = state
        else:
            shutil.rmtree(state, ignore_errors=True)
    return by_step[max(by_step)] if by_step else None


def state_step(state: Path | None) -> int:
    """The step at which ``state`` was taken, 0 without one."""
    named = None if state is None else step_of(state.name)
    return 0 if named is None else named.step


def discard_states(run: Path) -> None:
    """Delete every state: the run is finished."""
    shutil.rmtree(resume_folder(run), ignore_errors=True)
