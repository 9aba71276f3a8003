"""The work behind ``e2lm signal compare``."""

from __future__ import annotations

import math
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from e2lm import Curve, UserError
from e2lm.answer import Answer
from e2lm.errors import nearest_names
from e2lm.plugin_manager import plugin_manager
from e2lm_signal.cli.first_line import decides_best
from e2lm_signal.cli.input import read_input
from e2lm_signal.cli.text_table import text_table, wrapped
from e2lm_signal.comparison import (
    Contender,
    Ranked,
    Scales,
    after_choice,
    contender_in_scale,
    contender_in_time,
    ranked,
)
from e2lm_signal.decisions import LEAST_REDRAWN, too_few


def run_compare(arguments: Namespace) -> Answer:
    """The ranking of task x metric by decision accuracy."""
    source = read_input(arguments, plugin_manager())
    groups = list(source.groups())
    contenders, refused = contenders_of(groups, arguments)
    if not contenders:
        why = "; ".join(reason for reason, _ in refused.most_common(2))
        raise UserError(f"{arguments.path}: no task x metric can be compared: {why}")
    ranking = ranked(contenders, np.random.default_rng(arguments.seed))
    notes = [*source.notes, *(f"{count} task x metric left out: {reason}" for reason, count in refused.items())]
    if (series := len(contenders[0].names_M)) < LEAST_REDRAWN:
        notes.append(f"one group, and intervals that hold all: fewer than {LEAST_REDRAWN} series; {too_few(series)}")
    looked = after_choice(ranking, np.random.default_rng([arguments.seed, len(ranking)]))
    notes += [*_on_seeds(contenders[0]), *_on_choice(ranking, looked)]
    found = {"ranking": [_as_json(one) for one in ranking], "first_after_choice": looked}
    return Answer(found, lambda: as_text(ranking), tuple(notes), rows="ranking")


def contenders_of(groups: Sequence[Sequence[Curve]], arguments: Namespace) -> tuple[list[Contender], Counter[str]]:
    """Every task x metric that can be compared, and how many could not for which reason."""
    by_key = {(curves[0].task, curves[0].metric): curves for curves in groups}
    wanted = arguments.target_metric
    if wanted is not None and all(metric != wanted for _, metric in by_key):
        known = {metric for _, metric in by_key}
        raise UserError(f"--target-metric: no metric {wanted!r} in {arguments.path}. {nearest_names(wanted, known)}")
    scales = Scales(tuple(arguments.scales)) if arguments.scales else None
    contenders: list[Contender] = []
    refused: Counter[str] = Counter()
    for (task, metric), curves in by_key.items():
        target = by_key.get((task, wanted or metric))
        if target is None:
            refused[f"the task has no metric {wanted!r}"] += 1
            continue
        if scales is not None:
            found = contender_in_scale(curves, target, *scales.sides(curve.series for curve in curves))
        else:
            found = contender_in_time(curves, target, arguments.early)
        if isinstance(found, str):
            refused[found] += 1
        else:
            contenders.append(found)
    return contenders, refused


def _on_seeds(one: Contender) -> list[str]:
    if one.runs is None or max(one.runs) == len(one.names_M):
        return []
    small, large = one.runs
    return [f"{len(one.names_M)} recipes, seeds averaged: {small} small runs, {large} large ones"]


def _on_choice(ranking: Sequence[Ranked], looked: float | None) -> list[str]:
    """The price of having looked at many."""
    if looked is None or len(ranking) < 2:
        return []
    best = ranking[0].contender
    return [
        f"{best.task} {best.metric} is the highest of {len(ranking)} that were looked at: of its {best.value:.3f}, "
        f"{looked:.3f} is left for other series after the price of having looked"
    ]


def _as_json(one: Ranked) -> dict[str, Any]:
    return {
        "task": one.contender.task,
        "metric": one.contender.metric,
        "decision_accuracy": one.contender.value,
        "low": one.low,
        "high": one.high,
        "group": one.group,
        "series": len(one.contender.names_M),
        "snr": one.contender.snr if math.isfinite(one.contender.snr) else None,
    }


def as_text(ranking: Sequence[Ranked]) -> str:
    """What to use, then one row per task x metric, the best first, with the group that it belongs to."""
    head = ["task", "metric", "group", "decision_accuracy", "SNR", "series"]
    rows = [
        [
            one.contender.task,
            one.contender.metric,
            str(one.group),
            _shown(one),
            f"{one.contender.snr:.1f}" if math.isfinite(one.contender.snr) else "-",
            str(len(one.contender.names_M)),
        ]
        for one in ranking
    ]
    said = "task x metric of one group cannot be told apart from its best by these series (paired, 90 %)"
    return "\n".join([*wrapped([decides_best(ranking)]), "", *text_table(head, rows, 2), "", said])


def _shown(one: Ranked) -> str:
    return f"{one.contender.value:.3f} [{one.low:.3f}, {one.high:.3f}]"
