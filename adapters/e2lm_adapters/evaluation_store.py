"""What an evaluation leaves in its output folder, and how it knows what is already done.

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
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from e2lm.atomic_file import PARTIAL_MARK, write_json
from e2lm.noun import Noun
from e2lm.samples import Samples, read_samples

UNITS_FOLDER = "units"
SAMPLES_FOLDER = "samples"


class StockMetric(Noun):
    """A metric as lm-eval computed it."""

    metric: str
    value: float
    stderr: float | None = None


class Unit(Noun):
    """One task evaluated on one checkpoint: the smallest piece of work that is never done twice."""

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
        if unit.has_samples and not self.samples_path(series, step, unit.task).is_file():
            return None
        return unit

    def samples_path(self, series: str, step: int, task: str) -> Path:
        """Where the Samples of one task at one checkpoint are."""
        return self.folder / SAMPLES_FOLDER / series / task / f"checkpoint-{step}.parquet"

    def keep(self, unit: Unit, samples: Samples | None) -> None:
        """Record the unit; the record comes last, so a unit on disk is whole."""
        if samples is not None:
            samples.write(self.samples_path(unit.series, unit.step, unit.task))
        write_json(self.unit_path(unit.series, unit.step, unit.key), unit.model_dump(mode="json"))

    def samples(self, unit: Unit) -> Samples | None:
        """The Samples behind a unit."""
        if not unit.has_samples:
            return None
        return read_samples(self.samples_path(unit.series, unit.step, unit.task))[0]

    def remove_leftovers(self) -> None:
        """Delete what a killed run left half-written."""
        if not self.folder.is_dir():
            return
        for leftover in self.folder.rglob(f"{PARTIAL_MARK}*"):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


def adapter_label(model: str, version: str, settings: dict[str, object]) -> str:
    """The way of scoring as text: whatever of it can change a number."""
    return f"{model} {version} {json.dumps(settings, sort_keys=True, default=str)}"
