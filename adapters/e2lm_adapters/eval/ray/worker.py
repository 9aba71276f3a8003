"""What runs in a worker of a Ray cluster: tasks are loaded once, the model of a series stays, weights are swapped."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from e2lm.errors import UserError
from e2lm.plugin_manager import plugin_manager
from e2lm_adapters.eval.request import EvaluationRequest, Work, key_of
from e2lm_adapters.eval.store import EvaluationStore, disk_errors_told
from e2lm_adapters.scoring.swap import CheckedWeights, ReadAhead

if TYPE_CHECKING:
    from e2lm_adapters.eval.evaluator import LiveEvaluator


@dataclass(frozen=True, slots=True)
class UnitCall:
    """One unit on its way to a worker, which has the series already: everything else goes by name."""

    series: str
    step: int
    weights: CheckedWeights
    tasks: tuple[str, ...]


def share_temporary_files(shared: Path) -> None:
    """From now on Python's temporary files of this process lie in ``shared``.

    The workers of an engine on Ray read weights from them on nodes of their own. Sockets stay on the local disk.
    """
    os.environ.setdefault("VLLM_RPC_BASE_PATH", tempfile.gettempdir())
    shared.mkdir(exist_ok=True)
    tempfile.tempdir = str(shared)


class RayWorker:
    """Scores units; the results go into the output folder, which every node sees.

    ``shared`` is the driver's folder for temporary files that workers on several nodes read, where they do.
    """

    def __init__(
        self,
        request: EvaluationRequest,
        task_hashes: dict[str, str],
        plugin_files: tuple[Path, ...],
        threads: int,
        shared: Path | None = None,
    ) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        self._request = request
        self._task_hashes = task_hashes
        self._plugin_files = plugin_files
        self._threads = threads
        self._shared = shared
        self._store = EvaluationStore(request.out)
        self._series = {series.name: series for series in request.series}
        self._checkpoints = {(one.name, point.step): point for one in request.series for point in one.checkpoints}
        self._evaluator: tuple[str, LiveEvaluator] | None = None
        self._reader = ReadAhead(request.source.folder)

    def ready(self) -> str:
        """The node, once the tasks are loaded and found to ask what they ask on the driver's node."""
        import torch

        from e2lm_adapters.eval.processes import quiet_libraries
        from e2lm_adapters.lm_eval.tasks import load_tasks

        node = socket.gethostname()
        if not self._request.out.is_dir():
            raise UserError(
                f"--out {self._request.out}: not seen by the worker on {node}; give a folder that all nodes share"
            )
        if self._shared is not None:
            share_temporary_files(self._shared)
        torch.set_num_threads(self._threads)
        quiet_libraries(quiet=True)
        for path in self._plugin_files:
            plugin_manager().load_file(path)
        request = self._request
        self._tasks = load_tasks(
            request.tasks, request.include_paths, request.num_fewshot, request.limit, request.model_arguments
        )
        for name, expected in self._task_hashes.items():
            if self._tasks.hashes.get(name) != expected:
                raise UserError(f"task {name!r}: other items on {node} than here; give all nodes the same versions")
        return node

    def evaluate(self, calls: Sequence[UnitCall], following: tuple[str, int] | None) -> float:
        """Wall seconds for units of one checkpoint; ``following`` (series, step) is read ahead where it is certain."""
        started = time.monotonic()
        units = [unit for call in calls if (unit := self._unit(call)) is not None]
        if units:
            with disk_errors_told(self._request.out):
                self._evaluate(units, following)
        return time.monotonic() - started

    def _unit(self, call: UnitCall) -> Work | None:
        """The unit without the tasks that are done: a worker that died may have kept them."""
        missing = tuple(
            name
            for name in call.tasks
            if self._store.is_missing(
                call.series,
                call.step,
                key_of(self._request, call.weights, self._tasks.facts, name),
            )
        )
        point = self._checkpoints[call.series, call.step]
        return Work(self._series[call.series], point, call.weights, missing) if missing else None

    def _evaluate(self, units: list[Work], following: tuple[str, int] | None) -> None:
        from e2lm_adapters.eval.evaluator import LiveEvaluator
        from e2lm_adapters.eval.merged import MergeAhead

        series = units[0].series
        if self._evaluator is None or self._evaluator[0] != series.name:
            if self._evaluator is not None:
                self._evaluator[1].close()
            self._evaluator = None  # the old model goes before the new one comes
            self._evaluator = (series.name, LiveEvaluator(self._request, self._tasks, self._store))
        merge = self._request.merge_of(series)
        ahead = self._checkpoints[following] if following and following[0] == series.name and merge is None else None
        with ExitStack() as stack:
            reader = self._reader
            if merge is not None:
                reader = stack.enter_context(MergeAhead(merge, [units[0].checkpoint]))
            self._evaluator[1].evaluate(units, ahead, reader)
