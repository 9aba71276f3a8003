"""What a watch keeps in OUT: who scores what, what is waited for, and which checkpoints were deleted too soon.

::

    OUT/watch.json      checkpoints seen and not scored, with why; those that are gone and have no row
    OUT/claims/         locks: a checkpoint is scored by one watch at a time
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import Field

from e2lm.atomic_file import write_json
from e2lm.errors import UserError
from e2lm.noun import Noun
from e2lm.run_record import LeftOut

WATCH_FILE = "watch.json"
CLAIMS_FOLDER = "claims"
DELETED = "deleted before it was scored"


class Unscored(Noun):
    """Why a checkpoint is not scored yet; of which series and step it is, where that is known."""

    why: str
    series: str = ""
    step: int = -1


class WatchRecord(Noun):
    """``unscored`` says by label why a checkpoint is not scored yet; ``left_out`` lists those that never will be."""

    schema_version: Literal[1] = 1
    unscored: dict[str, Unscored] = Field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()

    @property
    def missed(self) -> frozenset[str]:
        """Labels of checkpoints that were deleted before they were scored."""
        return frozenset(one.what for one in self.left_out)


class RecordFile:
    """``OUT/watch.json``; several watches may write into one OUT, each what it saw of its own runs."""

    def __init__(self, out: Path) -> None:
        self._path = out / WATCH_FILE

    def read(self) -> WatchRecord:
        """As it is; an empty one where there is none, or a damaged one."""
        try:
            return WatchRecord.from_json_file(self._path) if self._path.is_file() else WatchRecord()
        except UserError:
            return WatchRecord()

    def update(self, unscored: Mapping[str, Unscored], missed: Mapping[str, str], scored: Set[str]) -> None:
        """Write down what changed: labels waited for, those that are gone without a row and why, and scored ones."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(self._path.with_name(f".{WATCH_FILE}.lock"), wait=True):
            before = self.read()
            waits = {label: why for label, why in before.unscored.items() if label not in scored | missed.keys()}
            left = {one.what: one for one in before.left_out if one.what not in scored and one.what not in unscored}
            left |= {label: LeftOut(what=label, why=missed[label]) for label in sorted(missed)}
            after = WatchRecord(unscored={**waits, **unscored}, left_out=tuple(left.values()))
            if after != before:
                write_json(self._path, after.model_dump(mode="json"))


@contextmanager
def claimed(out: Path, name: str) -> Iterator[bool]:
    """Whether this process may score the checkpoint ``name``: no other of this OUT does meanwhile."""
    folder = out / CLAIMS_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / name.replace("/", "--"), wait=False) as mine:
        yield mine


@contextmanager
def _locked(path: Path, wait: bool) -> Iterator[bool]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            mine = True
        except BlockingIOError:
            mine = False
        yield mine
    finally:
        os.close(descriptor)
