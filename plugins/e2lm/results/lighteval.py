"""Results of lighteval and of the first Open LLM Leaderboard: tasks named ``suite|task|shots``, metrics without filter.

``config_general`` tells the model (``model_name``, ``model_sha``, ``model_dtype``, ``max_samples``, later
``model_config``), as lighteval's ``logging/info_loggers.py`` (``GeneralConfigLogger``) and
``logging/evaluation_tracker.py`` write it; ``results`` has a row ``all`` with means over tasks. The leaderboard's
``open-llm-leaderboard-old/results`` has the same form.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from e2lm.results.lm_eval import evaluation_time, item_count, plain_rows, say_no_number, say_no_values
from e2lm.results.result import TaskResult
from e2lm.results.result_format import ResultFile, ResultFormat
from e2lm.results.subject import hub_subject
from e2lm.scores import ScoreRow

#: ``leaderboard|arc:challenge|25``, with a truncation flag behind it before 0.9, without the suite after it.
_TASK = re.compile(r"(?:(?P<suite>[^|]+)\|)?(?P<task>[^|]+)\|(?P<shots>\d+)(?:\|\d+)?")


def read_lighteval(file: ResultFile) -> list[TaskResult] | None:
    """One result per task."""
    if not file.has_keys("config_general", "results"):
        return None
    general, results = file.data.get("config_general"), file.data.get("results")
    if not isinstance(general, dict) or not isinstance(results, dict):
        return None
    model = general.get("model_config") or general.get("config") or {}
    model = model if isinstance(model, dict) else {}
    place = str(model.get("model_name") or model.get("pretrained") or general.get("model_name") or "")
    subject = hub_subject(place, model.get("revision"), file)
    about = {
        "model": subject.model,
        "revision": subject.revision or "none",
        "dtype": str(general.get("model_dtype") or model.get("dtype") or "").removeprefix("torch."),
        "harness": "lighteval",
        "harness_version": str(general.get("lighteval_sha") or "").strip("?")[:8],
        "limit": str(general.get("max_samples") or "none"),
    }
    found = []
    for name, values in results.items():
        if not isinstance(values, dict):
            say_no_values(values, str(name), file)
            continue
        say_no_number(values, str(name), file)
        match = _TASK.fullmatch(str(name))
        task = match["task"] if match else str(name)
        like = ScoreRow(subject.series, subject.step, task, "", math.nan, tokens=subject.tokens, n=item_count(values))
        protocol = {
            "shots": match["shots"] if match else "",
            "suite": (match["suite"] or "") if match else "",
            "version": str((file.data.get("versions") or {}).get(name, "")),
        }
        found.append(
            TaskResult(
                tuple(plain_rows(values, like)),
                task,
                subject.series,
                subject.step,
                file.path,
                about={key: value for key, value in {**about, **protocol}.items() if value},
                higher_is_better=_directions((file.data.get("config_tasks") or {}).get(name) or {}),
                when=evaluation_time(file.path, {}),
                has_step=subject.has_step,
                count=subject.count,
                counted_series=subject.counted,
            )
        )
    return found


def _directions(config: Mapping[str, Any]) -> dict[str, bool]:
    """``higher_is_better`` of a task's metrics: a truth value, or one per part of a metric that has several."""
    told: dict[str, bool] = {}
    for metric in config.get("metric") or config.get("metrics") or ():
        way = metric.get("higher_is_better") if isinstance(metric, dict) else None
        if isinstance(way, bool):
            told[str(metric.get("metric_name"))] = way
        elif isinstance(way, dict):
            told |= {str(name): one for name, one in way.items() if isinstance(one, bool)}
    return told


LIGHTEVAL = ResultFormat(
    "lighteval", "Results of lighteval and of the first Open LLM Leaderboard.", read_lighteval, own=("results_*.json",)
)
