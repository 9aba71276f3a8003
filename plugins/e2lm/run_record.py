"""Run record: what a command ran, beside its result."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from e2lm.atomic_file import write_json
from e2lm.noun import Noun

RECORD_FILE = "run.json"

#: Distributions whose versions can change a number.
RECORDED_DISTRIBUTIONS = ("e2lm", "lm_eval", "torch", "transformers", "tokenizers", "numpy", "vllm", "datasets")


class LeftOut(Noun):
    """Something that a finished command could not use: a checkpoint, file, item or row."""

    what: str
    why: str
    file: str | None = None

    def __str__(self) -> str:
        """One line for people.

        >>> print(LeftOut(what="run step 20", why="NaN", file="run/checkpoint-20"))
        left out: run step 20: NaN (run/checkpoint-20)
        """
        place = "" if self.file is None or self.file in self.why else f" ({self.file})"
        return f"left out: {self.what}: {self.why}{place}"


class Note(Noun):
    """Something that a finished command used, and that whoever reads its result should know."""

    what: str
    why: str
    file: str | None = None

    def __str__(self) -> str:
        """One line for people.

        >>> print(Note(what="run, steps 10, 20", why="the same weights"))
        note: run, steps 10, 20: the same weights
        """
        return f"note: {self.what}: {self.why}"


class RunRecord(Noun):
    """Configuration, versions, hashes, seeds and cost of one command, what it could not use, and what to know of it.

    ``remarks`` are about how it was done, ``notes`` about what came out; ``superseded`` tells which earlier results are
    kept beside it and do not count any more.
    """

    schema_version: Literal[1] = 1
    command: str
    config: dict[str, Any]
    versions: dict[str, str]
    hashes: dict[str, str] = Field(default_factory=dict)
    seeds: dict[str, int] = Field(default_factory=dict)
    wall_s: float | None = None
    flops: float | None = None
    finished: bool = False
    left_out: tuple[LeftOut, ...] = ()
    remarks: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    superseded: tuple[Note, ...] = ()

    def write(self, folder: Path) -> None:
        """Write ``run.json`` into ``folder``."""
        write_json(folder / RECORD_FILE, self.model_dump(mode="json"))


def recorded_versions() -> dict[str, str]:
    """Versions of Python and of every distribution that can change a number."""
    versions = {"python": platform.python_version(), "platform": sys.platform}
    for name in RECORDED_DISTRIBUTIONS:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
