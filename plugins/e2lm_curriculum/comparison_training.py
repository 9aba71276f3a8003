"""Trains every run of a comparison, several at once; goes on where a killed one stopped."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from e2lm.errors import UserError
from e2lm.progress import progress_bar
from e2lm_curriculum.comparison_config import ArmRun, Comparison
from e2lm_curriculum.folder_lock import folder_lock
from e2lm_curriculum.prepared_corpus import PreparedCorpus
from e2lm_curriculum.size_run import SizeRun
from e2lm_curriculum.training import FLOPS_PER_GFLOP, check, prepare_once
from e2lm_curriculum.worker_pool import train_in_processes


def train_comparison(comparison: Comparison, quiet: bool = False) -> None:
    """Train what is not yet trained. A folder with other settings in it is a :class:`UserError` that names the field.

    Nothing is written before everything that can be known to be wrong has been looked at.
    """
    runs = comparison.runs
    for run in runs:
        check(run.config)
    with folder_lock(comparison.folder):
        for run in runs:
            prepare_once(run.config)
        require_same_corpus(runs)
        _train([run.size_run for run in runs], comparison.training.jobs, quiet)


def require_same_corpus(runs: Sequence[ArmRun]) -> None:
    """A :class:`UserError` unless every run reads the same tokens through the same tokenizer."""
    first: PreparedCorpus | None = None
    for run in runs:
        prepared = PreparedCorpus.read(run.config.out_folder)
        assert prepared is not None
        first = first or prepared
        for field in ("data_hash", "tokenizer_hash"):
            if getattr(prepared, field) != getattr(first, field):
                raise UserError(
                    f"{run.config.out_folder}: {field} differs from that of {runs[0].name}: the arms would read "
                    "different text; train all of them into a new --out"
                )


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
