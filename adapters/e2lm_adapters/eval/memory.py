"""``OUT/seen.json``: hashes of weights and files, and what is known of tasks, as long as nothing of it has changed.

It saves time and decides nothing: every entry stands with the stamps (size, times, inode) of the files it was made of,
and is forgotten at any doubt. It may be deleted, cut short or written by two commands at once.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from e2lm.atomic_file import write_json
from e2lm.errors import UserError
from e2lm.noun import Noun
from e2lm_adapters.checkpoints.identity import content_hash
from e2lm_adapters.lm_eval.sources import Sources, Stamp, is_racy, stamp_of
from e2lm_adapters.lm_eval.tasks import GroupFacts, TaskIdentities

log = logging.getLogger(__name__)

SEEN_FILE = "seen.json"
#: Sets of tasks that are remembered.
MAX_TASK_SETS = 8


class _Weights(Noun):
    stamps: dict[str, Stamp]
    sha256: str
    not_finite: str


class _File(Noun):
    stamp: Stamp
    sha256: str


class _Group(Noun):
    name: str
    tasks: tuple[str, ...]
    aggregates: tuple[tuple[str, tuple[str, ...] | None, bool], ...]


class _Tasks(Noun):
    sources: Sources
    parts: dict[str, dict[str, str]]
    generating: tuple[str, ...]
    groups: tuple[_Group, ...]
    model: dict[str, str]


class SeenRows(Noun):
    """What the rows in a table were made of: ``units`` -> stamps of its files, by ``metrics`` and ``code`` -> stamp."""

    table: str
    metrics: tuple[str, ...]
    libraries: dict[str, str]
    code: dict[str, Stamp]
    units: dict[str, tuple[Stamp, ...]]


class _Seen(Noun):
    schema_version: Literal[1] = 1
    weights: dict[str, _Weights] = Field(default_factory=dict)
    files: dict[str, _File] = Field(default_factory=dict)
    tasks: dict[str, _Tasks] = Field(default_factory=dict)
    rows: SeenRows | None = None


class Memory:
    """What earlier commands saw, and what this one sees; :meth:`write` keeps it in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / SEEN_FILE
        self._seen = _read(self._path)
        self._new = _Seen()

    def file_hash(self, file: Path) -> str:
        """SHA-256 of the bytes of ``file``, read only where it is not known."""
        name, stamp = str(file.absolute()), stamp_of(file)
        known = self._seen.files.get(name)
        if known is not None and known.stamp == stamp:
            return known.sha256
        began_s, found = time.time(), content_hash(file)
        if not is_racy(stamp, began_s) and stamp_of(file) == stamp:
            self._new.files[name] = _File(stamp=stamp, sha256=found)
        return found

    def weights(self, files: Sequence[Path], look: Callable[[], tuple[str, str]]) -> tuple[str, str]:
        """Hash of the weights in ``files`` and what is not finite there; ``look`` tells both where they are unknown."""
        began_s = time.time()
        stamps = {str(file.absolute()): stamp_of(file) for file in files}
        name = str(files[0].absolute().parent)
        known = self._seen.weights.get(name)
        if known is not None and known.stamps == stamps:
            return known.sha256, known.not_finite
        found = look()
        steady = all(stamp_of(file) == stamps[str(file.absolute())] for file in files)
        if steady and not any(is_racy(stamp, began_s) for stamp in stamps.values()):
            self._new.weights[name] = _Weights(stamps=stamps, sha256=found[0], not_finite=found[1])
        return found

    def tasks(self, key: str) -> tuple[TaskIdentities, dict[str, str]] | None:
        """The tasks that were asked for by ``key`` and the parts of the model's code, if all is as it was."""
        known = self._seen.tasks.get(key)
        if known is None or not known.sources.are_unchanged():
            return None
        groups = tuple(GroupFacts(one.name, one.tasks, one.aggregates) for one in known.groups)
        return TaskIdentities(known.parts, known.generating, groups), known.model

    def see_tasks(self, key: str, facts: TaskIdentities, model: dict[str, str], sources: Sources | None) -> None:
        """Remember ``facts``, which were made of ``sources``; forget what was there where nobody can tell of what."""
        self._seen.tasks.pop(key, None)
        if sources is not None:
            groups = tuple(_Group(name=one.name, tasks=one.tasks, aggregates=one.aggregates) for one in facts.groups)
            self._new.tasks[key] = _Tasks(
                sources=sources, parts=facts.parts, generating=facts.generating, groups=groups, model=model
            )

    def rows(self) -> SeenRows | None:
        """What the rows in the table were made of."""
        return self._seen.rows

    def see_rows(self, rows: SeenRows) -> None:
        """Remember what the rows in the table are made of now."""
        if rows != self._seen.rows:
            self._new = self._new.model_copy(update={"rows": rows})

    def write(self) -> None:
        """Keep what is new beside what other commands have kept meanwhile."""
        if not (self._new.weights or self._new.files or self._new.tasks or self._new.rows):
            return
        there = _read(self._path)
        others = [(key, one) for key, one in there.tasks.items() if key not in self._new.tasks]
        room = max(MAX_TASK_SETS - len(self._new.tasks), 0)
        merged = _Seen(
            weights={**there.weights, **self._new.weights},
            files={**there.files, **self._new.files},
            tasks={**dict(others[:room]), **self._new.tasks},
            rows=self._new.rows or there.rows,
        )
        body = merged.model_dump(mode="json")
        try:
            write_json(self._path, {"sha256": _digest(body), "seen": body})
        except OSError as error:  # it saves time alone: what must be written tells of a full disk
            log.warning("%s: not kept, so the next command looks at everything again (%s)", self._path, error)
        self._seen, self._new = merged, _Seen()


def _read(path: Path) -> _Seen:
    try:
        data = json.loads(path.read_bytes())
        if data["sha256"] == _digest(data["seen"]):
            return _Seen.from_data(data["seen"], str(path))
    except (OSError, ValueError, TypeError, KeyError, RecursionError, UserError):
        pass  # not there, or damaged: nothing is known
    return _Seen()


def _digest(body: Any) -> str:
    return sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
