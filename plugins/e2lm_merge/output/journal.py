"""What a merge into a folder remembers: a line for each finished tensor on the way, and what it was made of at the end.

A line holds the checksum of its tensor's bytes and is written after it. After a kill the page cache still holds both;
after a power cut it may hold either one alone, so a tensor counts as done only if the bytes in the file still have the
checksum in the line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

import xxhash

from e2lm.run_record import recorded_versions
from e2lm_merge.plan.merge_plan import MergePlan

JOURNAL_FILE = "journal.jsonl"


@dataclass(frozen=True, slots=True)
class FinishedTensor:
    """A tensor that was written: XXH3-128 of its bytes and of every input's, in hexadecimal digits."""

    name: str
    output: str
    inputs: tuple[str, ...]


class MergeJournal:
    """Appends to and reads the journal in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL_FILE
        self._lock = Lock()
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def add(self, finished: FinishedTensor) -> None:
        """Append one line in one write, so that a kill leaves it whole or leaves a last line that does not parse."""
        line = json.dumps([finished.name, finished.output, list(finished.inputs)]) + "\n"
        assert self._descriptor is not None
        with self._lock:
            os.write(self._descriptor, line.encode())

    def read(self) -> dict[str, FinishedTensor]:
        """Every whole line by name of its tensor; none where there is no journal."""
        if not self.path.is_file():
            return {}
        found = {}
        for line in self.path.read_bytes().split(b"\n"):
            try:
                name, output, inputs = json.loads(line)
            except ValueError:
                continue
            found[name] = FinishedTensor(name, output, tuple(inputs))
        return found


PROVENANCE_FILE = "merge.json"


@cache
def _versions() -> dict[str, str]:
    """Read once per process: it takes as long as merging fifty million numbers."""
    return recorded_versions()


def plan_identity(plan: MergePlan, shard_bytes: int) -> dict[str, Any]:
    """Everything that decides the output's bytes; a resumed merge must agree in all of it."""
    return {
        "recipe": plan.recipe.model_dump(mode="json"),
        "inputs": [model.identity for model in plan.models],
        "donor": plan.donor.label,
        "steps": list(plan.steps),
        "shard_bytes": shard_bytes,
        **({} if plan.vocabulary is None else {"vocabulary": plan.vocabulary.digest}),
        "tensors": [[merge.name, merge.dtype, list(merge.shape), list(merge.weights)] for merge in plan.merges],
        "versions": _versions(),
    }


def provenance(plan: MergePlan, finished: Mapping[str, FinishedTensor]) -> dict[str, Any]:
    """Recipe, inputs with checksums of what was read, output checksum, versions: the same for the same merge.

    A model's checksum is XXH3-128 over the sorted lines ``tensor checksum`` of its tensors that went into the merge.
    """
    read: dict[str, dict[str, str]] = {}
    for merge in plan.merges:
        for source, digest in zip(merge.inputs, finished[merge.name].inputs, strict=True):
            read.setdefault(source.label, {})[merge.name] = digest
    output = {name: one.output for name, one in finished.items()}
    return {
        "schema_version": 1,
        "command": "e2lm merge",
        "recipe": plan.recipe.model_dump(mode="json", exclude_defaults=True),
        "strategy": {"name": plan.strategy.name, "formula": plan.strategy.formula, "source": plan.strategy.source},
        "donor": plan.donor.label,
        "steps": list(plan.steps),
        "inputs": [
            {
                "model": model.label,
                "xxh3_128": _digest(read.get(model.label, {})),
                "tensors": len(read.get(model.label, {})),
            }
            for model in plan.models
        ],
        "output": {"params": plan.params, "tensors": len(plan.merges), "xxh3_128": _digest(output)},
        "versions": _versions(),
    }


def _digest(checksums: Mapping[str, str]) -> str:
    lines = "".join(f"{name} {checksums[name]}\n" for name in sorted(checksums))
    return str(xxhash.xxh3_128(lines.encode()).hexdigest())
