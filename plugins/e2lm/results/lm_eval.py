"""What lm-eval 0.2 and later leave on disk: which files are results, of what, and which samples belong to them.

========================  =============================  ==============================================
lm-eval                   results                        samples
========================  =============================  ==============================================
0.2, 0.3                  any ``FILE.json``; metrics     none; EleutherAI/pythia's ``evals``, GPT-NeoX
                          without a filter               ``*_eval_results_<date>.json`` are such
0.4.0 to 0.4.2            ``DIR/results.json``, or any   ``DIR/<model_args>_<task>.jsonl``, which is one
                          ``FILE.json`` that was asked   JSON list; numbers are numbers, ``arguments``
                          for                            a list
0.4.3 to 0.4.13, main     ``DIR/<model>/results_<date>   ``samples_<task>_<date>.jsonl`` beside it, one
                          .json``, or ``NAME_<date>      object per line; numbers are strings,
                          .json``                        ``arguments`` an object
========================  =============================  ==============================================
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeGuard

from e2lm.errors import NotFiniteError, UserError
from e2lm.item_metric import ItemMetric
from e2lm.plugin_manager import plugin_manager
from e2lm.results.lm_eval_about import ModelArguments, about_task, model_arguments, model_facts
from e2lm.results.lm_eval_items import logged_records, logged_samples
from e2lm.results.result import Reading, TaskResult
from e2lm.results.result_format import ResultFile, ResultFormat
from e2lm.results.subject import NAMED_AND_DATED, PLAIN_READING, Subject, named_subject
from e2lm.samples import Samples
from e2lm.scores import ScoreRow, scored_samples

#: Keys that results of every version have, and hardly another JSON file.
RESULT_KEYS = ("results", "versions")
DATED = "results_"
NUMBERS = (int, float)
_COMMA = re.compile(",").search
#: What counts items, in the place of metrics.
_COUNTS = ("sample_len", "samples")
_NUMBER_TEXT = re.compile(r"[-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?|nan|inf", re.IGNORECASE)
DATE = re.compile(r"\d{4}-\d\d-\d\d(T[\d.:-]*\d)?")


def sample_files(results: Path, data: dict[str, Any], beside: Collection[str] | None = None) -> dict[str, Path]:
    """The samples that were logged with ``results`` (its contents are ``data``), by task; ``beside`` names files there.

    Without ``beside`` the folder is asked.
    """
    if beside is not None and not beside:
        return {}
    tasks = [str(task) for task in data.get("configs") or {}]
    match = NAMED_AND_DATED.fullmatch(results.stem)
    if match or results.name.startswith(DATED):
        date = match[1] if match else results.stem.removeprefix(DATED)
        named = {task: f"samples_{task}_{date}.jsonl" for task in tasks}
    else:
        arguments = re.sub("/|=", "__", str(data.get("config", {}).get("model_args", "")))
        named = {task: f"{arguments}_{task}.jsonl" for task in tasks}
    files = {task: results.with_name(name) for task, name in named.items() if beside is None or name in beside}
    return {task: file for task, file in files.items() if file.is_file()}


def subject_of(data: dict[str, Any], file: Path, root: Path, reading: Reading = PLAIN_READING) -> Subject:
    """What the results in ``file`` (below ``root``) are of, by the model's arguments, else by the names around it."""
    return _subject_by(model_arguments(data), data, file, root, reading)


def _subject_by(
    arguments: ModelArguments, data: Mapping[str, Any], file: Path, root: Path, reading: Reading
) -> Subject:
    described = data.get("e2lm")
    if described and "series" in described and "step" in described:
        return Subject(str(described["series"]), int(described["step"]), number_or_nan(described.get("tokens")), "")
    return named_subject(arguments.place or str(data.get("model_name") or ""), arguments.inside, file, root, reading)


def read_lm_eval(file: ResultFile) -> list[TaskResult] | None:
    """One result per task, with item metrics of the samples beside the file."""
    is_dated = file.path.name.startswith(DATED)
    if not is_dated and not file.says(*(f'"{key}"' for key in RESULT_KEYS)):
        return None
    data = file.data
    is_told = isinstance(data, dict) and isinstance(data.get("results"), dict)
    if is_told and (is_dated or isinstance(data.get("versions"), dict)):
        return _results(file, data)
    if is_dated:
        raise UserError(f"{file.path}: not lm-eval results (no key 'results')")
    return None


