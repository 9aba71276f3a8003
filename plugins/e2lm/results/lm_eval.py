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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeGuard

from e2lm.errors import NotFiniteError, UserError
from e2lm.item_metric import ItemMetric
from e2lm.plugin_manager import plugin_manager
from e2lm.results.lm_eval_items import logged_records, logged_samples
from e2lm.results.result import Notes, Reading, TaskResult
from e2lm.results.result_format import ResultFile, ResultFormat
from e2lm.results.subject import NAMED_AND_DATED, PLAIN_READING, Subject, named_subject
from e2lm.samples import Samples
from e2lm.scores import ScoreRow, scored_samples

#: Keys that results of every version have, and hardly another JSON file.
RESULT_KEYS = ("results", "versions")
DATED = "results_"
#: Model arguments that say where the weights are: adapters before the model that they change.
PLACES = ("peft", "delta", "pretrained", "model", "path")
#: Those that say which of the weights there.
INSIDE = ("revision", "subfolder", "gguf_file")
#: Those that change numbers, beside ``dtype``; what only says where or how fast is none of them.
SETTINGS = (
    *("load_in_8bit", "load_in_4bit", "bnb_4bit_quant_type", "quantization", "autogptq", "gptqmodel"),
    *("add_bos_token", "prefix_token_id", "max_length", "max_model_len", "softmax_dtype", "enable_thinking"),
)
DATE = re.compile(r"\d{4}-\d\d-\d\d(T[\d.:-]*\d)?")


def sample_files(results: Path, data: dict[str, Any]) -> dict[str, Path]:
    """The samples that were logged with ``results`` (its contents are ``data``), by task."""
    tasks = [str(task) for task in data.get("configs") or {}]
    match = NAMED_AND_DATED.fullmatch(results.stem)
    if match or results.name.startswith(DATED):
        date = match[1] if match else results.stem.removeprefix(DATED)
        named = {task: results.with_name(f"samples_{task}_{date}.jsonl") for task in tasks}
    else:
        arguments = re.sub("/|=", "__", str(data.get("config", {}).get("model_args", "")))
        named = {task: results.with_name(f"{arguments}_{task}.jsonl") for task in tasks}
    return {task: file for task, file in named.items() if file.is_file()}


def subject_of(data: dict[str, Any], file: Path, root: Path, reading: Reading = PLAIN_READING) -> Subject:
    """What the results in ``file`` (below ``root``) are of, by the model's arguments, else by the names around it."""
    described = data.get("e2lm") or {}
    if "series" in described and "step" in described:
        return Subject(str(described["series"]), int(described["step"]), number_or_nan(described.get("tokens")), "")
    arguments = _model_arguments(data)
    place = next((arguments[name] for name in PLACES if arguments.get(name)), str(data.get("model_name") or ""))
    inside = [arguments[name] for name in INSIDE if arguments.get(name)]
    return named_subject(place, inside, file, root, reading)


def _model_arguments(data: dict[str, Any]) -> dict[str, str]:
    config = data.get("config") or {}
    arguments = config.get("model_args") or {}
    if isinstance(arguments, str):
        arguments = dict(part.partition("=")[::2] for part in arguments.split(","))
    revision = {} if config.get("model_revision") in (None, "", "main") else {"revision": config["model_revision"]}
    found = {str(name): str(value) for name, value in {**revision, **arguments}.items()}
    return {name: value for name, value in found.items() if (name, value) != ("revision", "main")}


def read_lm_eval(file: ResultFile) -> list[TaskResult] | None:
    """One result per task, with item metrics of the samples beside the file."""
    is_dated = file.path.name.startswith(DATED)
    if not is_dated and not file.says(*(f'"{key}"' for key in RESULT_KEYS)):
        return None
    data = file.data
    needed = RESULT_KEYS[:1] if is_dated else RESULT_KEYS
    if isinstance(data, dict) and all(isinstance(data.get(key), dict) for key in needed):
        return lm_eval_results(file.path, data, file.root, file.reading, file.notes)
    if is_dated:
        raise UserError(f"{file.path}: not lm-eval results (no key 'results')")
    return None


