"""What a killed run goes on from: Trainer's own checkpoints, of which only whole ones are trusted.

Whole is a state whose files are, byte for byte, what was written: a damaged one costs itself, the one before it is
used instead.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from hashlib import file_digest
from pathlib import Path

from e2lm.atomic_file import PARTIAL_MARK, sync_folder, write_json
from e2lm.run_record import LeftOut
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
    """Make everything in ``state`` durable, then say so, with the hash of every file.

    Trainer writes in place, so a kill may leave half of it.
    """
    hashes = {}
    for file in _files_of(state):
        with open(file, "rb") as handle:
            os.fsync(handle.fileno())
            hashes[str(file.relative_to(state))] = file_digest(handle, "sha256").hexdigest()
    write_json(state / COMPLETE_MARK, hashes)
    sync_folder(state)


def _files_of(state: Path) -> list[Path]:
    return [file for file in sorted(state.rglob("*")) if file.is_file() and file.name != COMPLETE_MARK]


def damage_of(state: Path) -> str | None:
    """What is wrong with a state that was complete once: the file, and how; None where nothing is.

    A state of an earlier release has no hashes and is trusted.
    """
    text = (state / COMPLETE_MARK).read_text(encoding="utf-8", errors="replace")
    try:
        hashes: dict[str, str] = json.loads(text) if text else {}
    except json.JSONDecodeError:
        return f"{COMPLETE_MARK} is damaged"
    for name, digest in hashes.items():
        try:
            with open(state / name, "rb") as handle:
                found = file_digest(handle, "sha256").hexdigest()
        except OSError as error:
            return f"{name}: {error.strerror}"
        if found != digest:
            return f"{name} is not what was written"
    return None


def sweep_states(run: Path) -> tuple[LeftOut, ...]:
    """Delete states that are incomplete, without a word, and damaged ones down to the first that can be used.

    Each of the latter is told on standard error and given back.
    """
    folder = resume_folder(run)
    left_out: list[LeftOut] = []
    for found in folder.iterdir() if folder.is_dir() else ():
        if step_of(found.name) is None or not (found / COMPLETE_MARK).is_file():
            shutil.rmtree(found, ignore_errors=True)
    while (state := newest_state(run)) is not None and (why := damage_of(state)) is not None:
        told = LeftOut(what=f"state at step {state_step(state)}", why=f"{why}; an earlier one is used", file=str(state))
        print(told, file=sys.stderr)
        left_out.append(told)
        shutil.rmtree(state)
    return tuple(left_out)


def newest_state(run: Path) -> Path | None:
    """The complete state with the highest step, if there is one."""
    by_step: dict[int, Path] = {}
    folder = resume_folder(run)
    for state in sorted(folder.iterdir()) if folder.is_dir() else []:
        named = step_of(state.name)
        if named is not None and (state / COMPLETE_MARK).is_file():
            by_step[named.step] = state
    return by_step[max(by_step)] if by_step else None


def state_step(state: Path | None) -> int:
    """The step at which ``state`` was taken, 0 without one."""
    named = None if state is None else step_of(state.name)
    return 0 if named is None else named.step


def discard_states(run: Path) -> None:
    """Delete every state: the run is finished."""
    shutil.rmtree(resume_folder(run), ignore_errors=True)