def _results(file: ResultFile, data: dict[str, Any]) -> list[TaskResult]:
    """What ``data``, which is in ``file``, says: one result for each task, with item metrics of the samples beside it.

    Values of a task whose log-likelihoods are not finite are left out: lm-eval takes NaN for the likeliest choice.
    """
    values_of = reported_values if _has_filters(data["results"]) else unfiltered_values
    arguments = model_arguments(data)
    subject = _subject_by(arguments, data, file.path, file.root, file.reading)
    logged = _logged(file, data, subject)
    metrics = plugin_manager().all("e2lm_register_metrics", ItemMetric, "item metric") if logged else []
    model, when = model_facts(data, arguments, subject), evaluation_time(file.path, data)
    cost = _cost(data, subject)
    counts = data.get("n-samples") or {}
    found = []
    for name, values in data["results"].items():
        task, own = str(name), logged.get(str(name))
        if not isinstance(values, dict):
            say_no_values(values, task, file)
        if (own is not None and own.is_damaged) or not isinstance(values, dict):
            continue
        # Before 0.4.3 only the samples tell how many there were.
        n = int((counts.get(task) or {}).get("effective") or (0 if own is None else own.count))
        place = (subject.series, subject.step, task)
        rows = [ScoreRow(*place, metric, value, *cost, stderr, n) for metric, value, stderr in values_of(values)]
        if own is not None and own.samples is not None:
            like = ScoreRow(*place, "", math.nan, *cost, n=n)
            rows += scored_samples(own.samples, metrics, like, {row.metric for row in rows})
        say_no_number(values, task, file, has_filters=values_of is reported_values)
        found.append(
            TaskResult(
                tuple(rows),
                task,
                subject.series,
                subject.step,
                file.path,
                about=about_task(model, data, task),
                higher_is_better=_told_directions(data, task),
                samples=None if own is None else own.samples,
                when=when,
                has_step=subject.has_step,
                count=subject.count,
                counted_series=subject.counted,
            )
        )
    return found


def _cost(data: Mapping[str, Any], subject: Subject) -> tuple[float, float, float]:
    """Parameters, tokens and FLOPs."""
    described = data.get("e2lm") or {}
    params = described.get("params") or (data.get("config") or {}).get("model_num_parameters")
    return float(params or math.nan), subject.tokens, number_or_nan(described.get("flops"))


def say_no_number(values: Mapping[str, Any], task: str, file: ResultFile, has_filters: bool = False) -> None:
    """Say which metrics of ``task`` are no Scores: lists, texts, and without a filter where others have one."""
    for key, value in values.items():
        if has_filters and "," not in key:
            if _is_number(value) and key not in _COUNTS:
                _leave_out_metric(key, f"has no filter, as others have ({value:g})", task, file)
        elif not _is_number(value) and (_named_metric(key) if has_filters else _may_be_value(key, value)):
            _leave_out_metric(key.partition(",")[0], f"is no number ({str(value)[:20]!r})", task, file)


def _leave_out_metric(metric: str, why: str, task: str, file: ResultFile) -> None:
    file.notes.count(f"{task}: {metric} {why}; left out")
    file.notes.leave_out(f"{task} {metric}", why, file.path)


def say_no_values(told: object, task: str, file: ResultFile) -> None:
    """Say that what ``file`` has of ``task`` is no object of metrics."""
    file.notes.count(f"{task}: no object of metrics ({str(told)[:20]!r}); left out")
    file.notes.leave_out(task, "no object of metrics", file.path)


def _may_be_value(key: str, value: object) -> bool:
    """Whether what is no number may have been measured: no name or text, and no null."""
    if isinstance(value, str):
        return _NUMBER_TEXT.fullmatch(value) is not None and not key.endswith("_stderr")
    return value is not None and not key.endswith("_stderr") and value not in ([], {})


def _told_directions(data: dict[str, Any], task: str) -> dict[str, bool]:
    told = (data.get("higher_is_better") or {}).get(task) or {}
    return {str(metric): value for metric, value in told.items() if isinstance(value, bool)}


def evaluation_time(file: Path, data: dict[str, Any]) -> str:
    """When it was evaluated, as text that sorts: by the date in the name, else in the file."""
    if (dated := DATE.match(file.name, len(DATED)) or DATE.search(file.name)) is not None:
        return dated[0]
    date = data.get("date")
    return datetime.fromtimestamp(date, tz=UTC).isoformat() if isinstance(date, int | float) else ""