def lm_eval_results(file: Path, data: dict[str, Any], root: Path, reading: Reading, notes: Notes) -> list[TaskResult]:
    """What lm-eval's results in ``file`` (``data``) say, one for each task, and item metrics of the samples with them.

    Values of a task whose log-likelihoods are not finite are left out: lm-eval takes NaN for the likeliest choice.
    """
    values_of = reported_values if _has_filters(data["results"]) else unfiltered_values
    subject = subject_of(data, file, root, reading)
    logged = _logged(file, data, subject, notes)
    metrics = plugin_manager().all("e2lm_register_metrics", ItemMetric, "item metric") if logged else []
    model, when = _model_about(data, subject), evaluation_time(file, data)
    found = []
    for name, values in data["results"].items():
        task, own = str(name), logged.get(str(name))
        if (own is not None and own.is_damaged) or not isinstance(values, dict):
            continue
        rows = _rows(_row_like(data, subject, task, own), values_of(values), own, metrics)
        _say_no_number(values, task, file, notes)
        found.append(
            TaskResult(
                tuple(rows),
                task,
                subject.series,
                subject.step,
                file,
                about={**model, **_protocol(data, task)},
                higher_is_better=_told_directions(data, task),
                samples=None if own is None else own.samples,
                when=when,
                has_step=subject.has_step,
                count=subject.count,
                counted_series=subject.counted,
            )
        )
    return found


def _rows(
    like: ScoreRow,
    values: Iterable[tuple[str, float, float]],
    logged: _Logged | None,
    metrics: Sequence[ItemMetric],
) -> list[ScoreRow]:
    rows = [_valued(like, *told) for told in values]
    if logged is not None and logged.samples is not None:
        rows += scored_samples(logged.samples, metrics, like, {row.metric for row in rows})
    return rows


def _row_like(data: dict[str, Any], subject: Subject, task: str, logged: _Logged | None) -> ScoreRow:
    """A row without metric and value."""
    described, config = data.get("e2lm") or {}, data.get("config") or {}
    counted = (data.get("n-samples") or {}).get(task) or {}
    return ScoreRow(
        series=subject.series,
        step=subject.step,
        task=task,
        metric="",
        value=math.nan,
        params=float(described.get("params") or config.get("model_num_parameters") or math.nan),
        tokens=subject.tokens,
        flops=number_or_nan(described.get("flops")),
        # Before 0.4.3 only the samples tell how many there were.
        n=int(counted.get("effective") or (0 if logged is None else logged.count)),
    )


def _say_no_number(values: Mapping[str, Any], task: str, file: Path, notes: Notes) -> None:
    """Metrics whose value is a list or a text are no Scores."""
    for key, value in values.items():
        metric = str(key).partition(",")[0]
        if "," in str(key) and not metric.endswith("_stderr") and not _is_number(value):
            notes.count(f"{task}: {metric} is no number ({str(value)[:20]!r}); left out")
            notes.leave_out(f"{task} {metric}", "no number", file)


def _told_directions(data: dict[str, Any], task: str) -> dict[str, bool]:
    told = (data.get("higher_is_better") or {}).get(task) or {}
    return {str(metric): value for metric, value in told.items() if isinstance(value, bool)}


def evaluation_time(file: Path, data: dict[str, Any]) -> str:
    """When it was evaluated, as text that sorts: by the date in the name, else in the file."""
    if (dated := DATE.search(file.name)) is not None:
        return dated[0]
    date = data.get("date")
    return datetime.fromtimestamp(date, tz=UTC).isoformat() if isinstance(date, int | float) else ""


def _model_about(data: dict[str, Any], subject: Subject) -> dict[str, str]:
    """What is known of the model and of how it was run."""
    config, arguments = data.get("config") or {}, _model_arguments(data)
    base = arguments.get("pretrained", "") if arguments.get("peft") or arguments.get("delta") else ""
    dtype = str(config.get("model_dtype") or arguments.get("dtype") or "").removeprefix("torch.")
    settings = ",".join(f"{name}={arguments[name]}" for name in SETTINGS if name in arguments)
    told = {
        "model": "+".join(filter(None, [subject.model, base])),
        "revision": subject.revision,
        "dtype": dtype,
        "settings": settings,
        "backend": str(config.get("model") or ""),
        "harness": "lm-eval",
        "harness_version": str(data.get("lm_eval_version") or ""),
    }
    if arguments:  # what they do not say is lm-eval's default, which differs from what they may say elsewhere
        defaults = {"revision": "none", "dtype": "auto", "settings": "none"}
        told = {name: value or defaults.get(name, "") for name, value in told.items()}
    return {name: value for name, value in told.items() if value}


def _protocol(data: dict[str, Any], task: str) -> dict[str, str]:
    """What is known of how ``task`` was evaluated; of a group, what all its tasks share."""
    members = [one for one in (data.get("group_subtasks") or {}).get(task) or () if one != task]
    if members and task not in (data.get("configs") or {}):
        first, *others = [_protocol(data, str(one)) for one in members]
        return {name: value for name, value in first.items() if all(one.get(name) == value for one in others)}
    config, own = data.get("config") or {}, (data.get("configs") or {}).get(task) or {}
    shots = next(
        (one[task] for one in (data.get("n-shot") or {},) if task in one),
        own["num_fewshot"] if own.get("num_fewshot") is not None else config.get("num_fewshot"),
    )
    told = {"shots": _text(shots), "version": _text((data.get("versions") or {}).get(task))}
    told["hash"] = _text((data.get("task_hashes") or {}).get(task))[:12]
    return {name: value for name, value in {**told, **_items(data, task), **_prompting(data)}.items() if value}


