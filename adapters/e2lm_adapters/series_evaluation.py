"""Evaluates every checkpoint of a series in one process: tasks, requests and tokens once, weights swapped in place."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2lm.checkpoint import Checkpoint
from e2lm.errors import UserError, one_line
from e2lm.item_metric import ItemMetric
from e2lm.plugin_manager import plugin_manager
from e2lm.progress import progress_bar
from e2lm.run_record import RunRecord, recorded_versions
from e2lm.scores import ScoreRow, Scores
from e2lm.series import Series
from e2lm.weights import read_weight_index
from e2lm_adapters.checkpoint_scores import score_rows
from e2lm_adapters.evaluation_store import EvaluationStore, StockMetric, Unit, adapter_label, unit_key
from e2lm_adapters.lm_eval_files import BOOTSTRAP_DRAWS, LmEvalFiles
from e2lm_adapters.logged_samples import samples_of
from e2lm_adapters.task_loading import SEEDS, LoadedTasks, load_tasks, set_seeds
from e2lm_adapters.weight_swap import CheckedWeights, ReadAhead, WeightSwapper, checked_weights, require_same_shapes

log = logging.getLogger("e2lm")

#: Raised when the same model and task could come out with other numbers: units of earlier versions are done again.
SCORING_VERSION = "1"


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """What ``e2lm eval`` was asked for."""

    series: tuple[Series, ...]
    tasks: tuple[str, ...]
    out: Path
    model: str = "e2lm-hf"
    model_arguments: dict[str, Any] = field(default_factory=dict)
    limit: int | None = None
    num_fewshot: int | None = None
    include_paths: tuple[Path, ...] = ()
    metrics: tuple[str, ...] | None = None
    batch_size: int | str = 1
    device: str | None = None
    write_lm_eval_files: bool = True
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class _Work:
    """A checkpoint and which of its tasks are still to be done."""

    series: Series
    checkpoint: Checkpoint
    weights: CheckedWeights
    missing: tuple[str, ...]


def evaluate_series(request: EvaluationRequest) -> Scores:
    """The Scores of every checkpoint; all of them are also on disk under ``request.out``.

    Everything that can be known to be wrong is found before anything is written.
    """
    started = time.monotonic()
    _quiet_libraries(request.quiet)
    metrics = _wanted_metrics(request.metrics)
    weights = _checked_series(request.series, request.quiet)
    tasks = load_tasks(
        request.tasks, request.include_paths, request.num_fewshot, request.limit, request.model_arguments
    )
    store = EvaluationStore(request.out)
    store.remove_leftovers()
    label = _adapter_label(request)
    work = [_work(store, series, checkpoint, weights, tasks, label) for series, checkpoint in _pairs(request.series)]
    record = _record(request, tasks, weights)
    record.write(request.out)
    _evaluate(request, tasks, store, work, label, metrics)
    scores = _all_scores(request.series, store, weights, tasks, label, metrics)
    scores.write(request.out)
    record.model_copy(update={"wall_s": time.monotonic() - started, "finished": True}).write(request.out)
    for series in request.series:
        plugin_manager().notify("e2lm_after_series_scored", series=series, scores=scores.where(series=series.name))
    return scores


# -- before anything is written -----------------------------------------------------------------------------------


def _pairs(all_series: Sequence[Series]) -> Iterator[tuple[Series, Checkpoint]]:
    for series in all_series:
        for checkpoint in series.checkpoints:
            yield series, checkpoint


def _wanted_metrics(names: tuple[str, ...] | None) -> list[ItemMetric]:
    manager = plugin_manager()
    if names is None:
        return manager.all("e2lm_register_metrics", ItemMetric, "item metric")
    return [manager.find("e2lm_register_metrics", ItemMetric, name, "metric") for name in names]


def _checked_series(all_series: Sequence[Series], quiet: bool) -> dict[str, CheckedWeights]:
    """Every checkpoint seen once: shards there, shapes equal within a series, no NaN; by location."""
    names = [series.name for series in all_series]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"two series are called {twice!r}; give each run folder (or series.json) its own name")
    for series in all_series:
        indexes = [read_weight_index(_local_folder(checkpoint)) for checkpoint in series.checkpoints]
        for index in indexes[1:]:
            require_same_shapes(indexes[0], index)
    checked: dict[str, CheckedWeights] = {}
    pairs = list(_pairs(all_series))
    with progress_bar(len(pairs), "checkpoints", "checking weights", quiet) as bar:
        for _, checkpoint in pairs:
            checked[checkpoint.location] = checked_weights(_local_folder(checkpoint))
            bar.update()
    return checked


def _local_folder(checkpoint: Checkpoint) -> Path:
    if checkpoint.folder is None:
        raise UserError(
            f"{checkpoint.location}: checkpoints on the Hub are not read yet; download them and give the folder"
        )
    return checkpoint.folder


def _adapter_label(request: EvaluationRequest) -> str:
    settings = {**request.model_arguments, "num_fewshot": request.num_fewshot}
    return adapter_label(request.model, SCORING_VERSION, settings)


def _work(
    store: EvaluationStore,
    series: Series,
    checkpoint: Checkpoint,
    weights: dict[str, CheckedWeights],
    tasks: LoadedTasks,
    label: str,
) -> _Work:
    own = weights[checkpoint.location]
    missing = tuple(
        name
        for name, task_hash in tasks.hashes.items()
        if store.finished(series.name, checkpoint.step, unit_key(own.sha256, task_hash, label)) is None
    )
    return _Work(series, checkpoint, own, missing)


def _record(request: EvaluationRequest, tasks: LoadedTasks, weights: dict[str, CheckedWeights]) -> RunRecord:
    hashes = {f"task:{name}": value for name, value in tasks.hashes.items()}
    for series, checkpoint in _pairs(request.series):
        hashes[f"weights:{series.name}:{checkpoint.step}"] = weights[checkpoint.location].sha256
    config = {
        "series": [series.name for series in request.series],
        "tasks": list(request.tasks),
        "model": request.model,
        "model_arguments": {key: str(value) for key, value in request.model_arguments.items()},
        "limit": request.limit,
        "num_fewshot": request.num_fewshot,
        "bootstrap_draws": BOOTSTRAP_DRAWS,
    }
    return RunRecord(command="eval", config=config, versions=recorded_versions(), hashes=hashes, seeds=SEEDS)


# -- the work -----------------------------------------------------------------------------------------------------


def _evaluate(
    request: EvaluationRequest,
    tasks: LoadedTasks,
    store: EvaluationStore,
    work: list[_Work],
    label: str,
    metrics: list[ItemMetric],
) -> None:
    done = sum(not piece.missing for piece in work)
    with progress_bar(len(work), "checkpoints", "evaluating", request.quiet, initial=done) as bar:
        for series in request.series:
            pieces = [piece for piece in work if piece.series is series and piece.missing]
            if not pieces:
                continue
            plugin_manager().notify("e2lm_before_series_scored", series=series, tasks=tasks.names)
            with ReadAhead() as reader:
                evaluator = _SeriesEvaluator(request, tasks, store, label, pieces)
                for position, piece in enumerate(pieces):
                    following = pieces[position + 1] if position + 1 < len(pieces) else None
                    rows = evaluator.evaluate(piece, following, reader, metrics)
                    bar.update()
                    plugin_manager().notify(
                        "e2lm_after_checkpoint_scored",
                        series=series,
                        checkpoint=piece.checkpoint,
                        scores=Scores.from_rows(rows),
                    )


class _SeriesEvaluator:
    """Holds the one live model of a series."""

    def __init__(
        self,
        request: EvaluationRequest,
        tasks: LoadedTasks,
        store: EvaluationStore,
        label: str,
        pieces: list[_Work],
    ) -> None:
        self._request = request
        self._tasks = tasks
        self._store = store
        self._label = label
        self._first = pieces[0].checkpoint
        self._lm = _built_model(request, _local_folder(self._first))
        self._files = LmEvalFiles(request.out, request.model, request.model_arguments, self._lm, request.limit)
        self._swapper = WeightSwapper(self._lm.model, pieces[0].weights.index)

    def evaluate(
        self, piece: _Work, following: _Work | None, reader: ReadAhead, metrics: list[ItemMetric]
    ) -> list[ScoreRow]:
        """Score the missing tasks of one checkpoint, keep the units, and give their rows."""
        from lm_eval.evaluator import evaluate

        started = time.monotonic()
        if piece.checkpoint is not self._first:
            self._swapper.swap(reader.take(_local_folder(piece.checkpoint)))
        if following is not None:
            reader.start(_local_folder(following.checkpoint))
        set_seeds()
        results = evaluate(
            lm=self._lm,
            task_dict=self._task_dict(piece.missing),
            limit=self._request.limit,
            bootstrap_iters=BOOTSTRAP_DRAWS,
            log_samples=True,
        )
        wall_s = time.monotonic() - started
        units = [self._unit(piece, name, results, wall_s) for name in piece.missing]
        samples = {
            name: samples_of(
                piece.series.name,
                piece.checkpoint.step,
                self._tasks.task_dict["tasks"][name],
                results["samples"][name],
                getattr(self._lm, "continuation_tokens_of", None),
            )
            for name in piece.missing
        }
        if self._request.write_lm_eval_files:
            self._files.write(piece.series, piece.checkpoint, results)
        rows: list[ScoreRow] = []
        for unit in units:
            kept = unit.model_copy(update={"has_samples": samples[unit.task] is not None})
            self._store.keep(kept, samples[unit.task])
            rows += score_rows(piece.series, piece.checkpoint, kept, samples[unit.task], metrics)
        return rows

    def _task_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """All tasks and groups, or the missing tasks alone, without the groups that want all of theirs."""
        whole = self._tasks.task_dict
        if set(names) == set(whole["tasks"]):
            return whole
        return {"tasks": {name: whole["tasks"][name] for name in names}, "groups": {}, "group_map": {}}

    def _unit(self, piece: _Work, name: str, results: dict[str, Any], wall_s: float) -> Unit:
        values = results["results"][name]
        stock = []
        for key, value in values.items():
            metric, comma, filter_name = str(key).partition(",")
            if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            stderr = values.get(f"{metric}_stderr,{filter_name}")
            finite = isinstance(stderr, int | float) and math.isfinite(stderr)
            stock.append(
                StockMetric(
                    metric=metric if filter_name == "none" else f"{metric},{filter_name}",
                    value=float(value),
                    stderr=float(stderr) if finite and stderr is not None else None,
                )
            )
        return Unit(
            series=piece.series.name,
            step=piece.checkpoint.step,
            task=name,
            weights_sha256=piece.weights.sha256,
            task_sha256=self._tasks.hashes[name],
            adapter=self._label,
            n=int(results["n-samples"][name]["effective"]),
            stock_metrics=tuple(stock),
            wall_s=wall_s,
        )


def _built_model(request: EvaluationRequest, folder: Path) -> Any:
    """The lm-eval model for the first checkpoint; later ones are swapped into it."""
    import lm_eval.models  # noqa: F401 - fills lm-eval's registry
    from lm_eval.api.registry import get_model

    from e2lm_adapters.lm_eval_registration import register_models

    register_models()
    try:
        kind = get_model(request.model)
    except ValueError as error:
        raise UserError(f"--model: {one_line(error)}") from error
    arguments = {**request.model_arguments, "pretrained": str(folder)}
    if request.model == "e2lm-hf":
        arguments["show_progress"] = False  # one progress bar is enough, and it is ours
    options: dict[str, Any] = {
        "batch_size": request.batch_size,
        "max_batch_size": None,
        "device": request.device or _best_device(),
    }
    lm = kind.create_from_arg_obj(arguments, options)
    if not hasattr(lm, "model"):
        raise UserError(
            f"--model {request.model}: its weights cannot be swapped; e2lm eval takes e2lm-hf and models built on hf"
        )
    return lm


def _best_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _all_scores(
    all_series: Sequence[Series],
    store: EvaluationStore,
    weights: dict[str, CheckedWeights],
    tasks: LoadedTasks,
    label: str,
    metrics: list[ItemMetric],
) -> Scores:
    """Every row, computed from what is on disk: evaluated now or in an earlier run."""
    rows: list[ScoreRow] = []
    for series, checkpoint in _pairs(all_series):
        for task_hash in tasks.hashes.values():
            key = unit_key(weights[checkpoint.location].sha256, task_hash, label)
            unit = store.finished(series.name, checkpoint.step, key)
            if unit is not None:
                rows += score_rows(series, checkpoint, unit, store.samples(unit), metrics)
    return Scores.from_rows(rows)


def _quiet_libraries(quiet: bool) -> None:
    """One progress bar, not five: libraries report warnings only."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in ("lm_eval", "transformers", "datasets", "accelerate", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR if quiet else logging.WARNING)
    from datasets.utils.logging import disable_progress_bar
    from transformers.utils import logging as transformers_logging

    disable_progress_bar()
    transformers_logging.disable_progress_bar()
