"""What lm-eval 0.4.0 and later leave on disk: which files are results, of what, and which samples belong to them.

========================  =============================  ==============================================
lm-eval                   results                        samples
========================  =============================  ==============================================
0.4.0 to 0.4.2            ``DIR/results.json``, or any   ``DIR/<model_args>_<task>.jsonl``, which is one
                          ``FILE.json`` that was asked   JSON list; numbers are numbers, ``arguments``
                          for                            a list
0.4.3 to 0.4.13, main     ``DIR/<model>/results_<date>   ``samples_<task>_<date>.jsonl`` beside it, one
                          .json``, or ``NAME_<date>      object per line; numbers are strings,
                          .json``                        ``arguments`` an object
========================  =============================  ==============================================
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from e2lm.atomic_file import is_partial
from e2lm.errors import UserError
from e2lm.interval import mean_stderr
from e2lm.item_metric import ItemMetric
from e2lm.plugin_manager import plugin_manager
from e2lm.results.lm_eval_items import logged_items, samples_in
from e2lm.results.tables import loaded_json
from e2lm.samples import Samples
from e2lm.scores import ScoreRow

#: Keys that results of every version have, and hardly another JSON file.
RESULT_KEYS = ("results", "configs", "versions")
DATED = "results_"
#: ``--output_path NAME.json`` gives ``NAME_<date>.json`` from 0.4.9 on.
NAMED_AND_DATED = re.compile(r".*_(\d{4}-\d\d-\d\dT[\d.-]+)")
#: ``checkpoint-500``, ``iter_0002000``, ``step1000``, ``stage1-step5000-tokens3B``: which step a path or name means.
STEP_IN_NAME = re.compile(r"(?:checkpoint|iter|step)[-_]?0*(\d+)", re.IGNORECASE)


def result_files(root: Path) -> list[Path]:
    """lm-eval's results below ``root``, those of one folder in order of date."""
    there = [file for file in sorted(root.rglob("*.json")) if not is_partial(file.relative_to(root))]
    dated = [file for file in there if file.name.startswith(DATED)]
    others = [file for file in there if file.name == "results.json" or NAMED_AND_DATED.fullmatch(file.stem)]
    found = [file for file in others if file not in dated and _is_results(file)] + dated
    return found or [file for file in there if _is_results(file)]


def _is_results(file: Path) -> bool:
    try:
        data = json.loads(file.read_bytes())
    except (ValueError, RecursionError, OSError):
        return False
    return isinstance(data, dict) and all(isinstance(data.get(key), dict) for key in RESULT_KEYS)


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


def lm_eval_rows(file: Path, root: Path) -> list[ScoreRow]:
    """What the results in ``file`` say, and item metrics of the samples beside them; ``root`` is what was given."""
    data = loaded_json(file)
    if not isinstance(data, dict) or not isinstance(data.get("results"), dict):
        raise UserError(f"{file}: not lm-eval results (no key 'results')")
    described = data.get("e2lm", {})
    series, step = _named(data, file, root)
    counts = data.get("n-samples") or {}
    logged = sample_files(file, data)
    samples = {one.task: one for one in _samples(data, file, root)}
    params = float(described.get("params") or data.get("config", {}).get("model_num_parameters") or math.nan)
    tokens, flops = _number(described.get("tokens")), _number(described.get("flops"))
    rows = []
    for task, values in data["results"].items():
        own = samples.get(str(task))
        # Before 0.4.3 only the samples tell how many there were.
        n = int((counts.get(task) or {}).get("effective") or (len(logged_items(logged[task])) if task in logged else 0))
        for key, value in values.items():
            metric, comma, filter_name = str(key).partition(",")
            if not comma or metric.endswith("_stderr") or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            stderr = _number(values.get(f"{metric}_stderr,{filter_name}"))
            name = metric if filter_name == "none" else f"{metric},{filter_name}"
            rows.append(ScoreRow(series, step, str(task), name, float(value), params, tokens, flops, stderr, n))
        if own is not None:
            there = {row.metric for row in rows if row.task == task}
            rows += [
                ScoreRow(series, step, str(task), metric, value, params, tokens, flops, stderr, n)
                for metric, value, stderr in _item_values(own)
                if metric not in there
            ]
    return rows


def read_lm_eval_samples(path: Path) -> list[Samples]:
    """The Samples in lm-eval's output below ``path``, of each checkpoint and task the newest; none is no error."""
    found: dict[tuple[str, str, int], Samples] = {}
    for file in result_files(path):
        for one in _samples(loaded_json(file), file, path):
            found[one.series, one.task, one.step] = one
    return [found[key] for key in sorted(found)]


def _samples(data: Any, file: Path, root: Path) -> Iterator[Samples]:
    series, step = _named(data, file, root)
    for task, place in sample_files(file, data).items():
        samples = samples_in(place, task, data["configs"][task], series, step)
        if samples is not None:
            yield samples


def _item_values(samples: Samples) -> Iterator[tuple[str, float, float]]:
    """Name, mean and standard error of every item metric that these choices allow."""
    least = int(samples.choices.there_IC.sum(axis=1).min())
    for metric in plugin_manager().all("e2lm_register_metrics", ItemMetric, "item metric"):
        if least < metric.min_choices:
            continue
        values_I = metric.per_item(samples.choices)
        if np.isnan(values_I).all():  # of tokens, say, whose number lm-eval does not log
            continue
        yield metric.name, float(np.mean(values_I)), mean_stderr(values_I)


def _named(data: dict[str, Any], file: Path, root: Path) -> tuple[str, int]:
    described = data.get("e2lm", {})
    series, step = _series_and_step(data, file, root)
    return str(described.get("series", series)), int(described.get("step", step))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _series_and_step(data: dict[str, Any], file: Path, root: Path) -> tuple[str, int]:
    """Which run and step a results file is about: from the model's arguments, else from the folder names."""
    arguments = data.get("config", {}).get("model_args") or {}
    if isinstance(arguments, str):
        arguments = dict(part.partition("=")[::2] for part in arguments.split(","))
    pretrained = str(arguments.get("pretrained") or data.get("model_name") or "")
    for text in (arguments.get("revision"), arguments.get("subfolder"), pretrained):
        if text and (match := _last_step(str(text))):
            name = pretrained[: match.start()].rstrip("/_.-") if text == pretrained else pretrained
            return Path(name or pretrained).name or "series", int(match.group(1))
    relative = str(file.relative_to(root).parent) if file.is_relative_to(root) else file.parent.name
    if match := _last_step(relative):
        return Path(relative[: match.start()].rstrip("/_-.") or pretrained or root.name).name, int(match.group(1))
    return Path(pretrained).name or root.name, 0


def _last_step(text: str) -> re.Match[str] | None:
    """The last step in a path: folders above the run may look like steps too (``iter2/run/checkpoint-100``)."""
    matches = list(STEP_IN_NAME.finditer(text))
    return matches[-1] if matches else None
