"""Reads a Scores table from whatever people have: Parquet, CSV, lm-eval output, the competition's JSON."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from e2lm.errors import UserError, one_line
from e2lm.item_metric import ItemMetric
from e2lm.lm_eval_results import logged_items, result_files, sample_files, samples_in
from e2lm.plugin_manager import plugin_manager
from e2lm.samples import Samples
from e2lm.scores import COLUMNS, ScoreRow, Scores

Layout = Literal["table", "lm-eval", "e2lmc"]

#: ``checkpoint-500``, ``iter_0002000``, ``step1000``, ``stage1-step5000-tokens3B``: which step a path or name means.
STEP_IN_NAME = re.compile(r"(?:checkpoint|iter|step)[-_]?0*(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ScoreSource:
    """Scores and the layout they came in; ``notes`` say what was done to them on the way."""

    scores: Scores
    layout: Layout
    notes: tuple[str, ...] = ()


def read_scores(path: Path) -> ScoreSource:
    """The Scores at ``path``: a Parquet or CSV table, the competition's JSON, an ``e2lm eval`` or lm-eval folder."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give a Scores table, an lm-eval output folder or a JSON")
    if path.is_dir():
        return _read_folder(path)
    suffixes = "".join(path.suffixes).lower()
    if suffixes.endswith(".parquet"):
        return _read_table(path, "parquet")
    if suffixes.endswith((".csv", ".csv.gz")):
        return _read_table(path, "csv")
    if suffixes.endswith(".json"):
        return _read_json(path)
    raise UserError(f"{path}: unknown kind of file; expected .parquet, .csv, .csv.gz, .json or a folder")


def _read_table(path: Path, kind: Literal["parquet", "csv"]) -> ScoreSource:
    try:
        frame = pd.read_parquet(path) if kind == "parquet" else _read_csv(path)
    except Exception as error:  # pandas and pyarrow raise many kinds for a damaged file
        raise UserError(f"{path}: cannot be read as {kind} ({one_line(error)})") from error
    return _without_duplicates(Scores.from_frame(frame, str(path)), "table", path)


def _read_csv(path: Path) -> pd.DataFrame:
    """Text stays as it is written (``007``, ``None``), and every float comes back to the last bit."""
    with warnings.catch_warnings():
        # Rows longer than the header would be shifted, or cut with no more than a warning.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False, encoding="utf-8-sig")
    numbers = [column for column, kind in COLUMNS.items() if kind != "str" and column in frame]
    return frame.assign(**{column: [_csv_number(text, column) for text in frame[column]] for column in numbers})


def _csv_number(text: str, column: str) -> int | float:
    if text.strip().lower() in ("", "na", "n/a", "none", "null"):
        return math.nan
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"column {column!r}: {text[:80]!r} is no number") from None


def _without_duplicates(scores: Scores, layout: Layout, path: Path) -> ScoreSource:
    count = scores.duplicate_keys()
    if not count:
        return ScoreSource(scores, layout)
    note = f"{path}: {count} rows repeat a series, task, metric and step; their mean is used"
    return ScoreSource(scores.mean_of_duplicates(), layout, (note,))


def _read_folder(path: Path) -> ScoreSource:
    for name in ("scores.parquet", "scores.csv"):
        if (path / name).is_file():
            return _read_table(path / name, "parquet" if name.endswith("parquet") else "csv")
    results = result_files(path)
    if not results:
        raise UserError(f"{path}: no scores.parquet, scores.csv or results_*.json (lm-eval's output) below it")
    rows: dict[tuple[str, str, str, int], ScoreRow] = {}
    repeated = 0
    for file in results:  # sorted by name, so the newest date of a checkpoint comes last and wins
        for row in _lm_eval_rows(file, path):
            key = (row.series, row.task, row.metric, row.step)
            repeated += key in rows
            rows[key] = row
    notes = (f"{path}: {repeated} values were evaluated more than once; the newest are used",) if repeated else ()
    return ScoreSource(Scores.from_rows(rows.values()), "lm-eval", notes)


def _loaded_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({one_line(error)})") from error


def _read_json(path: Path) -> ScoreSource:
    data = _loaded_json(path)
    if isinstance(data, dict) and isinstance(data.get("results"), dict):
        return ScoreSource(Scores.from_rows(_lm_eval_rows(path, path.parent)), "lm-eval")
    if isinstance(data, dict) and isinstance(data.get("data"), dict):
        return _without_duplicates(Scores.from_rows(_competition_rows(data, path)), "e2lmc", path)
    raise UserError(f"{path}: neither lm-eval results (key 'results') nor the competition's scores (key 'data')")


# -- lm-eval ------------------------------------------------------------------------------------------------------


def _lm_eval_rows(file: Path, root: Path) -> list[ScoreRow]:
    data = _loaded_json(file)
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
        for one in _samples(_loaded_json(file), file, path):
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
        stderr = float(np.std(values_I, ddof=1) / math.sqrt(len(values_I))) if len(values_I) > 1 else math.nan
        yield metric.name, float(np.mean(values_I)), stderr


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


# -- the competition's JSON ---------------------------------------------------------------------------------------


def _competition_rows(data: dict[str, Any], path: Path) -> list[ScoreRow]:
    """Rows of ``{"data": {model: {"iteration": [...], "gtokens": [...], benchmark: [...]}}}``, metric ``score``."""
    rows = []
    for series, columns in data["data"].items():
        steps, gigatokens = (_numbers(columns, name) for name in ("iteration", "gtokens"))
        if steps is None or gigatokens is None:
            raise UserError(f"{path}: data.{series}: lists of numbers 'iteration' and 'gtokens' are expected")
        for task, values in columns.items():
            if task in ("iteration", "gtokens") or not isinstance(values, list):
                continue
            if not len(values) == len(steps) == len(gigatokens):
                raise UserError(
                    f"{path}: data.{series}.{task}: {len(values)} values for {len(steps)} iterations and "
                    f"{len(gigatokens)} gtokens; the lists must be of one length"
                )
            for step, giga, value in zip(steps, gigatokens, values, strict=True):
                if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                    rows.append(ScoreRow(series, int(step), task, "score", float(value), tokens=float(giga) * 1e9))
    return rows


def _numbers(columns: Any, name: str) -> list[float] | None:
    values = columns.get(name) if isinstance(columns, dict) else None
    if not isinstance(values, list) or not all(isinstance(value, int | float) for value in values):
        return None
    return values
