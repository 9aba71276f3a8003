"""``e2lm eval --log-to NAME``: a plugin that tells a tracker of every checkpoint, each once, whatever happens between.

It listens to the hooks that a stranger's tracker listens to (``e2lm_after_checkpoint_scored``) and never stands in the
way: a tracker that fails costs one line, and the next evaluation into the same folder tells it what it missed.

``OUT/trackers/<tracker>.json`` keeps what it has been told: a resumed evaluation tells nothing twice.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal
from uuid import uuid4

from pydantic import Field

from e2lm import __version__, hookimpl
from e2lm.atomic_file import write_json
from e2lm.errors import UserError, nearest_names, one_line
from e2lm.noun import Noun
from e2lm.plugin_manager import PluginRecord, plugin_manager
from e2lm.scores import ScoreRow, Scores
from e2lm.series import Series
from e2lm_adapters.trackers.run import OpenRun, TrackedPoint, TrackerRun

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


def _tensorboard() -> OpenRun:
    from e2lm_adapters.trackers.tensorboard import TensorBoardRun

    return TensorBoardRun


def _wandb() -> OpenRun:
    from e2lm_adapters.trackers.wandb import WandbRun

    return WandbRun


def _trackio() -> OpenRun:
    from e2lm_adapters.trackers.trackio import TrackioRun

    return TrackioRun


#: Name of the tracker, of its module and of its extra alike.
TRACKERS: dict[str, Callable[[], OpenRun]] = {"tensorboard": _tensorboard, "wandb": _wandb, "trackio": _trackio}


def checked_trackers(names: Sequence[str]) -> tuple[str, ...]:
    """``names``, each once; a :class:`UserError` for one that is unknown or not installed."""
    for name in names:
        if name not in TRACKERS:
            raise UserError(
                f"--log-to: unknown tracker {name!r}. {nearest_names(name, TRACKERS)} A plugin with the hook "
                "e2lm_after_checkpoint_scored is a tracker too, and needs no --log-to"
            )
        if find_spec(name) is None:
            raise UserError(f"--log-to {name}: not installed; pip install 'e2lm[{name}]'")
    return tuple(dict.fromkeys(names))


@contextmanager
def tracked(names: Sequence[str], out: Path) -> Iterator[None]:
    """What is evaluated within the block is logged to the trackers ``names``."""
    manager = plugin_manager()
    with ExitStack() as stack:
        for name in names:
            tracker = SeriesTracker(name, TRACKERS[name], out)
            manager.register(tracker, PluginRecord(f"log-to-{name}", "e2lm", __version__))
            stack.callback(manager.unregister, tracker)
            stack.callback(tracker.close)
        yield


class SeriesTracker:
    """The plugin; ``opener`` gives the way to open a run, importing the tracker's library."""

    def __init__(self, name: str, opener: Callable[[], OpenRun], out: Path) -> None:
        self.name = name
        self._opener = opener
        self._out = out
        self._open: tuple[str, TrackerRun] | None = None
        self._failed = False

    @hookimpl
    def e2lm_after_checkpoint_scored(self, series: Series, scores: Scores) -> None:
        """Log one checkpoint."""
        self._guarded(lambda: self._log(series, scores))

    @hookimpl
    def e2lm_after_series_scored(self, series: Series, scores: Scores) -> None:
        """Log what was scored before, by a process that was killed or did not log."""
        self._guarded(lambda: self._log(series, scores))
        self.close()

    def close(self) -> None:
        """Close the run that is open."""
        if self._open is not None:
            self._guarded(self._open[1].close)
            self._open = None

    def _guarded(self, work: Callable[[], object]) -> None:
        """Do ``work`` unless something failed before; say so in one line if it fails now."""
        if self._failed:
            return
        try:
            work()
        except Exception as error:  # libraries raise their own kinds
            self._failed = True
            what = one_line(error) if isinstance(error, UserError) else f"{type(error).__name__}: {one_line(error)}"
            print(
                f"e2lm: warning: --log-to {self.name}: {what:.300}; nothing more is logged there, the scores are in "
                f"{self._out}, the same command logs the rest",
                file=sys.stderr,
            )
            with suppress(Exception):
                if self._open is not None:
                    self._open[1].close()
            self._open = None

    def _log(self, series: Series, scores: Scores) -> None:
        ledger = read_ledger(self._out, self.name)
        run = ledger.runs.get(series.name) or TrackedRun.new()
        for step, tasks in _by_step_and_task(scores).items():
            digests = {task: _digest(rows) for task, rows in tasks.items()}
            new = {task: digest for task, digest in digests.items() if not run.has(step, task, digest)}
            if not new:
                continue
            begun = run.begun(step, new)
            repeated = begun in run.points
            for point in (begun, begun.model_copy(update={"finished": True})):
                run = run.with_point(point)
                if point.finished:
                    rows = [row for task in new for row in tasks[task]]
                    self._run(series, run.id).log(_point(begun.number, rows), repeated)
                ledger = ledger.model_copy(update={"runs": {**ledger.runs, series.name: run}})
                write_ledger(self._out, self.name, ledger)

    def _run(self, series: Series, run_id: str) -> TrackerRun:
        if self._open is None or self._open[0] != series.name:
            if self._open is not None:
                self._open[1].close()
                self._open = None
            self._open = (series.name, self._opener()(self._out, series, run_id))
        return self._open[1]


def _by_step_and_task(scores: Scores) -> dict[int, dict[str, list[ScoreRow]]]:
    """Rows in order of step, task and metric."""
    found: dict[int, dict[str, list[ScoreRow]]] = {}
    for row in sorted(scores.rows(), key=lambda row: (row.step, row.task, row.metric)):
        found.setdefault(int(row.step), {}).setdefault(row.task, []).append(row)
    return found


def _digest(rows: Sequence[ScoreRow]) -> str:
    values = [(row.metric, repr(float(row.value)), repr(float(row.stderr)), repr(float(row.tokens))) for row in rows]
    return sha256(json.dumps(values).encode()).hexdigest()[:20]


def _point(number: int, rows: Sequence[ScoreRow]) -> TrackedPoint:
    values: dict[str, float] = {}
    for row in rows:
        for name, value in ((row.metric, row.value), (f"{row.metric}_stderr", row.stderr)):
            if math.isfinite(value):
                values[f"{row.task}/{name}"] = float(value)
    tokens = rows[0].tokens
    return TrackedPoint(number, int(rows[0].step), None if math.isnan(tokens) else round(tokens), values)
