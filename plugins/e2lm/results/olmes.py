"""Results of OLMES (oe-eval): a file per task, ``task-000-arc_easy-metrics.json``, or all in ``metrics-all.jsonl``.

Fields as allenai/olmes writes them (``oe_eval/run_eval.py``): ``task_name``, ``task_hash``, ``model_config`` with
``model``, ``revision`` and ``model_path``, ``task_config`` with ``num_shots``, ``limit``, ``split`` and
``metadata.alias``, ``num_instances`` and ``metrics``. ``metrics-all.jsonl`` repeats the files of tasks, so it is read
only where it says something else or none lies beside it.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from e2lm.errors import UserError, one_line
from e2lm.results.lm_eval import plain_rows, say_no_number
from e2lm.results.result import TaskResult
from e2lm.results.result_format import ResultFile, ResultFormat
from e2lm.results.subject import hub_subject
from e2lm.scores import ScoreRow

ALL, ONE = "metrics-all.jsonl", "task-*-metrics.json"
_KEYS = ("task_name", "metrics", "model_config")


def read_olmes(file: ResultFile) -> list[TaskResult] | None:
    """One result per task in the file."""
    if file.path.suffix == ".jsonl":
        if not file.says(*(f'"{key}"' for key in _KEYS)):
            return None
        lines = _lines(file)
        tasks = [one for one in lines if isinstance(one, dict) and all(key in one for key in _KEYS)]
        if len(tasks) < len(lines):
            file.notes.say(f"{file.path}: {len(lines) - len(tasks)} lines have no {', '.join(_KEYS)}; left out")
            file.notes.leave_out(f"{len(lines) - len(tasks)} lines", f"no {', '.join(_KEYS)}", file.path)
        beside = [] if file.alone else _files_of_tasks(file.path.parent)
        return [_task_result(one, file) for one in tasks if not any(_tells_same(one, other) for other in beside)]
    if file.has_keys(*_KEYS):
        return [_task_result(file.data, file)]
    return None


def _files_of_tasks(folder: Path) -> list[Any]:
    found = []
    for path in sorted(folder.glob(ONE)):
        try:
            found.append(json.loads(path.read_bytes()))
        except (ValueError, OSError, RecursionError):  # said where it is read itself
            continue
    return found


def _tells_same(one: dict[str, Any], other: Any) -> bool:
    return isinstance(other, dict) and all(one[key] == other.get(key) for key in (*_KEYS, "task_config") if key in one)


def _lines(file: ResultFile) -> list[Any]:
    try:
        return [json.loads(line) for line in file.content.decode().split("\n") if line.strip()]
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file.path}: a line is no JSON ({one_line(error)})") from error


def _task_result(data: dict[str, Any], file: ResultFile) -> TaskResult:
    model, config = data["model_config"] or {}, data.get("task_config") or {}
    place = str(model.get("model_path") or model.get("model") or "")
    subject = hub_subject(place, model.get("revision"), file)
    task = str((config.get("metadata") or {}).get("alias") or data["task_name"])
    count = data.get("num_instances")
    like = ScoreRow(
        subject.series,
        subject.step,
        task,
        "",
        math.nan,
        tokens=subject.tokens,
        n=count if isinstance(count, int) else 0,
    )
    about = {
        "model": subject.model,
        "revision": subject.revision or "none",
        "dtype": str(model.get("dtype") or ""),
        "shots": "" if config.get("num_shots") is None else str(config["num_shots"]),
        "limit": ("none" if config["limit"] is None else str(config["limit"])) if "limit" in config else "",
        "items": str(count or ""),
        "split": str(config.get("split") or ""),
        "hash": str(data.get("task_hash") or "")[:12],
        "harness": "olmes",
    }
    say_no_number(data["metrics"] or {}, task, file)
    return TaskResult(
        tuple(plain_rows(data["metrics"] or {}, like)),
        task,
        subject.series,
        subject.step,
        file.path,
        about={key: value for key, value in about.items() if value},
        when=str(data.get("current_date") or ""),
        has_step=subject.has_step,
        count=subject.count,
        counted_series=subject.counted,
    )


OLMES = ResultFormat(
    "olmes", "Metrics of OLMES (oe-eval).", read_olmes, patterns=("*metrics*.json", "*.jsonl"), own=(ONE, ALL)
)
