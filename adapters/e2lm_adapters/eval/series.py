"""Evaluates series: which checkpoints lack which tasks, what is ``left_out`` and why, and the rows of the table."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from e2lm.checkpoint import Checkpoint
from e2lm.errors import UserError
from e2lm.item_metric import ItemMetric
from e2lm.plugin_manager import plugin_manager
from e2lm.progress import progress_bar
from e2lm.run_record import LeftOut, RunRecord, recorded_versions
from e2lm.samples import Samples
from e2lm.scores import ScoreRow, Scores, scored_samples
from e2lm.series import Series
from e2lm.weights import read_weight_index
from e2lm_adapters.eval.evaluator import evaluate_here, model_class
from e2lm_adapters.eval.processes import evaluate_in_processes, quiet_libraries
from e2lm_adapters.eval.request import EvaluationRequest, Work, not_finite_units
from e2lm_adapters.eval.store import EvaluationStore, Unit, disk_errors_told, unit_key
from e2lm_adapters.lm_eval.files import BOOTSTRAP_DRAWS
from e2lm_adapters.lm_eval.tasks import SEEDS, LoadedTasks, load_tasks
from e2lm_adapters.scoring.swap import CheckedWeights, require_same_shapes
from e2lm_adapters.scoring.transformers_import import collection_paused


def score_rows(
    series: Series, checkpoint: Checkpoint, unit: Unit, samples: Samples | None, metrics: Iterable[ItemMetric]
) -> list[ScoreRow]:
    """The rows of one task at one checkpoint: lm-eval's metrics, then item metrics it does not have."""
    tokens = series.tokens_at(checkpoint)
    like = ScoreRow(
        series=series.name,
        step=checkpoint.step,
        task=unit.task,
        metric="",
        value=math.nan,
        params=float(series.params),
        tokens=tokens,
        flops=series.flops(tokens),
        n=unit.n,
    )
    rows = [
        replace(like, metric=one.metric, value=one.value, stderr=math.nan if one.stderr is None else one.stderr)
        for one in unit.stock_metrics
    ]
    return rows if samples is None else rows + scored_samples(samples, metrics, like, {row.metric for row in rows})


