"""What an evaluation leaves in its output folder: what is done, what a killed one left, and where to resume.

::

    OUT/run.json                                       run record
    OUT/scores.parquet, scores.csv                     the Scores table
    OUT/<series>/checkpoint-<step>/results_<date>.json, samples_<task>_<date>.jsonl     as lm-eval writes them
    OUT/units/<series>/<step>-<key>.json               a unit, written last: one task on one checkpoint, scored one way
    OUT/units/<series>/<step>-<key>.parquet            its Samples
    OUT/samples/<series>/<task>/checkpoint-<step>.parquet    the same Samples, of those units that the table is made of
    OUT/seen.json                                      what need not be read again
    OUT/.scores.lock                                   held while the table is read and written

Nothing is overwritten: a unit that no longer fits stays, with its Samples, and is not used. Earlier releases kept
Samples under ``samples`` alone.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from e2lm.atomic_file import remove_leftovers, whole_file, write_json
from e2lm.errors import UserError, system_error
from e2lm.noun import Noun
from e2lm.samples import SAMPLES_FOLDER, Samples, read_samples
from e2lm_adapters.eval.address import unit_key

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
    the checkpoint is NaN or infinite, or what else of it cannot be used (``is_unusable``: a file is missing, or not
    understood; such a checkpoint is tried again): then there is nothing else.
    ``built_anew`` says why weights could not be swapped into the model of the checkpoint before.
    ``remarks`` are about the way its checkpoint was scored, ``check_failed`` is what a check asked for found wrong.
    ``parts`` are what it is known by (:mod:`e2lm_adapters.eval.address`), empty in units of earlier releases.
    """

    schema_version: Literal[1] = 1
    series: str
    step: Annotated[int, Field(ge=0)]
    task: str
    weights_sha256: str
    task_sha256: str
    adapter: str
    parts: dict[str, str] = Field(default_factory=dict)
    limit: int | None = None
    n: int
    stock_metrics: tuple[StockMetric, ...] = ()
    has_samples: bool = False
    left_out: tuple[str, ...] = ()
    not_finite: str = ""
    is_unusable: bool = False
    built_anew: str = ""
    remarks: tuple[str, ...] = ()
    check_failed: str = ""
    wall_s: float = 0.0

    @property
    def key(self) -> str:
        """The content address: same weights, same task, same way of scoring."""
        return unit_key(self.parts) if self.parts else _key_before(self)


def _key_before(unit: Unit) -> str:
    """What earlier releases knew a unit by."""
    return sha256("\n".join((unit.weights_sha256, unit.task_sha256, unit.adapter)).encode()).hexdigest()[:40]


