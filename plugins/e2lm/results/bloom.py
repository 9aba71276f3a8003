"""Evaluations of BLOOM: ``MODEL/bslmevalfiles/RUN_lm-eval_global_step340500_DATE.json`` and ``MODEL/bslmeval.json``.

Fields as in bigscience-workshop/bigscience, ``evaluation/results/tr11``: those of their fork of lm-eval have a list
``results`` with ``task_name``, ``prompt_name`` and one metric each; those of lm-eval 0.2 an object by task.
``bslmeval.json`` has both by date, and no step; it repeats the files, so it is read only where none lies beside it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from e2lm.results.lm_eval import NUMBERS, plain_rows, say_no_number
from e2lm.results.result import TaskResult
from e2lm.results.result_format import ResultFile, ResultFormat
from e2lm.scores import ScoreRow
from e2lm.step_name import step_of

ALL, ONE, FOLDER = "bslmeval.json", "*_lm-eval_global_step*.json", "bslmevalfiles"
_NAME = re.compile(r"(?P<run>.+?)_lm-eval_(?P<named>global_[a-z]+\d+)_?(?P<date>[0-9-]*)")


def read_bloom(file: ResultFile) -> list[TaskResult] | None:
    """One result for each task and prompt, and of ``bslmeval.json`` for each date."""
    match = _NAME.fullmatch(file.path.stem)
    named = None if match is None else step_of(match["named"])
    if (named is None and file.path.name != ALL) or not file.has_keys("results"):
        return None
    folder = file.path.parent
    if match is None or named is None:
        dated = list(_dated(file.data["results"]))
        if not file.alone and any(True for _ in folder.glob(f"{FOLDER}/{ONE}")):
            file.notes.say(f"{file.path}: tells no steps; the files in {FOLDER} do, and are read in its place")
            file.notes.leave_out(f"{len(dated)} entries", f"without steps, as the files in {FOLDER} have", file.path)
            return []
        return [_result(file, folder.name, 0, date, one) for date, one in dated]
    series = folder.parent.name if folder.name == FOLDER else match["run"]
    return [_result(file, series, named.step, match["date"], one) for one in _entries(file.data["results"])]


def _entries(results: Any) -> Iterator[Mapping[str, Any]]:
    """The values of each task and prompt, under ``task_name`` and ``prompt_name``."""
    if isinstance(results, Mapping):
        yield from ({"task_name": task, **values} for task, values in results.items() if isinstance(values, Mapping))
        return
    by_prompt: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in results if isinstance(results, list) else ():
        if isinstance(one, Mapping) and one.get("task_name"):
            place = (str(one["task_name"]), str(one.get("prompt_name") or ""))
            parts = by_prompt.setdefault(place, [{}])
            if _says_otherwise(parts[-1], one):  # once more, which whoever collects results has to tell
                parts.append({})
            parts[-1].update(one)
    for parts in by_prompt.values():
        yield from parts


def _says_otherwise(there: Mapping[str, Any], one: Mapping[str, Any]) -> bool:
    """Whether ``one`` has another number under a key that is ``there``."""
    return any(isinstance(value, NUMBERS) and there.get(key, value) != value for key, value in one.items())


def _dated(results: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, dates in results.items() if isinstance(results, Mapping) else ():
        task = str(name).partition("+")[0]
        for date, values in dates.items() if isinstance(dates, Mapping) else ():
            if isinstance(values, Mapping):
                yield str(date), {"task_name": task, **values}


def _result(file: ResultFile, series: str, step: int, date: str, values: Mapping[str, Any]) -> TaskResult:
    task, prompt = str(values["task_name"]), str(values.get("prompt_name") or "none")
    about = {
        "model": series,
        "harness": "lm-eval (bigscience)" if "prompt_name" in values else "lm-eval",
        "prompt": prompt,
    }
    say_no_number(values, task, file)
    rows = plain_rows(values, ScoreRow(series, step, task, "", math.nan))
    has_step = file.path.name != ALL
    return TaskResult(tuple(rows), task, series, step, file.path, about=about, when=date, has_step=has_step)


BLOOM = ResultFormat(
    "bloom", "Evaluations of BLOOM, of lm-eval and of BigScience's fork.", read_bloom, patterns=(), own=(ONE, ALL)
)
