"""What a distilled benchmark must beat: all items by the user's other metrics, and the advice that follows from it.

All on the held-out models of the same splits, so that nobody distils a loss whose accuracy was better all along.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from e2lm import ItemMetric, UserError
from e2lm.arrays import Values
from e2lm.errors import nearest_names
from e2lm.results import read_scores
from e2lm.results.direction import Directions
from e2lm_signal.cli.input import reading_of
from e2lm_signal.distillation import ALL, BASELINES, HeldOutReport, Spread, Target, whole_measures
from e2lm_signal.item_table import ItemTable

#: Metrics of the same answers that distilled items are held against, all items of them.
BESIDE = ("acc", "acc_norm", "gold_loglik", "gold_minus_mean_wrong", "norm_correct_prob", "bits_per_byte")


def target_rows(arguments: Namespace, metrics: Sequence[ItemMetric]) -> tuple[pd.DataFrame, float, str]:
    """The rows of ``--target``, 1 or -1 as more or less is better, and what it is called."""
    source = read_scores(Path(arguments.target), reading_of(arguments))
    frame = source.scores.frame
    for column, wanted in (("task", arguments.target_task), ("metric", arguments.target_metric)):
        present = sorted(frame[column].unique())
        if wanted is None and len(present) > 1:
            several = nearest_names("", present)
            raise UserError(f"--target: {arguments.target} has several: give --target-{column}. {several}")
        if wanted is not None and wanted not in present:
            raise UserError(
                f"--target-{column}: {arguments.target} has no {wanted!r}. {nearest_names(wanted, present)}"
            )
        frame = frame[frame[column] == (wanted or present[0])]
    metric, task = str(frame["metric"].iloc[0]), str(frame["task"].iloc[0])
    sign = 1.0 if Directions(source.directions, tuple(metrics)).is_higher_better(task, metric) else -1.0
    return frame, sign, f"{metric} of {task}"


def all_items_by(
    table: ItemTable,
    report: HeldOutReport,
    target: Target,
    early: Mapping[str, int],
    others: Sequence[ItemTable],
    arguments: Namespace,
    metrics: Sequence[ItemMetric],
) -> dict[str, dict[str, Spread]]:
    """Metric -> measure -> spread: what all items give, undistilled, by other metrics that the user has."""
    curves = {
        other.metric: other.rising_MKI.mean(axis=2, dtype=np.float64)
        for other in others
        if other.task == table.task
        and other.series_M == table.series_M
        and np.array_equal(other.steps_K, table.steps_K)
    }
    if arguments.target is not None:
        curves |= _target_curves(table, arguments, metrics)
    return {name: whole_measures(values_MK, report.tested, target, early) for name, values_MK in curves.items()}


def _target_curves(table: ItemTable, arguments: Namespace, metrics: Sequence[ItemMetric]) -> dict[str, Values]:
    """The target's own metric at the checkpoints of ``table``, where it has them all."""
    rows, sign, name = target_rows(arguments, metrics)
    rows = rows[rows["series"].isin(table.series_M) & rows["step"].isin(table.steps_K)]
    grid = rows.pivot_table(index="series", columns="step", values="value")
    if grid.shape != table.shape[:2] or grid.isna().any(axis=None):
        return {}
    return {name: sign * grid.loc[list(table.series_M)].to_numpy(np.float64)}


def advice_on(card: Mapping[str, Any]) -> str:
    """Whether to use the chosen items, by what was measured on held-out models."""
    snr = card["held_out"]["SNR"]
    if card["method"] == ALL:
        return "nothing was chosen by what models answered: all items are kept"
    chosen, plain = snr["chosen"]["mean"], snr["all"]["mean"]
    if chosen is None or plain is None:
        return "no advice: the noise between checkpoints is 0 or unknown"
    better = {name: one["SNR"]["mean"] for name, one in card["all_items_by"].items() if one["SNR"]["mean"] is not None}
    best = max(better, key=better.__getitem__, default=None)
    if best is not None and better[best] >= chosen:
        by = f"the chosen ones by {card['metric']} {chosen:.1f}"
        return f"do not distil: all items by {best} have SNR {better[best]:.1f}, {by}"
    if (snr["chosen"]["low"] or 0.0) <= plain:
        return f"the gain is not sure: SNR {chosen:.1f} of the chosen items, {plain:.1f} of all, less in some splits"
    rivals = {name: snr[name]["mean"] for name in BASELINES if name in snr and snr[name]["mean"] is not None}
    beaten_by = [name for name, value in rivals.items() if value >= chosen]
    if beaten_by:
        return f"use --method {beaten_by[0]}: it has SNR {rivals[beaten_by[0]]:.1f}, {card['method']} {chosen:.1f}"
    return f"the chosen items have SNR {chosen:.1f}, all have {plain:.1f}, on models that did not choose them"
