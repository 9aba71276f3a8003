"""A ladder of models, trained: from a configuration to one series per size."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from functools import cache, partial
from hashlib import file_digest
from pathlib import Path

from e2lm.errors import MachineError, UserError, no_such
from e2lm.progress import progress_bar
from e2lm.run_record import RECORD_FILE, RunRecord, recorded_versions
from e2lm.series import Series
from e2lm.words import ScriptCount
from e2lm_curriculum.config.training import DataConfig, TrainingConfig
from e2lm_curriculum.corpus.files import KNOWN_FILES, RecordFields, record_hash
from e2lm_curriculum.corpus.hub import is_data_set
from e2lm_curriculum.corpus.reader import read_passages
from e2lm_curriculum.difficulty.scores import difficulty_of
from e2lm_curriculum.plan.builder import chosen_curriculum
from e2lm_curriculum.train.locks import folder_lock, is_main, process_count, wait_for_all
from e2lm_curriculum.train.model_run import ModelRun, model_runs
from e2lm_curriculum.train.prepared import WITHOUT_A_GRID, PreparedCorpus, prepare, require_whole
from e2lm_curriculum.train.processes import train_in_processes
from e2lm_curriculum.train.resume import sweep_partials
from e2lm_curriculum.train.segments import is_online

FLOPS_PER_GFLOP = 1_000_000_000
BYTES_PER_MB = 1_000_000

#: Of each file, to see which scripts it is in.
CHARACTERS_LOOKED_AT = 1_000_000


def train(config: TrainingConfig, quiet: bool = False) -> list[Series]:
    """The series of every size, in the order of the configuration; trained now or, where finished, read.

    Goes on where a killed run stopped. A folder that holds a run of another configuration is a :class:`UserError` that
    names the field.
    """
    runs = model_runs(config)
    require_trainable(config)
    if process_count() > 1:
        return _train_together(config, runs, quiet)
    out = config.run.out_folder
    is_new = not out.exists()
    try:
        with folder_lock(out):
            prepare_once(config)
            train_unfinished(runs, config.run.jobs, "train", quiet)
    except UserError:
        if is_new and not (out / RECORD_FILE).is_file():
            shutil.rmtree(out)
        raise
    return [Series.read(run.folder) for run in runs]


def _train_together(config: TrainingConfig, runs: Sequence[ModelRun], quiet: bool) -> list[Series]:
    """One size after the other, each by all processes of ``accelerate launch``."""
    from e2lm_curriculum.train.trainer import train_model

    wait_for_all()  # every process has checked the folder before one writes into it
    if is_main():
        with folder_lock(config.run.out_folder):
            prepare_once(config)
    wait_for_all()
    prepared = PreparedCorpus.of(config.run.out_folder)
    require_room([run for run in runs if not run.is_finished])
    progress = _Progress(runs, "train", quiet or not is_main())
    try:
        for run in runs:
            train_model(run, prepared, partial(progress.report, run))
    finally:
        progress.close()
    return [Series.read(run.folder) for run in runs]


def train_unfinished(runs: Sequence[ModelRun], jobs: int, title: str, quiet: bool) -> None:
    """Train those of ``runs`` that are not finished, ``jobs`` at once; the bar is over all of them."""
    unfinished = [run for run in runs if not run.is_finished]
    if not unfinished:
        return
    require_room(unfinished)
    progress = _Progress(runs, title, quiet)
    try:
        train_in_processes(unfinished, jobs, progress.report)
    finally:
        progress.close()


def require_room(runs: Sequence[ModelRun]) -> None:
    """A :class:`MachineError` where the disk has less room than the checkpoints of ``runs``, not yet trained, take."""
    if not runs:
        return
    needed = sum(run.disk_bytes(PreparedCorpus.of(run.out).vocabulary) for run in runs)
    free = shutil.disk_usage(runs[0].out).free
    if needed > free:
        raise MachineError(
            f"{runs[0].out}: {free / BYTES_PER_MB:,.1f} MB are free, checkpoints and states take "
            f"{needed / BYTES_PER_MB:,.1f} MB; make room, name another --out, or keep fewer --checkpoints"
        )


class _Progress:
    """One bar over all runs, in FLOPs, because a token of a big model takes longer than one of a small one."""

    def __init__(self, runs: Sequence[ModelRun], title: str, quiet: bool) -> None:
        total = sum(run.cost for run in runs) // FLOPS_PER_GFLOP
        self._title = title
        self._bar = progress_bar(total, "GFLOP", title, quiet=quiet)
        self._done = {run.folder: run.cost if run.is_finished else 0 for run in runs}
        self._lock = threading.Lock()

    def report(self, run: ModelRun, step: int) -> None:
        """``run`` has made ``step`` steps."""
        with self._lock:
            steps = run.budget.steps
            self._done[run.folder] = run.cost * step // steps
            busy = [run.name] if step < steps else []
            self._bar.set_description(" ".join([self._title, *busy]), refresh=False)
            self._bar.update(sum(self._done.values()) // FLOPS_PER_GFLOP - self._bar.n)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()


# -- before anything is written -------------------------------------------------------------------------------------


def require_trainable(config: TrainingConfig, hashes: dict[str, str] | None = None) -> None:
    """Raise a :class:`UserError` for what can be known to be wrong before anything is written.

    ``hashes`` are those of the corpus, if they are known already.
    """
    data, out = config.data, config.run.out_folder
    difficulty_of(chosen_curriculum(data.curriculum))
    is_online(data)
    if config.run.checkpoint_grid == "babylm":
        scripts_of(data.corpus_files, data.record_fields).require_words("checkpoint_grid", WITHOUT_A_GRID)
    _require_shareable(config)
    hashes = hashes or corpus_hashes(data)
    if out.exists() and not out.is_dir():
        raise UserError(f"field 'out': {out} is a file; give a folder")
    if (out / RECORD_FILE).is_file():
        _require_same(config, hashes)
        return
    for size in config.model.sizes:
        if (out / size).exists():
            raise UserError(
                f"field 'out': {out / size} is there, but no {RECORD_FILE} says how it was made; give another folder"
            )


@cache
def scripts_of(files: tuple[Path, ...], fields: RecordFields) -> ScriptCount:
    """The scripts of a corpus, by the beginning of each of its files."""
    found = ScriptCount()
    for file in files:
        characters = 0
        for passage in read_passages([file], fields=fields):
            found.add(passage.text)
            characters += len(passage.text)
            if characters > CHARACTERS_LOOKED_AT:
                break
    return found


def _require_shareable(config: TrainingConfig) -> None:
    """Whether the processes of ``accelerate launch``, if any, can share the work."""
    if config.run.jobs > 1 and process_count() > 1:
        raise UserError("field 'jobs': several sizes at once and accelerate launch exclude each other; leave out jobs")
    if config.data.batch_size % process_count():
        raise UserError(
            f"field 'batch_size': {config.data.batch_size} sequences cannot be shared by {process_count()} processes "
            "alike"
        )


def corpus_hashes(data: DataConfig) -> dict[str, str]:
    """SHA-256 of every corpus file by its place in the list; a :class:`UserError` for one that cannot be read."""
    hashes = {}
    for position, file in enumerate(data.corpus_files):
        if is_data_set(file):
            hashes[f"corpus.{position}"] = record_hash(file, data.record_fields)
            continue
        if not file.is_file():
            raise UserError(f"{file}: {no_such(file, 'file')}; field 'corpus' takes text files ({KNOWN_FILES})")
        with open(file, "rb") as handle:
            hashes[f"corpus.{position}"] = file_digest(handle, "sha256").hexdigest()
    return hashes


def _require_same(config: TrainingConfig, hashes: dict[str, str]) -> None:
    """A :class:`UserError` unless the folder holds a run of this configuration on this corpus."""
    source = config.run.out_folder / RECORD_FILE
    record = RunRecord.from_json_file(source)
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
            for position, file in enumerate(config.data.corpus_files)
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
    out = config.run.out_folder
    if (out / RECORD_FILE).is_file():
        require_whole(out)
        return
    sweep_partials(out)
    prepare(config)
    RunRecord(
        command="train",
        config=config.effective(),
        versions=recorded_versions(),
        hashes=corpus_hashes(config.data),
        seeds={"seed": config.run.seed},
    ).write(out)
