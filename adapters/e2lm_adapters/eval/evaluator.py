"""Scores checkpoint after checkpoint with one live model; one whose numbers are NaN or infinite costs itself."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from e2lm.checkpoint import Checkpoint
from e2lm.errors import NotFiniteError, UserError, nearest_names, one_line
from e2lm.results.lm_eval import reported_values
from e2lm.results.lm_eval_items import LiveTask, item_samples
from e2lm.samples import Samples
from e2lm_adapters.eval.loading import LiveModel, built
from e2lm_adapters.eval.merged import MergeAhead
from e2lm_adapters.eval.request import EvaluationRequest, Work, new_unit, not_finite_units, units_of
from e2lm_adapters.eval.store import EvaluationStore, StockMetric, Unit
from e2lm_adapters.lm_eval.files import BOOTSTRAP_DRAWS, LmEvalFiles, without_tasks
from e2lm_adapters.lm_eval.tasks import LoadedTasks, set_seeds
from e2lm_adapters.scoring.swap import ReadAhead, UnloadableCheckpointError, UnusableCheckpointError
from e2lm_adapters.scoring.transformers_import import collection_paused


def evaluate_here(
    request: EvaluationRequest,
    tasks: LoadedTasks,
    store: EvaluationStore,
    work: Sequence[Work],
    on_done: Callable[[Work], object],
) -> None:
    """Do ``work`` in this process; pieces of one series stand together."""
    for _, members in groupby(work, key=lambda piece: piece.series.name):
        pieces = list(members)
        merge = request.merge_of(pieces[0].series)
        checkpoints = [piece.checkpoint for piece in pieces]
        with (
            MergeAhead(merge, checkpoints) if merge else ReadAhead(request.source.folder) as reader,
            closing(LiveEvaluator(request, tasks, store)) as evaluator,
        ):
            for piece, following in zip_longest(pieces, checkpoints[1:]):
                evaluator.evaluate(units_of(piece, tasks.names, request.tasks_per_unit), following, reader)
                on_done(piece)
    request.source.release()


class LiveEvaluator:
    """The evaluator of a series, built for the first checkpoint that can be scored.

    A checkpoint whose weights turn out not to be finite when they come, or of which no model can be made, costs itself:
    that is what its units say. Where the first two fail alike it is not for a reason of theirs, and raised.
    """

    def __init__(self, request: EvaluationRequest, tasks: LoadedTasks, store: EvaluationStore) -> None:
        self._request = request
        self._tasks = tasks
        self._store = store
        self._evaluator: CheckpointEvaluator | None = None
        self._has_loaded = False
        self._unloadable: UnloadableCheckpointError | None = None

    def evaluate(self, units: Sequence[Work], following: Checkpoint | None, reader: ReadAhead) -> None:
        """Score ``units`` of one checkpoint and keep them; ``following`` is read ahead meanwhile."""
        for unit in units:
            try:
                self._evaluator_of(unit).evaluate(unit, following, reader)
                self._has_loaded = True
            except (NotFiniteError, UnusableCheckpointError) as error:
                is_unusable = isinstance(error, UnusableCheckpointError)
                self._store.keep(not_finite_units(self._request, unit, self._tasks.facts, str(error), is_unusable))
                if isinstance(error, UnloadableCheckpointError) and not self._has_loaded:
                    self._require_another_reason(error)

    def _require_another_reason(self, error: UnloadableCheckpointError) -> None:
        before, self._unloadable = self._unloadable, error
        if before is not None and before.reason == error.reason and str(before) != str(error):
            raise before

    def close(self) -> None:
        """Give back what the model holds outside this process."""
        if self._evaluator is not None:
            self._evaluator.close()

    def _evaluator_of(self, first: Work) -> CheckpointEvaluator:
        if self._evaluator is None:
            self._evaluator = CheckpointEvaluator(self._request, self._tasks, self._store, first)
        return self._evaluator


class CheckpointEvaluator:
    """Holds the one live model of the series of ``first`` and scores one checkpoint after the other."""

    def __init__(
        self,
        request: EvaluationRequest,
        tasks: LoadedTasks,
        store: EvaluationStore,
        first: Work,
    ) -> None:
        self._request = request
        self._tasks = tasks
        self._store = store
        merged = request.merge_of(first.series) is not None
        self._live = LiveModel(partial(_built_model, request), request.source, request.model_arguments, merged)
        self._files: LmEvalFiles

    @property
    def _lm(self) -> Any:
        return self._live.lm

    def evaluate(self, piece: Work, following: Checkpoint | None, reader: ReadAhead) -> None:
        """Score the missing tasks of one checkpoint and keep the units; ``following`` is read ahead meanwhile."""
        from lm_eval.evaluator import evaluate

        started = time.monotonic()
        self._load(piece, reader)
        if following is not None and self._live.needs_tensors(following):
            reader.start(following)
        before = _checks_of(self._lm)
        set_seeds()
        with np.errstate(divide="ignore", invalid="ignore"):  # lm-eval divides by the length of an empty choice
            results = evaluate(
                lm=self._lm,
                task_dict=self._task_dict(piece.missing),
                limit=self._request.limit,
                bootstrap_iters=BOOTSTRAP_DRAWS,
                log_samples=True,
            )
        wall_s = time.monotonic() - started
        told = _checks_of(self._lm).since(before)
        kept = [(told.noted(unit), samples) for unit, samples in self._all_kept(piece, results, wall_s)]
        refused = {unit.task for unit, _ in kept if unit.not_finite}
        if self._request.write_lm_eval_files and len(refused) < len(kept):
            shown = self._request.shown(piece.series, piece.checkpoint)
            self._files.write(piece.series, shown, without_tasks(results, refused))
        self._store.keep(kept)

    def close(self) -> None:
        """Give back what the model holds outside this process."""
        self._live.close()

    def _load(self, piece: Work, reader: ReadAhead) -> None:
        request, before = self._request, self._lm
        with collection_paused() if before is None else nullcontext():
            self._live.bring(piece.checkpoint, reader)
        if self._lm is not before:
            self._files = LmEvalFiles(request.out, request.model, request.model_arguments, self._lm, request.limit)

    def _task_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """All tasks and groups, or the missing tasks alone, without the groups that want all of theirs."""
        whole = self._tasks.task_dict
        if set(names) == set(whole["tasks"]):
            return whole
        return {"tasks": {name: whole["tasks"][name] for name in names}, "groups": {}, "group_map": {}}

    def _all_kept(self, piece: Work, results: dict[str, Any], wall_s: float) -> list[tuple[Unit, Samples | None]]:
        """What is kept of the tasks that were scored together.

        A task with a number that is not finite says so. So do, beside it, tasks that have no numbers to look at: what a
        broken model writes is nothing to count.
        """
        kept: dict[str, tuple[Unit, Samples | None]] = {}
        broken: dict[str, str] = {}
        for name in piece.missing:
            try:
                kept[name] = self._kept(piece, name, results, wall_s)
            except NotFiniteError as error:
                broken[name] = str(error)
        for name in [name for name in kept if broken and self._writes_text(name)]:
            broken[name] = f"scored with {next(iter(broken))}: {next(iter(broken.values()))}"
        for name, why in broken.items():
            only = replace(piece, missing=(name,))
            kept[name] = not_finite_units(self._request, only, self._tasks.facts, why)[0]
        return [kept[name] for name in piece.missing]

    def _writes_text(self, name: str) -> bool:
        return str(self._tasks.task_dict["tasks"][name].OUTPUT_TYPE) == "generate_until"

    def _kept(self, piece: Work, name: str, results: dict[str, Any], wall_s: float) -> tuple[Unit, Samples | None]:
        read = item_samples(
            piece.series.name,
            piece.checkpoint.step,
            name,
            LiveTask(self._tasks.task_dict["tasks"][name]),
            results["samples"][name],
            getattr(self._lm, "continuation_tokens_of", None),
        )
        reported = list(reported_values(results["results"][name]))
        nothing = tuple(f"{metric} is {value}: no row" for metric, value, _ in reported if not math.isfinite(value))
        unit = new_unit(
            self._request,
            piece,
            self._tasks.facts,
            name,
            n=int(results["n-samples"][name]["effective"]),
            stock_metrics=tuple(
                StockMetric(metric=metric, value=value, stderr=stderr if math.isfinite(stderr) else None)
                for metric, value, stderr in reported
                if math.isfinite(value)
            ),
            has_samples=read.samples is not None,
            left_out=(*nothing, *read.left_out),
            built_anew=self._live.built_anew,
            wall_s=wall_s,
        )
        return unit, read.samples


@dataclass(frozen=True, slots=True)
class _Checks:
    """What a model found out about its own scoring: lists scored in another way than planned, and failed ``verify``."""

    fallbacks: tuple[str, ...]
    failed: tuple[str, ...]

    def since(self, before: _Checks) -> _Checks:
        return _Checks(self.fallbacks[len(before.fallbacks) :], self.failed[len(before.failed) :])

    def noted(self, unit: Unit) -> Unit:
        return unit.model_copy(update={"remarks": self.fallbacks, "check_failed": "; ".join(self.failed)})


def _checks_of(lm: Any) -> _Checks:
    failed = (f"{found}; {lm.after_failed_verify}" for found in getattr(lm, "failed_verifications", ()))
    return _Checks(tuple(map(str, getattr(lm, "fallbacks", ()))), tuple(failed))


def model_class(name: str) -> Any:
    """The lm-eval model called ``name``; a :class:`UserError` for an unknown one."""
    if name == "vllm":
        raise UserError("--model vllm: would start an engine for every checkpoint; --model e2lm-vllm keeps one")
    import lm_eval.models  # noqa: F401 - fills lm-eval's registry
    from lm_eval.api.registry import get_model, model_registry

    from e2lm_adapters.lm_eval.registration import register_models

    register_models()
    if name not in model_registry:
        raise UserError(f"--model: unknown model {name!r}. {nearest_names(name, model_registry.keys())}")
    try:
        return get_model(name)
    except ImportError as error:
        raise UserError(f"--model {name}: a package it needs is missing ({one_line(error)})") from error


def _built_model(request: EvaluationRequest, folder: Path) -> Any:
    """The lm-eval model of ``folder``; checkpoints that differ in weights alone are swapped into it."""
    arguments = dict(request.model_arguments)
    if request.model in ("e2lm-hf", "e2lm-vllm"):
        arguments["show_progress"] = False  # one progress bar is enough, and it is ours
    options: dict[str, Any] = {
        "batch_size": request.batch_size,
        "max_batch_size": None,
        "device": request.device or _best_device(),
    }
    make = model_class(request.model).create_from_arg_obj
    live = request.in_memory
    # An engine's errors, and those of a training that goes on, are not the checkpoint's.
    errors: dict[str, Any] = {} if live is not None or request.model == "e2lm-vllm" else {"own_errors": (Exception,)}
    lm = built(folder, lambda given: make(given, options) if live is None else live.build(folder), arguments, **errors)
    if not hasattr(lm, "model"):
        raise UserError(
            f"--model {request.model}: its weights cannot be swapped; e2lm eval takes e2lm-hf and models built on hf"
        )
    if hasattr(lm, "raises_if_not_finite"):
        lm.raises_if_not_finite = False  # it costs its task alone: Samples refuse it
    return lm


def _best_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
