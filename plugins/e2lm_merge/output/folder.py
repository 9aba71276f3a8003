"""A merge into a folder: laid out first, tensors written in place by a few threads, there whole or not at all.

Everything happens in a hidden folder beside the output whose name holds the plan's hash. A killed merge goes on there;
another plan, or changed inputs, start afresh. The last step renames the folder, and removes what killed merges into the
same folder have left: they could never end there.
"""

from __future__ import annotations

import fcntl
import glob
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import local
from typing import Any

import xxhash

from e2lm.atomic_file import PARTIAL_MARK, errors_name, sync_folder, write_json
from e2lm.errors import MachineError, UserError
from e2lm.one_thread import one_torch_thread
from e2lm.progress import progress_bar
from e2lm.weights import SHARD_INDEX
from e2lm_merge.numbers.blocks import TensorMerge, Workspace
from e2lm_merge.numbers.formats import Bytes, empty_bytes
from e2lm_merge.numbers.stored import read_bytes, write_bytes
from e2lm_merge.numbers.tensor_merge import compiled_for, look_at_all, merge_tensor
from e2lm_merge.output.journal import (
    JOURNAL_FILE,
    PROVENANCE_FILE,
    FinishedTensor,
    MergeJournal,
    plan_identity,
    provenance,
)
from e2lm_merge.output.layout import DEFAULT_SHARD_BYTES, TensorPlace, WeightLayout, lay_out
from e2lm_merge.plan.merge_plan import MergePlan
from e2lm_merge.plan.source import CONFIG_FILE, ModelSource
from e2lm_merge.plan.vocabulary import OutputVocabulary, is_of_tokenizer, renumbered

LOCK_FILE = "lock"
GENERATION_FILE = "generation_config.json"

#: Bytes read at a time when a finished tensor is checked on resume.
CHECK_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class MergeOutcome:
    """What was done: ``resumed`` tensors were there from a killed merge."""

    folder: Path
    tensors: int
    resumed: int
    output_bytes: int


