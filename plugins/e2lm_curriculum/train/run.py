"""Trains a ladder of models: from a configuration to one series per size."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from functools import partial
from hashlib import sha256

from e2lm.errors import UserError
from e2lm.progress import progress_bar
from e2lm.run_record import RECORD_FILE, RunRecord, recorded_versions
from e2lm.series import Series
from e2lm_curriculum.config.training import TrainingConfig
from e2lm_curriculum.corpus.prepared import PreparedCorpus, prepare
from e2lm_curriculum.corpus.reader import read_passages, split_corpus
from e2lm_curriculum.difficulty.scores import difficulty_of
from e2lm_curriculum.plan.builder import chosen_curriculum
from e2lm_curriculum.train.locks import folder_lock, is_main, process_count, wait_for_all
from e2lm_curriculum.train.online import is_online
from e2lm_curriculum.train.resume import sweep_partials
from e2lm_curriculum.train.size_run import SizeRun
from e2lm_curriculum.train.workers import train_in_processes

FLOPS_PER_GFLOP = 1_000_000_000


def train(config: TrainingConfig, quiet: bool = False) -> list[Series]:
    """The series of every size, in the order of ``config.sizes``; trained now or, where finished, read.

    Goes on where a killed run stopped. A folder that holds a run of another configuration is a :class:`UserError` that
    names the field.
    """
    runs = [SizeRun(config, size) for size in config.model_sizes]
    check(config)
    if process_count() > 1:
        return _train_together(config, runs, quiet)
    is_new = not config.out_folder.exists()
    try:
        with folder_lock(config.out_folder):
            prepare_once(config)
            _train_unfinished([run for run in runs if not run.is_finished], config.jobs, quiet)
    except UserError:
        if is_new and not (config.out_folder / RECORD_FILE).is_file():
            shutil.rmtree(config.out_folder)
        raise
    return [Series.read(run.folder) for run in runs]


def _train_together(config: TrainingConfig, runs: Sequence[SizeRun], quiet: bool) -> list[Series]:
    """One size after the other, each by all processes of ``accelerate launch``."""
    from e2lm_curriculum.train.size_training import train_size

    wait_for_all()  # every process has checked the folder before one writes into it
    if is_main():
        with folder_lock(config.out_folder):
            prepare_once(config)
    wait_for_all()
    prepared = PreparedCorpus.read(config.out_folder)
    assert prepared is not None
    progress = _LadderProgress(runs, quiet or not is_main())
    try:
        for run in runs:
            train_size(run, prepared, partial(progress.report, run))
    finally:
        progress.close()
    return [Series.read(run.folder) for run in runs]


def check(config: TrainingConfig) -> None:
    """Raise a :class:`UserError` for what can be known to be wrong before anything is written."""
    difficulty_of(chosen_curriculum(config.curriculum))
    is_online(SizeRun(config, config.model_sizes[0]))
    if config.jobs > 1 and process_count() > 1:
        raise UserError("field 'jobs': several sizes at once and accelerate launch exclude each other; leave out jobs")
    if config.batch_size % process_count():
        raise UserError(
            f"field 'batch_size': {config.batch_size} sequences cannot be shared by {process_count()} processes alike"
        )
    hashes = corpus_hashes(config)
    place = config.out_folder / RECORD_FILE
    if config.out_folder.exists() and not config.out_folder.is_dir():
        raise UserError(f"field 'out': {config.out_folder} is a file; give a folder")
    if not place.is_file():
        for size in config.sizes:
            if (config.out_folder / size).exists():
                raise UserError(
                    f"field 'out': {config.out_folder / size} is there, but no {RECORD_FILE} says how it was made; "
                    "give another folder"
                )
        return
    _compare(config, RunRecord.from_json_file(place), hashes)


def corpus_hashes(config: TrainingConfig) -> dict[str, str]:
    """SHA-256 of every corpus file by its place in the list; a :class:`UserError` for one that cannot be read."""
    hashes = {}
    for position, file in enumerate(config.corpus_files):
        if not file.is_file():
            raise UserError(f"{file}: no such file; field 'corpus' takes text files (.txt, .jsonl)")
        hashes[f"corpus.{position}"] = sha256(file.read_bytes()).hexdigest()
    return hashes


def _compare(config: TrainingConfig, record: RunRecord, hashes: dict[str, str]) -> None:
    source = config.out_folder / RECORD_FILE
    now = config.effective()
    for field in sorted(set(now) | set(record.config)):
        if field != "corpus" and now.get(field) != record.config.get(field):
            raise UserError(
                f"{source}: field {field!r}: this folder holds a run with {record.config.get(field)!r}, asked for is "
                f"{now.get(field)!r}; use the old value or another --out"
            )
    if hashes != record.hashes:
        changed = [
            str(file)
            for position, file in enumerate(config.corpus_files)
            if record.hashes.get(f"corpus.{position}") != hashes[f"corpus.{position}"]
        ]
        what = f"{changed[0]} has other content" if changed else f"{len(record.hashes)} files, now {len(hashes)}"
        raise UserError(
            f"{source}: field 'corpus': this folder holds a run on another corpus ({what}); use another --out"
        )


def prepare_once(config: TrainingConfig) -> None:
    """Prepare the corpus unless that was done.

    ``run.json`` is written last: what lies in a folder without it may belong to any configuration, and is made anew.
    """
    if (config.out_folder / RECORD_FILE).is_file():
        if PreparedCorpus.read(config.out_folder) is None:
            raise UserError(f"{config.out_folder}: the prepared corpus was deleted; train into another --out")
        return
    sweep_partials(config.out_folder)
    prepare(config, split_corpus(read_passages(config.corpus_files), config.held_out, config.seed))
    RunRecord(
        command="train",
        config=config.effective(),
        versions=recorded_versions(),
        hashes=corpus_hashes(config),
        seeds={"seed": config.seed},
    ).write(config.out_folder)


class _LadderProgress:
    """One bar over all sizes, in FLOPs, because a token of a big model takes longer than one of a small one."""

    def __init__(self, runs: Sequence[SizeRun], quiet: bool) -> None:
        total = sum(run.cost for run in runs) // FLOPS_PER_GFLOP
        self._bar = progress_bar(total, "GFLOP", "train", quiet=quiet)
        self._done = {run.size.name: 0 for run in runs}
        self._lock = threading.Lock()

    def report(self, run: SizeRun, step: int) -> None:
        """``run`` has made ``step`` steps."""
        with self._lock:
            steps = run.config.budget.steps
            self._done[run.size.name] = run.cost * step // steps
            busy = [run.size.name] if step < steps else []
            self._bar.set_description(" ".join(["train", *busy]), refresh=False)
            self._bar.update(sum(self._done.values()) // FLOPS_PER_GFLOP - self._bar.n)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()


def _train_unfinished(runs: Sequence[SizeRun], jobs: int, quiet: bool) -> None:
    if not runs:
        return
    progress = _LadderProgress(runs, quiet)
    try:
        train_in_processes(runs, jobs, progress.report)
    finally:
        progress.close()
