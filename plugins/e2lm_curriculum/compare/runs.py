"""Finished training runs as the arms of a comparison, and whether they may be compared at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from e2lm.errors import UserError, no_such
from e2lm.run_record import RECORD_FILE, RunRecord
from e2lm.series import SERIES_FILE, Series
from e2lm_curriculum.plan.arms import ARMS, CURRICULUM, VANILLA
from e2lm_curriculum.plan.draws import SHUFFLE
from e2lm_curriculum.train.prepared import PreparedCorpus

#: What may differ between the runs of one comparison.
OF_ARMS = frozenset({"arm", "curriculum", "schedule", "seed", "init_seed", "order_seed", "resume_interval_s", "size"})

#: Tokens and FLOPs of the arms may differ by this share: whole steps cannot be split further.
COST_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """One trained model: ``folder`` holds its corpus and plan, ``series`` its checkpoints."""

    folder: Path
    arm: str
    schedule: str
    seed: int
    curriculum: Any
    series_folder: Path
    series: Series
    record: RunRecord
    prepared: PreparedCorpus

    @property
    def tokens(self) -> int:
        """Training tokens."""
        return int(self.series.checkpoints[-1].tokens or 0)

    @property
    def flops(self) -> float:
        """FLOPs of the whole run: extra forward passes and probing of the model included."""
        return float(self.record.flops or 0.0)

    @property
    def is_causal(self) -> bool:
        """Whether the model predicts the next token; a masked one predicts each among all others."""
        return bool(self.record.config.get("family", "llama") == "llama")

    @property
    def cell(self) -> tuple[str, str]:
        """Arm and schedule."""
        return self.arm, self.schedule


def finished_runs(folders: Sequence[Path]) -> list[FinishedRun]:
    """The runs in ``folders`` (each a run, or a folder of runs), by schedule, arm and seed.

    Runs that are still training are left out. A :class:`UserError` where there are none, or where two are one and the
    same.
    """
    runs = [run for folder in folders for out in _run_folders(folder) for run in _runs_of(out)]
    if not runs:
        raise UserError(f"{folders[0]}: no finished run of e2lm train in it; give the folder that --out named")
    order: dict[str, int] = {arm: place for place, arm in enumerate(ARMS)}
    runs.sort(key=lambda run: (run.schedule, order[run.arm], run.seed))
    for one, other in pairwise(runs):
        if (one.cell, one.seed) == (other.cell, other.seed):
            raise UserError(
                f"{other.folder}: arm {one.arm!r} with schedule {one.schedule} and seed {one.seed} is in {one.folder} "
                "too; give each once"
            )
    return runs


def unfinished_count(folders: Sequence[Path]) -> int:
    """Runs that were prepared but are not trained to their end."""
    outs = [out for folder in folders for out in _run_folders(folder) if PreparedCorpus.read(out) is not None]
    return sum(not _runs_of(out) for out in outs)


def _run_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"{folder}: {no_such(folder, 'folder')}; give the folder that --out of e2lm train named")
    if (folder / RECORD_FILE).is_file():
        return [folder]
    return [child for child in sorted(folder.iterdir()) if child.is_dir() and (child / RECORD_FILE).is_file()]


def _runs_of(out: Path) -> list[FinishedRun]:
    record = RunRecord.from_json_file(out / RECORD_FILE)
    prepared = PreparedCorpus.read(out) if record.command == "train" else None
    if prepared is None:
        return []
    found = []
    for place in sorted(out.iterdir()):
        if not (place / SERIES_FILE).is_file():
            continue
        own = RunRecord.from_json_file(place / RECORD_FILE)
        if not own.finished:
            continue
        curriculum = own.config["curriculum"]
        arm = own.config.get("arm") or (VANILLA if curriculum == SHUFFLE.name else CURRICULUM)
        seed = own.config.get("init_seed", own.config["seed"])
        schedule = own.config["schedule"]
        series = Series.read(place)
        found.append(FinishedRun(out, arm, schedule, seed, curriculum, place, series, own, prepared))
    return found


def require_comparable(runs: Sequence[FinishedRun]) -> None:
    """A :class:`UserError` in one line unless all runs differ in arm, schedule and seeds only, at equal cost."""
    first = runs[0]
    for run in runs[1:]:
        for field in sorted((set(first.record.config) | set(run.record.config)) - OF_ARMS - {"tokens"}):
            ours, theirs = first.record.config.get(field), run.record.config.get(field)
            if ours != theirs:
                raise UserError(
                    f"{run.folder}: field {field!r} is {theirs!r}, in {first.folder} it is {ours!r}; arms may differ "
                    "in arm, schedule and seeds only"
                )
        for field in ("data_hash", "tokenizer_hash"):
            if getattr(run.prepared, field) != getattr(first.prepared, field):
                raise UserError(f"{run.folder}: another {field} than {first.folder}: the arms read different text")
        if run.series.params != first.series.params:
            raise UserError(
                f"{run.folder}: {run.series.params:,} parameters, in {first.folder} {first.series.params:,}; "
                "compare models of one size"
            )
    _require_one_curriculum(runs)
    _require_equal_cost(runs)


def _require_one_curriculum(runs: Iterable[FinishedRun]) -> None:
    names = {str(run.curriculum): run for run in runs if run.arm != VANILLA}
    if len(names) > 1:
        one, other = list(names.values())[:2]
        raise UserError(
            f"{other.folder}: curriculum {other.curriculum!r}, in {one.folder} {one.curriculum!r}; compare one "
            "curriculum at a time"
        )


def _require_equal_cost(runs: Sequence[FinishedRun]) -> None:
    cheapest = min(runs, key=lambda run: run.flops)
    dearest = max(runs, key=lambda run: run.flops)
    if cheapest.flops <= 0 or dearest.flops > (1 + COST_TOLERANCE) * cheapest.flops:
        raise UserError(
            f"{dearest.folder}: {dearest.flops:.4g} FLOPs ({dearest.tokens:,} tokens), in {cheapest.folder} "
            f"{cheapest.flops:.4g} ({cheapest.tokens:,} tokens): unequal arms are not compared; a section 'compare' "
            "in the configuration makes them equal"
        )
