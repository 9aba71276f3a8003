"""``--executor ray``: units of work (a checkpoint and a shard of its tasks) on the workers of a cluster."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from e2lm.atomic_file import partial_prefix
from e2lm.checkpoint import Checkpoint
from e2lm.errors import UserError
from e2lm.plugin_manager import plugin_manager
from e2lm_adapters.eval.ray.cluster import RayCluster
from e2lm_adapters.eval.ray.queue import ATTEMPTS, Span, UnitQueue, dispatch
from e2lm_adapters.eval.ray.worker import UnitCall
from e2lm_adapters.eval.request import EvaluationRequest, Work, key_of, unit_count, unit_of
from e2lm_adapters.eval.store import EvaluationStore
from e2lm_adapters.lm_eval.tasks import LoadedTasks

#: A network file system may show a new file to other nodes only after its attribute cache expires (NFS: up to 60 s).
VISIBLE_WITHIN_S = 90.0


def evaluate_on_ray(
    request: EvaluationRequest,
    tasks: LoadedTasks,
    store: EvaluationStore,
    work: Sequence[Work],
    on_done: Callable[[Work], object],
) -> None:
    """Do ``work`` on a Ray cluster; ``on_done`` is called here. What a lost worker had in hand is done again."""
    assert request.ray is not None
    names, width = tasks.names, request.tasks_per_unit
    count = unit_count(len(names), width)
    left: Counter[int] = Counter()

    def calls_of(span: Span) -> list[UnitCall]:
        piece = work[span.piece]
        units = (unit_of(piece, names, width, number) for number in range(span.start, span.stop))
        return [
            UnitCall(piece.series.name, piece.checkpoint.step, replace(piece.weights, index=None), unit.missing)
            for unit in units
            if unit is not None
        ]

    def following_of(piece: int) -> tuple[str, int]:
        return work[piece].series.name, work[piece].checkpoint.step

    def finished(span: Span) -> None:
        left[span.piece] += len(span)
        if left[span.piece] == count:
            del left[span.piece]
            await_visible(store, tasks, request, work[span.piece])
            on_done(work[span.piece])

    plugin_files = tuple(record.path.resolve() for record in plugin_manager().records if record.path is not None)
    threads = max(int(request.ray.worker_cpus), 1)
    shared = temporary_files_of_engines(request)
    arguments = (as_seen_from_anywhere(request), tasks.hashes, plugin_files, threads, shared)
    queue = UnitQueue((number, count) for number in range(len(work)))

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    try:
        with RayCluster(request.ray, arguments, calls_of, following_of, say, len(work) * count) as ray:
            given_up = dispatch(queue, ray, finished)
    finally:
        if shared is not None:
            shutil.rmtree(shared, ignore_errors=True)
    if given_up:
        first = work[given_up[0].piece]
        raise UserError(
            f"{first.checkpoint.location}: {ATTEMPTS} workers died over it (out of memory?), {len(given_up)} units in "
            "all are missing; everything else is kept, the same command tries them again"
        )


def temporary_files_of_engines(request: EvaluationRequest) -> Path | None:
    """Where in ``--out`` workers on several nodes share files: this command's own, so that no other deletes them."""
    if request.ray is None or not request.ray.engine_on_ray:
        return None
    return request.out.resolve() / f"{partial_prefix()}engines"


def as_seen_from_anywhere(request: EvaluationRequest) -> EvaluationRequest:
    """The request with absolute paths, for processes that start in other folders."""

    def located(point: Checkpoint) -> Checkpoint:
        return point if point.folder is None else point.model_copy(update={"path": str(point.folder.resolve())})

    return replace(
        request,
        out=request.out.resolve(),
        include_paths=tuple(path.resolve() for path in request.include_paths),
        series=tuple(
            one.model_copy(update={"checkpoints": tuple(located(point) for point in one.checkpoints)})
            for one in request.series
        ),
        jobs=1,
        quiet=True,
    )


def await_visible(store: EvaluationStore, tasks: LoadedTasks, request: EvaluationRequest, piece: Work) -> None:
    """Wait until this node sees what a worker on another one has written."""
    deadline = time.monotonic() + VISIBLE_WITHIN_S
    for name in piece.missing:
        key = key_of(request, piece.weights, tasks.facts, name)
        path: Path = store.unit_path(piece.series.name, piece.checkpoint.step, key)
        while not path.is_file():
            if time.monotonic() > deadline:
                raise UserError(f"{path}: written by a worker but not seen here; --out must be shared by all nodes")
            time.sleep(0.2)
