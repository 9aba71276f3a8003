"""The table is what has been recorded: rows of other tasks and runs, and of checkpoints that a trainer has deleted.

A row stays unless what it was scored by is known to be another thing now: then it would stand in one curve with rows
that it cannot be compared with. Its unit is kept either way.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from e2lm.errors import UserError
from e2lm.results import read_scores
from e2lm.run_record import Note
from e2lm.scores import ScoreRow
from e2lm_adapters.eval.address import Parts, differing
from e2lm_adapters.eval.known import UNRECORDED, counted, shown_steps
from e2lm_adapters.eval.request import EvaluationRequest, Work, parts_of
from e2lm_adapters.eval.store import EvaluationStore, Unit
from e2lm_adapters.lm_eval.tasks import TaskIdentities

TABLE_FILE = "scores.parquet"
LOCK_FILE = ".scores.lock"


@contextmanager
def table_locked(out: Path) -> Iterator[None]:
    """Alone with the table while it is read and written: another command may add to it at the same time."""
    with open(out / LOCK_FILE, "a", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True, slots=True)
class Recorded:
    """Rows that stay beside those made now, and notes about checkpoints that are gone and rows that fit no more."""

    rows: tuple[ScoreRow, ...]
    notes: tuple[Note, ...]


def recorded_rows(
    request: EvaluationRequest, tasks: TaskIdentities, store: EvaluationStore, work: Sequence[Work]
) -> Recorded:
    """What of the table in ``--out`` stays, now that ``work`` has been done."""
    before = table_rows(store.folder)
    asked = {*tasks.names, *(group.name for group in tasks.groups)}
    done = {(piece.series.name, piece.checkpoint.step) for piece in work}
    beside = [row for row in before if row.task not in asked]
    same_tasks = [row for row in before if row.task in asked and (row.series, row.step) not in done]
    if not same_tasks:  # as of most finished commands: no unit need be read again
        return Recorded(tuple(beside), ())
    fits = _Fitting(request, tasks, store, work, sorted({row.series for row in same_tasks}))
    kept = [row for row in same_tasks if fits.row(row)]
    gone = {series: sorted({row.step for row in kept if row.series == series}) for series, _ in sorted(done)}
    notes = [
        Note(
            what=f"{series}, {'step' if len(steps) == 1 else 'steps'} {shown_steps(steps)}",
            why="no longer there; what has been scored stays in the table",
        )
        for series, steps in gone.items()
        if steps
    ]
    return Recorded((*beside, *kept), (*notes, *fits.notes()))


def table_rows(out: Path) -> list[ScoreRow]:
    """The rows of the table as it is; none where it cannot be read: it is written anew."""
    try:
        return list(read_scores(out / TABLE_FILE).scores.rows()) if (out / TABLE_FILE).is_file() else []
    except UserError:
        return []


class _Fitting:
    """Whether units of tasks that were asked for now were scored by the same things, weights and their files apart."""

    def __init__(
        self,
        request: EvaluationRequest,
        tasks: TaskIdentities,
        store: EvaluationStore,
        work: Sequence[Work],
        all_series: Sequence[str],
    ) -> None:
        self._limit = request.limit
        self._groups = {group.name: group.tasks for group in tasks.groups}
        self._units: dict[tuple[str, int, str], list[Unit]] = {}
        self._of_other_runs: set[str] = set()
        self._wanted: Mapping[str, Parts] = (
            {name: _common(parts_of(request, work[0].weights, tasks, name)) for name in tasks.names} if work else {}
        )
        now = {(piece.series.name, piece.checkpoint.step): piece.weights.sha256 for piece in work}
        for series in all_series:
            units = store.recorded(series)
            for unit in units:
                self._units.setdefault((series, unit.step, unit.task), []).append(unit)
            turned = _turned(units, {step: sha for (name, step), sha in now.items() if name == series})
            self._of_other_runs.update(unit.key + str(unit.step) for unit in units[:turned])
        self._unfit: dict[tuple[str, str], list[Unit]] = {}

    def row(self, row: ScoreRow) -> bool:
        """Whether the unit behind a row, or all behind one of a group, fit; what does not is remembered."""
        return all(self._task(row.series, row.step, task) for task in self._groups.get(row.task, (row.task,)))

    def notes(self) -> tuple[Note, ...]:
        """What did not fit, and why."""
        return tuple(
            Note(what=f"{series}, {counted(units)}", why=f"kept and not used, since {why}")
            for (series, why), units in self._unfit.items()
        )

    def _task(self, series: str, step: int, task: str) -> bool:
        units = self._units.get((series, step, task), ())
        reasons = [self._why_not(unit) for unit in units]
        if not units or "" in reasons:
            return bool(units)
        unfit = self._unfit.setdefault((series, reasons[-1]), [])
        if units[-1] not in unfit:
            unfit.append(units[-1])
        return False

    def _why_not(self, unit: Unit) -> str:
        if unit.key + str(unit.step) in self._of_other_runs:
            return "steps of this run hold other weights than they did"
        if not unit.parts:
            return UNRECORDED
        names = differing(_common(unit.parts), self._wanted[unit.task])
        if unit.limit != self._limit:
            names = [f"limit {unit.limit} instead of {self._limit}", *names]
        return f"these differ: {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}" if names else ""


def _turned(units: Sequence[Unit], now: Mapping[int, str]) -> int:
    """How many of ``units``, oldest first, are older than the present weights of a step that had others before.

    They are of another run of that name, or of the same before it was trained again.
    """
    turned = 0
    for step, sha in now.items():
        own = [(index, unit.weights_sha256 == sha) for index, unit in enumerate(units) if unit.step == step]
        if not all(is_present for _, is_present in own):
            turned = max(turned, next((index for index, is_present in own if is_present), len(units)))
    return turned


def _common(parts: Mapping[str, str]) -> Parts:
    """Without what is of one checkpoint: its weights and its files."""
    return {name: text for name, text in parts.items() if name != "weights" and not name.startswith("file ")}
