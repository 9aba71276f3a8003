"""Trains every run of a comparison, several at once; goes on where a killed one stopped.

One preparation for all runs of a comparison: the same tokens and scores, a plan for each.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from e2lm.atomic_file import whole_file, whole_folder, write_json
from e2lm.errors import UserError
from e2lm.progress import progress_bar
from e2lm.run_record import RECORD_FILE, RunRecord
from e2lm_curriculum.config.comparison import ArmRun, Comparison
from e2lm_curriculum.config.training import TrainingConfig
from e2lm_curriculum.corpus.prepared import (
    DESCRIPTION_FILE,
    HELD_OUT_FILE,
    PREPARED_FOLDER,
    SCORES_FILE,
    PreparedCorpus,
    planned_order,
)
from e2lm_curriculum.plan.builder import chosen_curriculum
from e2lm_curriculum.plan.file import PLAN_FILE, SCHEDULE_FILE, write_plan
from e2lm_curriculum.train.locks import folder_lock
from e2lm_curriculum.train.resume import sweep_partials
from e2lm_curriculum.train.run import FLOPS_PER_GFLOP, check, prepare_once
from e2lm_curriculum.train.size_run import SizeRun
from e2lm_curriculum.train.workers import train_in_processes

OF_ONE_RUN = frozenset({PLAN_FILE, SCHEDULE_FILE, DESCRIPTION_FILE})


def prepare_all(runs: Sequence[ArmRun]) -> None:
    """Prepare the corpus for the first run and share it with the others, which need a plan only."""
    first = runs[0].config
    prepare_once(first)
    for run in runs[1:]:
        if not (run.config.out_folder / RECORD_FILE).is_file():
            _prepare_like(first, run.config)
    require_same_corpus(runs)


def _prepare_like(first: TrainingConfig, config: TrainingConfig) -> None:
    out, source = config.out_folder, first.out_folder / PREPARED_FOLDER
    sweep_partials(out)
    with whole_folder(out / PREPARED_FOLDER) as folder:
        for file in sorted(source.iterdir()):
            if file.name not in OF_ONE_RUN:
                _share(file, folder / file.name)
        plan = planned_order(config, chosen_curriculum(config.curriculum), np.load(source / SCORES_FILE))
        write_plan(plan, folder)
        prepared = PreparedCorpus.from_json_file(source / DESCRIPTION_FILE).model_copy(
            update={"plan_hash": plan.hash, "forward_passes": plan.forward_passes}
        )
        write_json(folder / DESCRIPTION_FILE, prepared.model_dump(mode="json"))
    with whole_file(out / HELD_OUT_FILE) as partial:
        shutil.copyfile(first.out_folder / HELD_OUT_FILE, partial)
    record = RunRecord.from_json_file(first.out_folder / RECORD_FILE)
    record.model_copy(update={"config": config.effective()}).write(out)


def _share(file: Path, copy: Path) -> None:
    """A second name for the file, or a copy where the file system has no such thing."""
    try:
        os.link(file, copy)
    except OSError:
        shutil.copyfile(file, copy)


def require_same_corpus(runs: Sequence[ArmRun]) -> None:
    """A :class:`UserError` unless every run reads the same tokens through the same tokenizer."""
    first = PreparedCorpus.read(runs[0].config.out_folder)
    for run in runs:
        prepared = PreparedCorpus.read(run.config.out_folder)
        if prepared is None or first is None:
            raise UserError(f"{run.config.out_folder}: the prepared corpus was deleted; train into another --out")
        for field in ("data_hash", "tokenizer_hash"):
            if getattr(prepared, field) != getattr(first, field):
                raise UserError(
                    f"{run.config.out_folder}: {field} differs from that of {runs[0].name}: the arms would read "
                    "different text; train all of them into a new --out"
                )


def train_comparison(comparison: Comparison, quiet: bool = False) -> None:
    """Train what is not yet trained. A folder with other settings in it is a :class:`UserError` that names the field.

    Nothing is written before everything that can be known to be wrong has been looked at.
    """
    runs = comparison.runs
    check_comparison(comparison)
    with folder_lock(comparison.folder):
        prepare_all(runs)
        _train([run.size_run for run in runs], comparison.training.jobs, quiet)


def check_comparison(comparison: Comparison) -> None:
    """Raise a :class:`UserError` for what can be known to be wrong before anything is written."""
    for run in comparison.runs:
        check(run.config)


def _train(runs: Sequence[SizeRun], jobs: int, quiet: bool) -> None:
    unfinished = [run for run in runs if not run.is_finished]
    if not unfinished:
        return
    progress = _Progress(runs, quiet)
    try:
        train_in_processes(unfinished, jobs, progress.report)
    finally:
        progress.close()


class _Progress:
    """One bar over all runs, in FLOPs."""

    def __init__(self, runs: Sequence[SizeRun], quiet: bool) -> None:
        total = sum(run.cost for run in runs) // FLOPS_PER_GFLOP
        self._bar = progress_bar(total, "GFLOP", f"train {len(runs)} runs", quiet=quiet)
        self._done = {run.folder: run.cost if run.is_finished else 0 for run in runs}
        self._lock = threading.Lock()

    def report(self, run: SizeRun, step: int) -> None:
        """``run`` has made ``step`` steps."""
        with self._lock:
            self._done[run.folder] = run.cost * step // run.config.budget.steps
            self._bar.update(sum(self._done.values()) // FLOPS_PER_GFLOP - self._bar.n)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()
