"""Evaluates series: which checkpoints lack which tasks, what is ``left_out`` and why, and the rows of the table."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from e2lm.checkpoint import Checkpoint
from e2lm.errors import UserError
from e2lm.item_metric import ItemMetric
from e2lm.plugin_manager import plugin_manager
from e2lm.progress import progress_bar
from e2lm.run_record import LeftOut, Note, RunRecord, recorded_versions
from e2lm.scores import Scores
from e2lm.series import Series
from e2lm.weights import read_weight_index
from e2lm_adapters.checkpoints.identity import input_files, seen_bytes
from e2lm_adapters.eval.evaluator import evaluate_here
from e2lm_adapters.eval.known import RememberedTasks, same_weights, shown_steps, superseded_units
from e2lm_adapters.eval.memory import Memory
from e2lm_adapters.eval.processes import evaluate_in_processes, gpus_of_processes
from e2lm_adapters.eval.recorded import recorded_rows, table_locked
from e2lm_adapters.eval.remembered_rows import RememberedRows
from e2lm_adapters.eval.request import EvaluationRequest, WeightsOf, Work, key_of, not_finite_units
from e2lm_adapters.eval.rows import RowMaker
from e2lm_adapters.eval.store import EvaluationStore, Unit, disk_errors_told
from e2lm_adapters.lm_eval.files import BOOTSTRAP_DRAWS
from e2lm_adapters.lm_eval.tasks import SEEDS, TaskIdentities
from e2lm_adapters.scoring.swap import CheckedWeights, require_same_shapes


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The table of ``--out`` (what was recorded before stays in it), what could not be scored, failed checks, notes."""

    scores: Scores
    left_out: tuple[LeftOut, ...]
    failed_checks: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()


def evaluate_series(request: EvaluationRequest, tasks: RememberedTasks | None = None) -> Evaluation:
    """The Scores of every checkpoint; all of them are also on disk under ``request.out``.

    ``tasks`` are those of an earlier call that asked for the same: they need not be loaded again.

    Everything that can be known to be wrong is found before anything is written. A checkpoint whose numbers are not
    finite costs itself. Where nothing is left to do, neither lm-eval nor torch is imported.
    """
    with disk_errors_told(request.out):
        return _evaluated(request, tasks)


def _evaluated(request: EvaluationRequest, tasks: RememberedTasks | None) -> Evaluation:
    started = time.monotonic()
    plan = _planned(request, tasks)
    superseded = superseded_units(plan.request, plan.tasks.facts, plan.store, plan.work)
    record = _record(plan.request, plan.tasks.facts, plan.weights)
    record = record.model_copy(update={"notes": same_weights(plan.weights), "superseded": superseded})
    record.write(request.out)
    _evaluate(plan)
    finished = [(series, checkpoint, plan.units(series, checkpoint)) for series, checkpoint in _pairs(request.series)]
    for unit in (unit for _, _, units in finished for unit in units):
        plan.store.show(unit)
    rows = [row for one in finished for row in plan.maker.rows(*one)]
    left_out = (*request.unread, *_left_out(plan.tasks.facts, finished))
    made = scores = Scores.from_rows(rows)
    stayed: tuple[Note, ...] = ()
    if rows or not left_out:
        with table_locked(request.out):
            recorded = recorded_rows(plan.request, plan.tasks.facts, plan.store, plan.work)
            scores, stayed = Scores.from_rows((*rows, *recorded.rows)), recorded.notes
            scores.write(request.out)
            plan.maker.remembered.keep()
    remarks, failed = _remarks(finished)
    notes = (*record.notes, *stayed, *_built_anew(finished))
    done = {"wall_s": time.monotonic() - started, "finished": True}
    record = record.model_copy(update={**done, "left_out": left_out, "remarks": remarks, "notes": notes})
    record.write(request.out)
    for series in request.series:
        own = made.where(series=series.name)
        if len(own):
            plugin_manager().notify("e2lm_after_series_scored", series=series, scores=own)
    again = superseded if any(piece.missing for piece in plan.work) else ()
    return Evaluation(scores, left_out, failed, (*record.notes, *stayed, *again))


# -- before anything is written -----------------------------------------------------------------------------------


