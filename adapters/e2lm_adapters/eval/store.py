"""What an evaluation leaves in its output folder: what is done, what a killed one left, and where to resume.

::

    OUT/run.json                                       run record
    OUT/scores.parquet, scores.csv                     the Scores table
    OUT/<series>/checkpoint-<step>/results_<date>.json, samples_<task>_<date>.jsonl     as lm-eval writes them
    OUT/samples/<series>/<task>/checkpoint-<step>.parquet                              Samples
    OUT/units/<key>.json                               one finished (weights, task, adapter), written last
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from e2lm.atomic_file import PARTIAL_MARK, write_json
from e2lm.errors import system_error
from e2lm.noun import Noun
from e2lm.samples import SAMPLES_FOLDER, Samples, read_samples

UNITS_FOLDER = "units"
TOGETHER_PREFIX = "together-"


class StockMetric(Noun):
    """A metric as lm-eval computed it."""

    metric: str
    value: float
    stderr: float | None = None


class Unit(Noun):
    """One task evaluated on one checkpoint: the smallest piece of work that is never done twice.

    ``left_out`` tells which of its items its Samples lack, and why. ``not_finite`` is empty, or says which number of
    the checkpoint is NaN or infinite, or what else of it cannot be used: then there is nothing else, and trying again
    would change nothing. ``built_anew`` says why weights could not be swapped into the model of the checkpoint before.
    ``remarks`` are about the way its checkpoint was scored, ``check_failed`` is what a check asked for found wrong.
    """

    schema_version: Literal[1] = 1
    series: str
    step: Annotated[int, Field(ge=0)]
    task: str
    weights_sha256: str
    task_sha256: str
    adapter: str
    n: int
    stock_metrics: tuple[StockMetric, ...] = ()
    has_samples: bool = False
    left_out: tuple[str, ...] = ()
    not_finite: str = ""
    built_anew: str = ""
    remarks: tuple[str, ...] = ()
    check_failed: str = ""
    wall_s: float = 0.0

    @property
    def key(self) -> str:
        """The content address: same weights, same task, same way of scoring."""
        return unit_key(self.weights_sha256, self.task_sha256, self.adapter)


def unit_key(weights_sha256: str, task_sha256: str, adapter: str) -> str:
    """40 hexadecimal digits that name the unit."""
    return sha256("\n".join((weights_sha256, task_sha256, adapter)).encode()).hexdigest()[:40]


@dataclass(frozen=True, slots=True)
class EvaluationStore:
    """The output folder of an evaluation."""

    folder: Path

    def unit_path(self, series: str, step: int, key: str) -> Path:
        """Where the unit is recorded; two series may share weights, so both names are part of it."""
        return self.folder / UNITS_FOLDER / series / f"{step}-{key}.json"

    def finished(self, series: str, step: int, key: str) -> Unit | None:
        """The unit if it is done, its samples included."""
        path = self.unit_path(series, step, key)
        if not path.is_file():
            return None
        unit = Unit.from_json_file(path)
        if unit.has_samples and not _holds_rows(self.samples_path(series, step, unit.task)):
            return None
        return unit

    def samples_path(self, series: str, step: int, task: str) -> Path:
        """Where the Samples of one task at one checkpoint are."""
        return self.folder / SAMPLES_FOLDER / series / task / f"checkpoint-{step}.parquet"

    def keep(self, kept: Sequence[tuple[Unit, Samples | None]]) -> None:
        """Record units that were scored together: all of them or none, whatever happens.

        Scored alone, the rest of them could come out with other last bits. Records come last, so a unit on disk is
        whole; several are first written as one, which the next run takes apart if this one does not get that far.
        """
        for unit, samples in kept:
            place = self.samples_path(unit.series, unit.step, unit.task)
            if samples is not None:
                samples.write(place)
            else:  # those of other weights, which stood here before, would be taken for its own
                place.unlink(missing_ok=True)
        records = [unit.model_dump(mode="json") for unit, _ in kept]
        together = self.folder / UNITS_FOLDER / f"{TOGETHER_PREFIX}{uuid4().hex}.json"
        if len(kept) > 1:
            write_json(together, records)
        for unit, _ in kept:
            self._record(unit)
        together.unlink(missing_ok=True)

    def _record(self, unit: Unit) -> None:
        write_json(self.unit_path(unit.series, unit.step, unit.key), unit.model_dump(mode="json"))

    def samples(self, unit: Unit) -> Samples | None:
        """The Samples behind a unit."""
        if not unit.has_samples:
            return None
        return read_samples(self.samples_path(unit.series, unit.step, unit.task))[0]

    def remove_leftovers(self) -> None:
        """Finish what a killed run left whole, delete what it left half-written."""
        if not self.folder.is_dir():
            return
        for together in (self.folder / UNITS_FOLDER).glob(f"{TOGETHER_PREFIX}*.json"):
            for record in json.loads(together.read_text(encoding="utf-8")):
                self._record(Unit.from_data(record, str(together)))
            together.unlink()
        for leftover in self.folder.rglob(f"{PARTIAL_MARK}*"):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


def _holds_rows(file: Path) -> bool:
    """Whether Samples are in ``file``; earlier releases left an empty table of a checkpoint that gave NaN alone."""
    try:
        return bool(pq.read_metadata(file).num_rows)
    except (OSError, pa.ArrowInvalid):
        return False


@contextmanager
def disk_errors_told(folder: Path) -> Iterator[None]:
    """A full or failing disk becomes one line. Errors of no system call (transformers raises such) pass."""
    try:
        yield
    except OSError as error:
        if error.errno is None or isinstance(error, ConnectionError):
            raise
        if error.filename is None:
            error.filename = str(folder)
        told = system_error(error)
        raise type(told)(f"{told}; what was finished is kept, the same command goes on") from error


def adapter_label(model: str, version: str, settings: dict[str, object]) -> str:
    """The way of scoring as text: whatever of it can change a number."""
    return f"{model} {version} {json.dumps(settings, sort_keys=True, default=str)}"
