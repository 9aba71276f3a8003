"""The work behind ``e2lm signal PATH``."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path

from e2lm import ItemMetric, ScoreValue, SignalScore
from e2lm.plugin_manager import PluginManager, plugin_manager
from e2lm.score_files import read_scores

from e2lm_signal.curves import Wanted, chosen_scores, curves_of, official_selection
from e2lm_signal.official_score import TIE_RULE
from e2lm_signal.signal_report import SignalReport, signal_report


def run_signal(arguments: Namespace) -> int:
    """Print the report; returns the exit code."""
    manager = plugin_manager()
    scores = wanted_scores(manager, arguments.scores)
    source = read_scores(Path(arguments.path))
    notes = list(source.notes)
    table = chosen_scores(source.scores, Wanted(arguments.series, arguments.tasks, arguments.metrics))
    if source.layout == "e2lmc" and not arguments.all_checkpoints:
        table, note = official_selection(table)
        notes.append(note)
    curves = curves_of(table, manager.all("e2lm_register_metrics", ItemMetric, "item metric"))
    report = signal_report(curves, scores, arguments.seed, quiet=False)
    if any(score.name.startswith("e2lmc_") for score in scores):
        notes.append(f"official scores: {TIE_RULE}; the official formula has no interval and no p-value")
    turned = sorted({curve.metric for curve in curves if not curve.higher_is_better})
    if turned:
        notes.append(f"lower is better, so turned over before scoring: {', '.join(turned)}")
    if arguments.json:
        json.dump(report.as_json(), sys.stdout, indent=1, allow_nan=False)
        print()
    else:
        print(as_text(report))
    for note in notes:
        print(f"note: {note}", file=sys.stderr if arguments.json else sys.stdout)
    return 0


def wanted_scores(manager: PluginManager, names: Iterable[str] | None) -> list[SignalScore]:
    """The registered scores called ``names``, or all; an unknown name is a :class:`UserError`."""
    hook = "e2lm_register_signal_scores"
    if names is None:
        return manager.all(hook, SignalScore, "signal score")
    return [manager.find(hook, SignalScore, name, "signal score") for name in names]


def as_text(report: SignalReport) -> str:
    """Two tables: every curve, then the means over series."""
    names = list(report.rows[0].scores)
    lines = [_line(("series", "task", "metric", "n"), names)]
    for row in report.rows:
        lines.append(_line((row.series, row.task, row.metric, row.n), [_cell(row.scores[name]) for name in names]))
    lines += ["", _line(("mean over", "task", "metric", "series"), names)]
    for mean in report.means:
        over = ", ".join(mean.series)
        shown = over if len(over) <= 24 else f"{len(mean.series)} series"
        cells = [_cell(mean.scores[name]) for name in names]
        lines.append(_line((shown, mean.task, mean.metric, len(mean.series)), cells))
    reasons = sorted({value.reason for row in report.rows for value in row.scores.values() if value.reason})
    if reasons:
        lines += ["", *(f"reason: {reason}" for reason in reasons)]
    return "\n".join(lines)


def _line(key: tuple[object, ...], cells: Iterable[str]) -> str:
    series, task, metric, n = (str(part) for part in key)
    return f"{series:<24} {task:<24} {metric:<24} {n:>6}  " + "  ".join(f"{cell:>21}" for cell in cells)


def _cell(value: ScoreValue) -> str:
    if value.value is None:
        return "undefined"
    interval = "" if value.low is None or value.high is None else f" [{value.low:.3f}, {value.high:.3f}]"
    return f"{value.value:.5f}{interval}" if not interval else f"{value.value:.3f}{interval}"