@dataclass(frozen=True, slots=True)
class EvaluationStore:
    """The output folder of an evaluation."""

    folder: Path

    def unit_path(self, series: str, step: int, key: str) -> Path:
        """Where the unit is recorded; two series may share weights, so both names are part of it."""
        return self.folder / UNITS_FOLDER / series / f"{step}-{key}.json"

    def finished(self, series: str, step: int, key: str) -> Unit | None:
        """The unit if it is done, its samples included; one that is damaged is not."""
        path = self.unit_path(series, step, key)
        if not path.is_file():
            return None
        try:
            unit = Unit.from_json_file(path)
        except UserError:
            return None
        return None if unit.has_samples and not _holds_rows(self._samples_path(unit)) else unit

    def is_missing(self, series: str, step: int, key: str) -> bool:
        """Whether it is to be scored: not done yet, or of a checkpoint that was unusable and may have been mended."""
        unit = self.finished(series, step, key)
        return unit is None or unit.is_unusable

    def others(self, series: str, wanted: Mapping[int, Container[str]]) -> list[Unit]:
        """Units at the steps of ``wanted`` that are none of the keys there, oldest first; damaged ones are no units."""
        found = []
        for file in self._records(series):
            step, _, key = file.stem.partition("-")
            if int(step) in wanted and key not in wanted[int(step)]:
                with suppress(UserError):
                    found.append(Unit.from_json_file(file))
        return found

    def recorded(self, series: str) -> list[Unit]:
        """Every unit of a series, oldest first; damaged ones are no units."""
        found = []
        for file in self._records(series):
            with suppress(UserError):
                found.append(Unit.from_json_file(file))
        return found

    def _records(self, series: str) -> list[Path]:
        files = (self.folder / UNITS_FOLDER / series).glob("*-*.json")
        own = (file for file in files if file.stem.partition("-")[0].isdecimal())
        return sorted(own, key=lambda one: one.stat().st_mtime_ns)

    def samples_path(self, series: str, step: int, task: str) -> Path:
        """Where the Samples in force of one task at one checkpoint are."""
        return self.folder / SAMPLES_FOLDER / series / task / f"checkpoint-{step}.parquet"

    def _samples_path(self, unit: Unit) -> Path:
        return self.unit_path(unit.series, unit.step, unit.key).with_suffix(".parquet")

    def files(self, unit: Unit) -> tuple[Path, ...]:
        """Where a finished unit is recorded, and its Samples where it has any."""
        record = self.unit_path(unit.series, unit.step, unit.key)
        return (record, self._samples_path(unit)) if unit.has_samples else (record,)

    def keep(self, kept: Sequence[tuple[Unit, Samples | None]]) -> None:
        """Record units that were scored together: all of them or none, whatever happens.

        Scored alone, the rest of them could come out with other last bits. Records come last, so a unit on disk is
        whole; several are first written as one, which the next run takes apart if this one does not get that far.
        """
        for unit, samples in kept:
            if samples is not None:
                samples.write(self._samples_path(unit))
        records = [unit.model_dump(mode="json") for unit, _ in kept]
        together = self.folder / UNITS_FOLDER / f"{TOGETHER_PREFIX}{uuid4().hex}.json"
        if len(kept) > 1:
            write_json(together, records)
        for unit, _ in kept:
            self._record(unit)
        together.unlink(missing_ok=True)
        for unit, _ in kept:
            self.show(unit)

    def show(self, unit: Unit) -> None:
        """Let ``samples`` hold the Samples of ``unit`` and of no other for its task at its checkpoint."""
        place, own = self.samples_path(unit.series, unit.step, unit.task), self._samples_path(unit)
        if not unit.has_samples:
            self._put_away(unit)
        elif not _is_same(own, place):
            self._put_away(unit)
            with whole_file(place) as partial:
                _link(own, partial)

    def _put_away(self, unit: Unit) -> None:
        """Samples that an earlier release kept under ``samples`` alone go to the unit they are of; copies go."""
        place = self.samples_path(unit.series, unit.step, unit.task)
        if not place.is_file():
            return
        others = [one for one in self.others(unit.series, {unit.step: ()}) if one.task == unit.task and one.has_samples]
        homeless = [one for one in others if not one.parts and not self._samples_path(one).exists()]
        if homeless and not any(_is_same(self._samples_path(one), place) for one in others if one.parts):
            place.replace(self._samples_path(homeless[-1]))
        place.unlink(missing_ok=True)

    def _record(self, unit: Unit) -> None:
        write_json(self.unit_path(unit.series, unit.step, unit.key), unit.model_dump(mode="json"))

    def samples(self, unit: Unit) -> Samples | None:
        """The Samples behind a unit."""
        if not unit.has_samples:
            return None
        return read_samples(self._samples_path(unit))[0]

    def remove_leftovers(self) -> None:
        """Finish what a killed run left whole, delete what it left half-written."""
        if not self.folder.is_dir():
            return
        for together in (self.folder / UNITS_FOLDER).glob(f"{TOGETHER_PREFIX}*.json"):
            with suppress(FileNotFoundError):  # the command that wrote it lives, and has just finished it itself
                for record in json.loads(together.read_text(encoding="utf-8")):
                    self._record(Unit.from_data(record, str(together)))
                together.unlink()
        remove_leftovers(self.folder)


def _holds_rows(file: Path) -> bool:
    """Whether Samples are in ``file``; earlier releases left an empty table of a checkpoint that gave NaN alone."""
    try:
        return bool(pq.read_metadata(file).num_rows)
    except (OSError, pa.ArrowInvalid):
        return False


def _is_same(first: Path, second: Path) -> bool:
    """Whether both are one file, or hold the same bytes where the file system has no links."""
    if not (first.is_file() and second.is_file()):
        return False
    return first.samefile(second) or (
        first.stat().st_size == second.stat().st_size and first.read_bytes() == second.read_bytes()
    )


def _link(file: Path, name: Path) -> None:
    try:
        name.hardlink_to(file)
    except OSError:  # a file system without links
        shutil.copyfile(file, name)


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
