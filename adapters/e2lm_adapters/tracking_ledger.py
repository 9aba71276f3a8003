"""What a tracker has been told already, kept in the output folder: a resumed evaluation tells nothing twice.

``OUT/trackers/<tracker>.json``
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from uuid import uuid4

from pydantic import Field

from e2lm.atomic_file import write_json
from e2lm.noun import Noun

TRACKERS_FOLDER = "trackers"


class LoggedPoint(Noun):
    """What was logged at once: ``tasks`` of one checkpoint, each with the hash of its values.

    One that is not ``finished`` was begun by a process that did not live to see it through.
    """

    number: Annotated[int, Field(ge=0)]
    step: Annotated[int, Field(ge=0)]
    tasks: dict[str, str]
    finished: bool = False


class TrackedRun(Noun):
    """The run at the tracker that stands for one series; ``id`` is unique in the world."""

    id: str
    points: tuple[LoggedPoint, ...] = ()

    @classmethod
    def new(cls) -> TrackedRun:
        """A run of which nothing has been logged."""
        return cls(id=uuid4().hex[:12])

    def begun(self, step: int, tasks: dict[str, str]) -> LoggedPoint:
        """The point for ``tasks`` at ``step``: one that was begun before under the same number, else a new one."""
        for point in self.points:
            if not point.finished and (point.step, point.tasks) == (step, tasks):
                return point
        return LoggedPoint(number=len(self.points), step=step, tasks=tasks)

    def has(self, step: int, task: str, digest: str) -> bool:
        """Whether these values have been logged."""
        return any(one.finished and one.step == step and one.tasks.get(task) == digest for one in self.points)

    def with_point(self, point: LoggedPoint) -> TrackedRun:
        """The run with ``point`` at its number."""
        points = [*self.points[: point.number], point, *self.points[point.number + 1 :]]
        return self.model_copy(update={"points": tuple(points)})


class TrackingLedger(Noun):
    """The runs of one tracker, by name of the series."""

    schema_version: Literal[1] = 1
    runs: dict[str, TrackedRun] = Field(default_factory=dict)


def ledger_path(out: Path, tracker: str) -> Path:
    """Where it is kept."""
    return out / TRACKERS_FOLDER / f"{tracker}.json"


def read_ledger(out: Path, tracker: str) -> TrackingLedger:
    """The ledger of ``tracker``; an empty one where there is none yet."""
    path = ledger_path(out, tracker)
    return TrackingLedger.from_json_file(path) if path.is_file() else TrackingLedger()


def write_ledger(out: Path, tracker: str, ledger: TrackingLedger) -> None:
    """Keep ``ledger``, whole or not at all."""
    write_json(ledger_path(out, tracker), ledger.model_dump(mode="json"))