def _pairs(all_series: Iterable[Series]) -> Iterator[tuple[Series, Checkpoint]]:
    for series in all_series:
        for checkpoint in series.checkpoints:
            yield series, checkpoint


def _wanted_metrics(names: tuple[str, ...] | None) -> list[ItemMetric]:
    manager = plugin_manager()
    if names is None:
        return manager.all("e2lm_register_metrics", ItemMetric, "item metric")
    return [manager.find("e2lm_register_metrics", ItemMetric, name, "metric") for name in names]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What there is, what is missing, and how rows are made of it."""

    request: EvaluationRequest
    tasks: RememberedTasks
    store: EvaluationStore
    weights: WeightsOf
    work: list[Work]
    maker: RowMaker

    def units(self, series: Series, checkpoint: Checkpoint) -> list[Unit]:
        """The finished units of one checkpoint, evaluated now or in an earlier run."""
        own, facts = self.weights[series.name, checkpoint.step], self.tasks.facts
        keys = [key_of(self.request, own, facts, name) for name in facts.names]
        units = (self.store.finished(series.name, checkpoint.step, key) for key in keys)
        return [unit for unit in units if unit is not None]


def _planned(request: EvaluationRequest, tasks: RememberedTasks | None) -> _Plan:
    """Everything that was asked for, looked at; tasks are loaded only where that is needed."""
    memory = Memory(request.out)
    tasks = tasks or RememberedTasks(request, memory)
    metrics = _wanted_metrics(request.metrics)
    weights = _checked_series(request, memory)
    store = EvaluationStore(request.out)
    store.remove_leftovers()
    request = replace(request, surroundings=tasks.surroundings)
    work = _work(store, weights, tasks.facts, request)
    if tasks.must_be_loaded(work):
        request = replace(request, surroundings=tasks.surroundings)
        work = _work(store, weights, tasks.facts, request)
    todo = [piece for piece in work if piece.missing and not piece.weights.not_finite]
    if request.ray is None and todo:
        gpus_of_processes(request, min(request.jobs, len(todo)))
    memory.write()
    tasks.keep()
    remembered = RememberedRows(store, memory, metrics)
    maker = RowMaker(store, metrics, _wanted_metrics(None), tasks.facts.groups, remembered)
    return _Plan(request, tasks, store, weights, work, maker)


def _checked_series(request: EvaluationRequest, memory: Memory) -> WeightsOf:
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
            checked[series.name, checkpoint.step] = _seen(request, checkpoint, memory)
            bar.update()
    for merge in request.merged:
        own = {point.step: checked[merge.run.name, point.step] for point in merge.run.checkpoints}
        checked |= {(merge.series.name, step): found for step, found in merge.weights(own).items()}
    return checked


def _seen(request: EvaluationRequest, checkpoint: Checkpoint, memory: Memory) -> CheckedWeights:
    """Weights and files of one checkpoint, by their bytes, which are read only where they are not known."""
    source, folder = request.source, checkpoint.folder
    if folder is None:
        return source.weights(checkpoint)
    lent = ((name, memory.file_hash(file)) for name, file in source.lent_files(folder).items())
    files = (*input_files(folder, memory.file_hash), *lent)
    if not source.is_at_hand(checkpoint):
        return replace(source.weights(checkpoint), files=files)
    index = read_weight_index(folder)

    def look() -> tuple[str, str]:
        seen = seen_bytes(index)
        if seen is not None and not seen[1]:
            return seen  # what is not finite may be a mask that nothing reads
        found = source.weights(checkpoint)
        return found.sha256, found.not_finite

    sha, not_finite = memory.weights(index.files, look)
    if request.in_memory is not None:  # the folder is there for the moment only
        not_finite = not_finite.replace(str(folder), request.in_memory.shown(checkpoint).location)
    return CheckedWeights(index, sha, not_finite, files)


def _work(store: EvaluationStore, weights: WeightsOf, tasks: TaskIdentities, request: EvaluationRequest) -> list[Work]:
    work = []
    for series, checkpoint in _pairs(request.series):
        own = weights[series.name, checkpoint.step]
        keys = ((name, key_of(request, own, tasks, name)) for name in tasks.names)
        missing = tuple(name for name, key in keys if store.is_missing(series.name, checkpoint.step, key))
        work.append(Work(series, checkpoint, own, missing))
    return work


def _record(request: EvaluationRequest, tasks: TaskIdentities, weights: WeightsOf) -> RunRecord:
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


def _evaluate(plan: _Plan) -> None:
    """Do what is missing; plugins hear of it in this process, wherever it was done."""
    request, store = plan.request, plan.store
    for piece in plan.work:
        if piece.weights.not_finite and piece.missing:
            store.keep(not_finite_units(request, piece, plan.tasks.facts, piece.weights.not_finite))
    work = [piece for piece in plan.work if not piece.weights.not_finite]
    todo = [piece for piece in work if piece.missing]
    if not todo:
        return
    tasks, manager = plan.tasks.loaded(), plugin_manager()
    for series in {piece.series.name: piece.series for piece in todo}.values():
        manager.notify("e2lm_before_series_scored", series=series, tasks=tasks.names)
    with progress_bar(len(work), "checkpoints", "evaluating", request.quiet, initial=len(work) - len(todo)) as bar:

        def report(piece: Work) -> None:
            bar.update()
            _tell(plan, piece)

        if request.ray is not None:
            from e2lm_adapters.eval.ray.executor import evaluate_on_ray as way
        else:
            way = evaluate_in_processes if request.jobs > 1 and len(todo) > 1 else evaluate_here
        way(request, tasks, store, todo, report)
    store.remove_leftovers()  # of workers that were killed on the way, or that a killed command had left


def _tell(plan: _Plan, piece: Work) -> None:
    """Let plugins hear of a checkpoint that has been scored."""
    if not plugin_manager().is_heard("e2lm_after_checkpoint_scored"):
        return
    rows = plan.maker.rows(piece.series, piece.checkpoint, plan.units(piece.series, piece.checkpoint))
    if rows:
        plugin_manager().notify(
            "e2lm_after_checkpoint_scored",
            series=piece.series,
            checkpoint=piece.checkpoint,
            scores=Scores.from_rows(rows),
        )


def _left_out(tasks: TaskIdentities, finished: Iterable[tuple[Series, Checkpoint, list[Unit]]]) -> tuple[LeftOut, ...]:
    """Checkpoints that could not be scored, then items of tasks that item metrics cannot use, each thing once."""
    refused: dict[tuple[str, str, str], list[str]] = {}
    items: dict[tuple[str, str], None] = {}
    for series, checkpoint, units in finished:
        for unit in units:
            if unit.not_finite:
                key = (f"{series.name} step {checkpoint.step}", unit.not_finite, checkpoint.location)
                refused.setdefault(key, []).append(unit.task)
            items.update({(unit.task, line): None for line in unit.left_out})
    found = []
    for (what, why, file), names in refused.items():
        groups = [one.name for one in tasks.groups if set(names) & set(one.tasks)]
        shown = [*names[:3], *(["..."] if len(names) > 3 else []), *(f"group {name}" for name in groups)]
        some = "" if len(names) == len(tasks.names) else f", {', '.join(shown)}"
        found.append(LeftOut(what=what + some, why=why, file=file))
    return (*found, *(LeftOut(what=task, why=line) for task, line in items))


def _remarks(finished: Iterable[tuple[Series, Checkpoint, list[Unit]]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is to be known of the way checkpoints were scored, and which checks failed, a line each."""
    remarks: dict[str, None] = {}
    failed: dict[str, None] = {}
    for series, checkpoint, units in finished:
        place = f"{series.name} step {checkpoint.step}"
        for unit in units:
            remarks.update({f"{place}: {line}": None for line in unit.remarks})
            if unit.check_failed:
                failed[f"{place}: verify: {unit.check_failed}"] = None
    return (*remarks, *failed), tuple(failed)


def _built_anew(finished: Iterable[tuple[Series, Checkpoint, list[Unit]]]) -> tuple[Note, ...]:
    """A note for each series and reason for which weights were not swapped into the model of the checkpoint before."""
    steps: dict[tuple[str, str], dict[int, None]] = {}
    for series, checkpoint, units in finished:
        for why in {unit.built_anew: None for unit in units if unit.built_anew}:
            steps.setdefault((series.name, why), {})[checkpoint.step] = None
    return tuple(
        Note(what=f"{name}, {'steps' if len(own) > 1 else 'step'} {shown_steps(list(own))}", why=why)
        for (name, why), own in steps.items()
    )