def _items(data: dict[str, Any], task: str) -> dict[str, str]:
    """How many items there are, and the limit, where one took effect."""
    counted, limit = (data.get("n-samples") or {}).get(task) or {}, (data.get("config") or {}).get("limit", "unknown")
    if counted.get("original") and counted.get("effective"):
        cut = counted["effective"] < counted["original"]
        return {"items": _text(counted["original"]), "limit": _text(counted["effective"]) if cut else "none"}
    return {} if limit == "unknown" else {"limit": "none" if limit is None else _text(limit)}


def _prompting(data: dict[str, Any]) -> dict[str, str]:
    """Chat template, system prompt and arguments of generation; ``none`` where the file says that there are none."""
    told = {}
    if "chat_template" in data:
        turns = " as several turns" if data.get("fewshot_as_multiturn") and data["chat_template"] else ""
        told["chat_template"] = _short_hash(data["chat_template"]) + turns
    if "system_instruction" in data:
        told["system_prompt"] = _short_hash(data["system_instruction"])
    if "gen_kwargs" in (data.get("config") or {}):
        told["gen_kwargs"] = _text(data["config"]["gen_kwargs"]) or "none"
    return told


def _short_hash(text: object) -> str:
    return sha256(str(text).encode()).hexdigest()[:8] if text else "none"


def _text(value: object) -> str:
    """``1`` and ``1.0`` are one version.

    >>> _text(1.0), _text(5), _text(None), _text("Yaml")
    ('1', '5', '', 'Yaml')
    """
    if value is None or value == "":
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def reported_values(values: Mapping[str, Any]) -> Iterator[tuple[str, float, float]]:
    """Name, value and standard error (NaN for none) of every metric in lm-eval's results of one task.

    A filter is part of the name, unless it is lm-eval's ``none``.

    >>> list(reported_values({"alias": "arc", "acc,none": 0.5, "acc_stderr,none": 0.1, "exact,strict": 1}))
    [('acc', 0.5, 0.1), ('exact,strict', 1.0, nan)]
    """
    for key, value in values.items():
        metric, comma, filter_name = str(key).partition(",")
        if not comma or metric.endswith("_stderr") or not _is_number(value):
            continue
        stderr = number_or_nan(values.get(f"{metric}_stderr,{filter_name}"))
        yield metric if filter_name == "none" else f"{metric},{filter_name}", float(value), stderr


def _has_filters(results: Mapping[str, Any]) -> bool:
    """Whether names of metrics have a filter behind a comma, as from 0.4.0 on."""
    return any("," in str(key) for values in results.values() if isinstance(values, dict) for key in values)


def unfiltered_values(values: Mapping[str, Any]) -> Iterator[tuple[str, float, float]]:
    """As :func:`reported_values`, of harnesses that have no filters: lm-eval 0.2 and 0.3, lighteval, OLMES.

    >>> list(unfiltered_values({"acc": 0.5, "acc_stderr": 0.1, "alias": "arc"}))
    [('acc', 0.5, 0.1)]
    """
    for key, value in values.items():
        if not str(key).endswith("_stderr") and _is_number(value) and key not in ("sample_len", "samples"):
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


def _logged(file: Path, data: dict[str, Any], subject: Subject, notes: Notes) -> dict[str, _Logged]:
    """By task; a file that cannot be read costs itself."""
    found = {}
    for task, samples in sample_files(file, data).items():
        try:
            records = logged_records(samples)
            read = logged_samples(samples, records, task, data["configs"][task], subject.series, subject.step)
        except NotFiniteError as error:
            notes.say(f"{samples}: {error}; the scores of {task} there are left out")
            notes.leave_out(f"scores of {task}", str(error), samples)
            found[task] = _Logged(None, 0, is_damaged=True)
        except UserError as error:
            notes.say(f"{error}; no item metrics of {task}")
            notes.leave_out(f"item metrics of {task}", str(error), samples)
        else:
            found[task] = _Logged(read.samples, len(records))
            for line in read.left_out:
                notes.count(f"{task}: {line}")
                notes.leave_out(f"items of {task}", line, samples)
    return found


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def number_or_nan(value: object) -> float:
    """``value``, or NaN for what is no number."""
    return float(value) if _is_number(value) else math.nan


LM_EVAL = ResultFormat(
    "lm-eval",
    "Results of lm-eval 0.2 and later, and item metrics of what it logged with --log_samples.",
    read_lm_eval,
    own=(f"{DATED}*.json", "results.json", "*_eval_results_*.json"),
)
