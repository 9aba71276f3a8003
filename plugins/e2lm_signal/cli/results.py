"""`e2lm results PATH`: what was understood of results before anything is scored, and what of them is not used."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from e2lm import ItemMetric
from e2lm.answer import Answer
from e2lm.plugin_manager import plugin_manager
from e2lm.results import ScoreSource, read_scores
from e2lm.results.direction import Directions
from e2lm_signal.cli.input import reading_of
from e2lm_signal.cli.report_text import MOST_ROWS, cut_rows
from e2lm_signal.cli.text_table import text_table


def run_results(arguments: Namespace) -> Answer:
    """Every curve with what is known of it."""
    source = read_scores(Path(arguments.path), reading_of(arguments))
    curves = list(_curves(source))
    left_out = [one.model_dump(mode="json") for one in source.left_out]
    told = {"layout": source.layout, "curves": curves, "notes": list(source.notes), "left_out": left_out}
    unsaid = [one for one in source.left_out if not any(one.what in note or one.why in note for note in source.notes)]

    def text() -> str:
        return "\n".join([as_text(curves, arguments.full), *map(str, unsaid)])

    return Answer(told, text, tuple(source.notes), table=source.scores.frame.copy, ensure_ascii=False)


def _curves(source: ScoreSource) -> Iterator[dict[str, Any]]:
    """One series x task x metric each, as plain JSON values."""
    metrics = plugin_manager().all("e2lm_register_metrics", ItemMetric, "item metric")
    ways = Directions(source.directions, tuple(metrics))
    logged = {(one.series, one.task) for one in source.samples}
    for (series, task, metric), rows in source.scores.frame.groupby(["series", "task", "metric"], sort=True):
        yield {
            "series": series,
            "task": task,
            "metric": metric,
            "steps": [int(step) for step in rows["step"]],
            "has_tokens": bool(rows["tokens"].notna().all()),
            "has_stderr": bool(rows["stderr"].notna().all()),
            "has_samples": (series, task) in logged,
            "higher_is_better": ways.known(str(task), str(metric)),
            "key": _key(rows, str(task)),
        }


def _key(rows: pd.DataFrame, task: str) -> dict[str, Any]:
    text = str(rows["key"].iloc[0]) if "key" in rows else ""
    found: dict[str, Any] = json.loads(text) if text else {"task": task}
    return found


def as_text(curves: list[dict[str, Any]], full: bool = False) -> str:
    """A table with a line for each curve, the first forty unless ``full``, and what is known of them below it."""
    rows = [
        [
            str(one["series"]),
            str(one["task"]),
            str(one["metric"]),
            str(len(one["steps"])),
            f"{one['steps'][0]} to {one['steps'][-1]}",
            {True: "higher", False: "lower", None: "not told"}[one["higher_is_better"]],
            ", ".join(name for name in ("tokens", "stderr", "samples") if one[f"has_{name}"]) or "-",
        ]
        for one in (curves if full else curves[:MOST_ROWS])
    ]
    head = ["series", "task", "metric", "n", "steps", "better", "known"]
    lines = cut_rows(text_table(head, rows, 3), len(curves), full)
    by_field: dict[str, dict[str, int]] = {}
    for one in curves:
        for name, value in one["key"].items():
            if name != "task":
                counts = by_field.setdefault(name, {})
                counts[str(value)] = counts.get(str(value), 0) + 1
    return "\n".join([*lines, "", *(_told(name, counts, len(curves)) for name, counts in sorted(by_field.items()))])


def _told(name: str, counts: Mapping[str, int], curves: int) -> str:
    values = ", ".join(f"{value} ({count})" if len(counts) > 1 else value for value, count in sorted(counts.items()))
    known = sum(counts.values())
    return f"{name}: {values}" + (f"; not told of {curves - known} curves" if known < curves else "")