def merge_to_folder(
    plan: MergePlan, output: Path, threads: int = 2, shard_bytes: int = DEFAULT_SHARD_BYTES, quiet: bool = True
) -> MergeOutcome:
    """Merge into the new folder ``output``; the same bytes for any number of ``threads`` and after any kill.

    Raises :class:`UserError` where ``output`` exists or an input holds NaN, :class:`e2lm.errors.MachineError` where the
    disk is too full.
    """
    check_output(output)
    layout = lay_out(plan.merges, shard_bytes)
    identity = plan_identity(plan, shard_bytes)
    digest = sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    work = output.parent / f"{PARTIAL_MARK}merge-{digest[:16]}-{output.name}"
    with errors_name(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        work.mkdir(exist_ok=True)
        resumed = _merge_in(work, plan, output, layout, threads, quiet)
        sync_folder(output.parent)
        _remove_leftovers(output)
    return MergeOutcome(output, len(plan.merges), resumed, layout.total_size)


def _merge_in(work: Path, plan: MergePlan, output: Path, layout: WeightLayout, threads: int, quiet: bool) -> int:
    """Make everything in ``work`` and give it its name; the number of tensors that were there already."""
    with _locked(work, output):
        try:
            _check_space(work, layout)
            done, resumed = _write_tensors(plan, layout, work, threads, quiet)
        except UserError:
            shutil.rmtree(work, ignore_errors=True)
            raise
        _write_beside(plan, layout, work, done)
        _sync(work)
        try:
            os.replace(work, output)
        except OSError:
            if output.exists():  # another merge, or the user, was faster: what is in the way is told, and this goes
                shutil.rmtree(work, ignore_errors=True)
            check_output(output)
            raise
    return resumed


def _remove_leftovers(output: Path) -> None:
    """Delete what merges of other plans into ``output`` have left, unless one of them still runs."""
    for left in output.parent.glob(f"{PARTIAL_MARK}merge-{'[0-9a-f]' * 16}-{glob.escape(output.name)}"):
        try:
            with _locked(left, output):
                shutil.rmtree(left, ignore_errors=True)
        except (UserError, OSError):
            continue


def check_output(output: Path) -> None:
    """A :class:`UserError` where something is in the way."""
    if output.exists():
        raise UserError(f"{output}: exists already; a merge never overwrites, so name another folder or remove it")


@contextmanager
def _locked(work: Path, output: Path) -> Iterator[None]:
    descriptor = os.open(work / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{output}: the same merge is running already; wait for it or stop it") from error
        yield
    finally:
        os.close(descriptor)


def _check_space(work: Path, layout: WeightLayout) -> None:
    missing = sum(file.size for file in layout.files if not (work / file.name).is_file())
    free = shutil.disk_usage(work).free
    if missing > free:
        raise MachineError(f"{work.parent}: {missing:,} bytes are needed and {free:,} are free; make room")


def _write_tensors(
    plan: MergePlan, layout: WeightLayout, work: Path, threads: int, quiet: bool
) -> tuple[dict[str, FinishedTensor], int]:
    files = _laid_out(layout, work)
    try:
        done = _still_good(MergeJournal(work).read(), layout, files, work)
        resumed = len(done)
        todo = sorted((one for one in plan.merges if one.name not in done), key=lambda one: (-one.nbytes, one.name))
        with MergeJournal(work) as journal, progress_bar(len(plan.merges), "tensors", "merge", quiet, resumed) as bar:
            for finished in _merged(plan, todo, layout, files, threads):
                journal.add(finished)
                done[finished.name] = finished
                bar.update()
    finally:
        for descriptor in files.values():
            os.close(descriptor)
        plan.files.close()
    return done, resumed


def _merged(
    plan: MergePlan, todo: Sequence[TensorMerge], layout: WeightLayout, files: dict[str, int], threads: int
) -> Iterator[FinishedTensor]:
    """Finished tensors, the largest first, so that no thread is left with a large one at the end."""
    if not todo:
        return
    own = local()
    with one_torch_thread():
        found = look_at_all(plan.merges)
    compiled = compiled_for(plan.merges)

    def work_on(merge: TensorMerge) -> FinishedTensor:
        if not hasattr(own, "workspace"):
            own.workspace = Workspace(compiled)
        place = layout.places[merge.name]
        hasher = xxhash.xxh3_128()

        def sink(start: int, bytes_: Bytes) -> None:
            hasher.update(bytes_.data)
            write_bytes(files[place.file], place.start + start, bytes_)

        with one_torch_thread():
            inputs = merge_tensor(merge, own.workspace, sink, found)
        return FinishedTensor(merge.name, hasher.hexdigest(), inputs)

    pool = ThreadPoolExecutor(max_workers=max(1, threads), thread_name_prefix="merge")
    try:
        yield from pool.map(work_on, todo)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _laid_out(layout: WeightLayout, work: Path) -> dict[str, int]:
    """Every output file at its full size with its header, opened."""
    descriptors = {}
    for file in layout.files:
        descriptor = os.open(work / file.name, os.O_RDWR | os.O_CREAT, 0o644)
        descriptors[file.name] = descriptor
        if file.size:
            os.posix_fallocate(descriptor, 0, file.size)
        os.pwrite(descriptor, file.header, 0)
    return descriptors


def _still_good(
    journal: dict[str, FinishedTensor], layout: WeightLayout, files: dict[str, int], work: Path
) -> dict[str, FinishedTensor]:
    return {
        name: finished
        for name, finished in journal.items()
        if name in layout.places and _stored_checksum(layout.places[name], files, work) == finished.output
    }


def _stored_checksum(place: TensorPlace, files: dict[str, int], work: Path) -> str:
    hasher = xxhash.xxh3_128()
    for start in range(place.start, place.end, CHECK_BYTES):
        bytes_ = empty_bytes(min(CHECK_BYTES, place.end - start))
        read_bytes(files[place.file], start, bytes_, work / place.file)
        hasher.update(bytes_.data)
    return str(hasher.hexdigest())


def _write_beside(plan: MergePlan, layout: WeightLayout, work: Path, done: dict[str, FinishedTensor]) -> None:
    tokens = plan.vocabulary
    for source in plan.donor.beside_weights:
        if tokens is None or not is_of_tokenizer(source.relative_to(plan.donor.folder)):
            _copy(source, plan.donor.folder, work)
    if tokens is not None:
        _write_tokenizer(tokens, plan.donor, work)
    if plan.config:
        write_json(work / CONFIG_FILE, plan.config)
    index: dict[str, Any] | None = layout.index
    if index is not None:
        write_json(work / SHARD_INDEX, index)
    write_json(work / PROVENANCE_FILE, provenance(plan, done))


def _copy(source: Path, folder: Path, work: Path) -> None:
    place = work / source.relative_to(folder)
    place.parent.mkdir(exist_ok=True)
    shutil.copyfile(source, place)


def _write_tokenizer(tokens: OutputVocabulary, donor: ModelSource, work: Path) -> None:
    """The output's tokenizer, and what names its tokens by number."""
    if tokens.files is None:
        tokens.tokenizer.save_pretrained(str(work))
    else:
        for source in tokens.files.beside_weights:
            if is_of_tokenizer(source.relative_to(tokens.files.folder)):
                _copy(source, tokens.files.folder, work)
    generation = work / GENERATION_FILE
    if generation.is_file():
        said = json.loads(generation.read_text(encoding="utf-8"))
        write_json(generation, {**said, **renumbered(said, tokens, donor)})


def _sync(work: Path) -> None:
    for name in (JOURNAL_FILE, LOCK_FILE):
        (work / name).unlink(missing_ok=True)
    for file in sorted(work.rglob("*")):
        if file.is_file():
            with open(file, "rb") as handle:
                os.fsync(handle.fileno())
    sync_folder(work)
