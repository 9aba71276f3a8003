"""The losses in a ``trainer_state.json`` of transformers' Trainer: ``log_history``, one entry per logging step.

Every number but what only tells speed or place is a metric of the task ``train`` or ``eval`` (entries with
``eval_loss`` and its like). The trainer writes the whole history into each checkpoint, so of one run the newest file
tells all; tokens are there from ``num_input_tokens_seen`` on, where that is logged.
"""

from __future__ import annotations

import math
from typing import Any

from e2lm.results.lm_eval import number_or_nan
from e2lm.results.result import TaskResult
from e2lm.results.result_format import ResultFile, ResultFormat
from e2lm.results.subject import named_subject
from e2lm.scores import ScoreRow
from e2lm.step_name import step_of

#: What counts or measures speed.
_NO_METRIC = frozenset({"step", "epoch", "learning_rate", "num_input_tokens_seen", "total_flos", "num_tokens"})
_SPEED = ("_runtime", "_per_second")


def read_trainer_state(file: ResultFile) -> list[TaskResult] | None:
    """One result per logged step."""
    if not file.has_keys("log_history", "global_step"):
        return None
    history = file.data.get("log_history")
    if not isinstance(history, list):
        return None
    if (newer := _newer_of_run(file)) is not None:
        file.notes.count(f"{newer.parent}: the newest trainer_state.json of a run tells its whole history")
        return []
    subject = named_subject(str(file.path.parent.resolve()), [], file.path, file.root, file.reading)
    results = []
    for number, entry in enumerate(history):
        step = _whole(entry.get("step")) if isinstance(entry, dict) else None
        if step is None:
            file.notes.count(f"{file.path}: an entry of log_history has no step; left out")
            file.notes.leave_out(f"entry {number} of log_history", "no step", file.path)
            continue
        for task in ("eval", "train"):
            rows = _rows(entry, task, subject.series, step)
            if rows:
                about = {"model": subject.model, "harness": "transformers"}
                results.append(TaskResult(tuple(rows), task, subject.series, step, file.path, about=about))
    return results


def _whole(step: object) -> int | None:
    if isinstance(step, float) and step.is_integer():
        return int(step)
    return step if isinstance(step, int) else None


def _rows(entry: dict[str, Any], task: str, series: str, step: int) -> list[ScoreRow]:
    rows = []
    tokens = number_or_nan(entry.get("num_input_tokens_seen"))
    for name, told in entry.items():
        value = number_or_nan(told)
        is_eval = name.startswith("eval_")
        if (
            (math.isnan(value) and not isinstance(told, float))
            or name in _NO_METRIC
            or name.endswith(_SPEED)
            or is_eval != (task == "eval")
        ):
            continue
        rows.append(ScoreRow(series, step, task, name.removeprefix("eval_"), value, tokens=tokens))
    return rows


def _newer_of_run(file: ResultFile) -> Any:
    """The state of a later checkpoint of the same run, below the same root."""
    own = file.data.get("global_step")
    run = file.path.parent.parent
    if not isinstance(own, int) or file.alone or not file.path.parent.name.startswith("checkpoint-"):
        return None
    named = ((step_of(other.parent.name), other) for other in run.glob("checkpoint-*/trainer_state.json"))
    steps = {name.step: other for name, other in named if name is not None}
    return steps[max(steps)] if steps and max(steps) > own else None


TRAINER_STATE = ResultFormat(
    "trainer-state",
    "The log history of transformers' Trainer.",
    read_trainer_state,
    patterns=(),
    own=("trainer_state.json",),
)
