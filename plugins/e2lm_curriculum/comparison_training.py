"""Trains every run of a comparison, several at once; goes on where a killed one stopped."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from e2lm.progress import progress_bar
from e2lm_curriculum.comparison_config import Comparison
from e2lm_curriculum.comparison_corpus import prepare_all
from e2lm_curriculum.folder_lock import folder_lock
from e2lm_curriculum.size_run import SizeRun
from e2lm_curriculum.training import FLOPS_PER_GFLOP, check
from e2lm_curriculum.worker_pool import train_in_processes


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