def reported_values(values: Mapping[str, Any]) -> Iterator[tuple[str, float, float]]:
    """Name, value and standard error (NaN for none) of every metric in lm-eval's results of one task.

    A filter is part of the name, unless it is lm-eval's ``none``.

    >>> list(reported_values({"alias": "arc", "acc,none": 0.5, "acc_stderr,none": 0.1, "exact,strict": 1}))
    [('acc', 0.5, 0.1), ('exact,strict', 1.0, nan)]
    """
    for key, value in values.items():
        if (named := _named_metric(str(key))) is not None and _is_number(value):
            yield named[0], float(value), number_or_nan(values.get(named[1]))


@lru_cache(4096)
def _named_metric(key: str) -> tuple[str, str] | None:
    """The metric that has its values under ``key``, and the key of their standard errors; None for no metric."""
    metric, comma, filter_name = key.partition(",")
    if not comma or metric.endswith("_stderr"):
        return None
    return metric if filter_name == "none" else key, f"{metric}_stderr,{filter_name}"


def _has_filters(results: Mapping[str, Any]) -> bool:
    """Whether names of metrics have a filter behind a comma, as from 0.4.0 on."""
    return any(map(_has_filter, results.values()))


def _has_filter(values: object) -> bool:
    return isinstance(values, dict) and any(map(_COMMA, values))


def unfiltered_values(values: Mapping[str, Any]) -> Iterator[tuple[str, float, float]]:
    """As :func:`reported_values`, of harnesses that have no filters: lm-eval 0.2 and 0.3, lighteval, OLMES.

    >>> list(unfiltered_values({"acc": 0.5, "acc_stderr": 0.1, "alias": "arc"}))
    [('acc', 0.5, 0.1)]
    """
    for key, value in values.items():
        if not str(key).endswith("_stderr") and _is_number(value) and key not in _COUNTS:
            yield str(key), float(value), number_or_nan(values.get(f"{key}_stderr"))


def plain_rows(values: Mapping[str, Any], like: ScoreRow) -> list[ScoreRow]:
    """A row for each of :func:`unfiltered_values`, the rest as in ``like``."""
    return [_valued(like, *told) for told in unfiltered_values(values)]


def _valued(like: ScoreRow, metric: str, value: float, stderr: float) -> ScoreRow:
    """``like`` with a value; ``replace`` takes five times as long."""
    where, cost = (like.series, like.step, like.task), (like.params, like.tokens, like.flops)
    return ScoreRow(*where, metric, value, *cost, stderr, like.n, like.chance, like.params_active, like.key)


def item_count(values: Mapping[str, Any]) -> int:
    """How many items, where the values of a task say so; else 0."""
    count = values.get("sample_len") or values.get("samples")
    return count if isinstance(count, int) else 0


@dataclass(frozen=True, slots=True)
class _Logged:
    """What was logged of the items of one task."""

    samples: Samples | None
    count: int
    is_damaged: bool = False


def _logged(file: ResultFile, data: dict[str, Any], subject: Subject) -> dict[str, _Logged]:
    """By task; a file that cannot be read costs itself."""
    found = {}
    for task, samples in sample_files(file.path, data, file.beside).items():
        try:
            records = logged_records(samples)
            read = logged_samples(samples, records, task, data["configs"][task], subject.series, subject.step)
        except NotFiniteError as error:
            file.notes.say(f"{samples}: {error}; the scores of {task} there are left out")
            file.notes.leave_out(f"scores of {task}", str(error), samples)
            found[task] = _Logged(None, 0, is_damaged=True)
        except UserError as error:
            file.notes.say(f"{error}; no item metrics of {task}")
            file.notes.leave_out(f"item metrics of {task}", str(error), samples)
        else:
            found[task] = _Logged(read.samples, len(records))
            for line in read.left_out:
                file.notes.count(f"{task}: {line}")
                file.notes.leave_out(f"items of {task}", line, samples)
    return found


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, NUMBERS) and not isinstance(value, bool)


def number_or_nan(value: object) -> float:
    """``value``, or NaN for what is no number."""
    return float(value) if _is_number(value) else math.nan


LM_EVAL = ResultFormat(
    "lm-eval",
    "Results of lm-eval 0.2 and later, and item metrics of what it logged with --log_samples.",
    read_lm_eval,
    own=(f"{DATED}*.json", "results.json", "*_eval_results_*.json"),
)