#: By name of the series and step.
WeightsOf = dict[tuple[str, int], CheckedWeights]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The Scores of every checkpoint that could be scored, what could not be, and which checks failed."""

    scores: Scores
    left_out: tuple[LeftOut, ...]
    failed_checks: tuple[str, ...] = ()


def evaluate_series(request: EvaluationRequest) -> Evaluation:
    """The Scores of every checkpoint; all of them are also on disk under ``request.out``.

    Everything that can be known to be wrong is found before anything is written. A checkpoint whose numbers are not
    finite costs itself.
    """
    started = time.monotonic()
    with collection_paused():
        quiet_libraries(request.quiet)
        model_class(request.model)
        metrics = _wanted_metrics(request.metrics)
        weights = _checked_series(request)
        tasks = load_tasks(
            request.tasks, request.include_paths, request.num_fewshot, request.limit, request.model_arguments
        )
    store = EvaluationStore(request.out)
    store.remove_leftovers()
    work = [_work(store, series, checkpoint, weights, tasks, request) for series, checkpoint in _pairs(request.series)]
    record = _record(request, tasks, weights)
    record.write(request.out)
    for piece in work:
        if piece.weights.not_finite:
            store.keep(not_finite_units(piece, tasks.hashes, request.adapter, piece.weights.not_finite))
    _evaluate(request, tasks, store, [piece for piece in work if not piece.weights.not_finite], metrics)
    scores = Scores.from_rows(
        row
        for series, checkpoint in _pairs(request.series)
        for row in _rows(series, checkpoint, weights[series.name, checkpoint.step], request, tasks, store, metrics)
    )
    left_out = (*request.unread, *_left_out(request, weights, tasks, store))
    if len(scores) or not left_out:
        scores.write(request.out)
    remarks, failed = _remarks(request, weights, tasks, store)
    done = {"wall_s": time.monotonic() - started, "finished": True, "left_out": left_out, "remarks": remarks}
    record.model_copy(update=done).write(request.out)
    for series in request.series:
        own = scores.where(series=series.name)
        if len(own):
            plugin_manager().notify("e2lm_after_series_scored", series=series, scores=own)
    return Evaluation(scores, left_out, failed)


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


def _checked_series(request: EvaluationRequest) -> WeightsOf:
    """Every checkpoint at hand seen once: shards there, shapes equal within a series, NaN noted; merges follow.

    One that is still to be fetched is checked when it comes.
    """
    names = [series.name for series in request.series]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"two series are called {twice!r}; give each run folder (or series.json) its own name")
    runs = [series for series in request.series if request.merge_of(series) is None]
    for series in runs:
        folders = [point.folder for point in series.checkpoints if request.source.is_at_hand(point)]
        indexes = [read_weight_index(folder) for folder in folders if folder is not None]
        for index in indexes[1:]:
            require_same_shapes(indexes[0], index)
    checked: WeightsOf = {}
    pairs = list(_pairs(runs))
    with progress_bar(len(pairs), "checkpoints", "checking weights", request.quiet) as bar:
        for series, checkpoint in pairs:
            checked[series.name, checkpoint.step] = request.source.weights(checkpoint)
            bar.update()
    for merge in request.merged:
        own = {point.step: checked[merge.run.name, point.step] for point in merge.run.checkpoints}
        checked |= {(merge.series.name, step): found for step, found in merge.weights(own).items()}
    return checked


def _work(
    store: EvaluationStore,
    series: Series,
    checkpoint: Checkpoint,
    weights: WeightsOf,
    tasks: LoadedTasks,
    request: EvaluationRequest,
) -> Work:
    own = weights[series.name, checkpoint.step]
    missing = tuple(
        name
        for name, task_hash in tasks.hashes.items()
        if store.finished(series.name, checkpoint.step, unit_key(own.sha256, task_hash, request.adapter)) is None
    )
    return Work(series, checkpoint, own, missing)


def _record(request: EvaluationRequest, tasks: LoadedTasks, weights: WeightsOf) -> RunRecord:
    hashes = {f"task:{name}": value for name, value in tasks.hashes.items()}
    for series, checkpoint in _pairs(request.series):
        hashes[f"weights:{series.name}:{checkpoint.step}"] = weights[series.name, checkpoint.step].sha256
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
    work: list[Work],
    metrics: list[ItemMetric],
) -> None:
    """Do what is missing; plugins hear of it in this process, wherever it was done."""
    todo = [piece for piece in work if piece.missing]
    if not todo:
        return
    manager = plugin_manager()
    for series in {piece.series.name: piece.series for piece in todo}.values():
        manager.notify("e2lm_before_series_scored", series=series, tasks=tasks.names)
    with progress_bar(len(work), "checkpoints", "evaluating", request.quiet, initial=len(work) - len(todo)) as bar:

        def report(piece: Work) -> None:
            bar.update()
            if not manager.is_heard("e2lm_after_checkpoint_scored"):
                return
            rows = _rows(piece.series, piece.checkpoint, piece.weights, request, tasks, store, metrics)
            if rows:
                manager.notify(
                    "e2lm_after_checkpoint_scored",
                    series=piece.series,
                    checkpoint=piece.checkpoint,
                    scores=Scores.from_rows(rows),
                )

        if request.ray is not None:
            from e2lm_adapters.eval.ray.executor import evaluate_on_ray as way
        else:
            way = evaluate_in_processes if request.jobs > 1 and len(todo) > 1 else evaluate_here
        with disk_errors_told(request.out):
            way(request, tasks, store, todo, report)


def _rows(
    series: Series,
    checkpoint: Checkpoint,
    weights: CheckedWeights,
    request: EvaluationRequest,
    tasks: LoadedTasks,
    store: EvaluationStore,
    metrics: list[ItemMetric],
) -> list[ScoreRow]:
    """The rows of one checkpoint, computed from what is on disk: evaluated now or in an earlier run."""
    rows: list[ScoreRow] = []
    for unit in _finished(series, checkpoint, weights, request, tasks, store):
        rows += score_rows(series, checkpoint, unit, store.samples(unit), metrics)
    return rows


def _finished(
    series: Series,
    checkpoint: Checkpoint,
    weights: CheckedWeights,
    request: EvaluationRequest,
    tasks: LoadedTasks,
    store: EvaluationStore,
) -> list[Unit]:
    keys = [unit_key(weights.sha256, task_hash, request.adapter) for task_hash in tasks.hashes.values()]
    units = (store.finished(series.name, checkpoint.step, key) for key in keys)
    return [unit for unit in units if unit is not None]


def _left_out(
    request: EvaluationRequest, weights: WeightsOf, tasks: LoadedTasks, store: EvaluationStore
) -> tuple[LeftOut, ...]:
    """Checkpoints that could not be scored, then items of tasks that item metrics cannot use, each thing once."""
    refused: dict[tuple[str, str, str], list[str]] = {}
    items: dict[tuple[str, str], None] = {}
    for series, checkpoint in _pairs(request.series):
        for unit in _finished(series, checkpoint, weights[series.name, checkpoint.step], request, tasks, store):
            if unit.not_finite:
                key = (f"{series.name} step {checkpoint.step}", unit.not_finite, checkpoint.location)
                refused.setdefault(key, []).append(unit.task)
            items.update({(unit.task, line): None for line in unit.left_out})
    found = []
    for (what, why, file), names in refused.items():
        some = "" if len(names) == len(tasks.hashes) else f", {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
        found.append(LeftOut(what=what + some, why=why, file=file))
    return (*found, *(LeftOut(what=task, why=line) for task, line in items))


def _remarks(
    request: EvaluationRequest, weights: WeightsOf, tasks: LoadedTasks, store: EvaluationStore
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is to be known of the way checkpoints were scored, and which checks failed, a line each."""
    remarks: dict[str, None] = {}
    failed: dict[str, None] = {}
    for series, checkpoint in _pairs(request.series):
        place = f"{series.name} step {checkpoint.step}"
        for unit in _finished(series, checkpoint, weights[series.name, checkpoint.step], request, tasks, store):
            remarks.update({f"{place}: {line}": None for line in unit.remarks})
            if unit.check_failed:
                failed[f"{place}: verify: {unit.check_failed}; its scores are lm-eval's own"] = None
    return (*remarks, *failed), tuple(failed)
