"""The work behind ``e2lm signal distil``."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np

from e2lm import ItemMetric, UserError
from e2lm.errors import nearest_names
from e2lm.plugin_manager import plugin_manager
from e2lm_signal.curves import is_higher_better
from e2lm_signal.distillation import (
    HeldOutReport,
    Spread,
    Target,
    distilled,
    early_checkpoints,
    kept_count,
    own_target,
)
from e2lm_signal.distilled_task import DistilledTask, write_task
from e2lm_signal.item_selection import chosen_items
from e2lm_signal.item_table import ItemTable, read_item_tables
from e2lm_signal.score_input import read_source


def run_distil(arguments: Namespace) -> int:
    """Print the held-out report, and write the task if asked to; returns the exit code."""
    metrics = plugin_manager().all("e2lm_register_metrics", ItemMetric, "item metric")
    tables = read_item_tables(Path(arguments.path), metrics, arguments.metric, arguments.tokens_per_step)
    if arguments.repeats < 1:
        raise UserError(f"--repeats: found {arguments.repeats}; at least 1 split is needed")
    if arguments.base_task and len(tables) > 1:
        raise UserError(f"--base-task: {arguments.path} holds {len(tables)} tasks; give the Samples of one")
    reports = [_of_table(table, arguments, metrics) for table in tables]
    if arguments.json:
        print(json.dumps({"tasks": reports}, indent=1, allow_nan=False))
    else:
        print("\n\n".join(as_text(report) for report in reports))
    return 0


def _of_table(table: ItemTable, arguments: Namespace, metrics: list[ItemMetric]) -> dict[str, Any]:
    rng = np.random.default_rng(arguments.seed)
    target = _target(table, arguments, metrics)
    early = early_checkpoints(table, arguments.early_tokens)
    report = distilled(table, arguments.keep, arguments.method, target, early, arguments.repeats, rng, quiet=False)
    keep = kept_count(table.shape[2], arguments.keep)
    card = card_of(table, report, target, arguments.method, keep, arguments.seed)
    if arguments.out:
        items_I = chosen_items(table.rising_MKI, keep, arguments.method)
        task = DistilledTask(table.task, arguments.base_task, table.doc_ids_I[items_I].tolist(), table.shape[2])
        card["written"] = write_task(Path(arguments.out), task, card, arguments.dry_run)
        card["dry_run"] = arguments.dry_run
    return card


def _target(table: ItemTable, arguments: Namespace, metrics: list[ItemMetric]) -> Target:
    if arguments.target is None:
        return own_target(table)
    frame = read_source(Path(arguments.target), arguments.columns).scores.frame
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
    last = frame.sort_values("step").groupby("series")["value"].last()
    missing = [name for name in table.series_M if name not in last.index]
    if missing:
        nearest = nearest_names(missing[0], last.index)
        raise UserError(f"--target: {arguments.target} has no series {missing[0]!r}. {nearest}")
    metric, task = str(frame["metric"].iloc[0]), str(frame["task"].iloc[0])
    sign = 1.0 if is_higher_better(metric, metrics) else -1.0
    return Target(sign * last.loc[list(table.series_M)].to_numpy(np.float64), f"final {metric} of {task}")


def card_of(
    table: ItemTable, report: HeldOutReport, target: Target, method: str, keep: int, seed: int
) -> dict[str, Any]:
    """The card: what was done, and every number with the range of the middle 90 % of splits."""
    return {
        "task": table.task,
        "metric": table.metric,
        "items": table.shape[2],
        "items_left_out": table.left_out,
        "kept": keep,
        "method": method,
        "target": target.label,
        "models": table.shape[0],
        "chosen_on": report.chosen_on,
        "tested_on": report.tested_on,
        "splits": report.repeats,
        "seed": seed,
        "overlap_of_choices": _number(report.overlap),
        "held_out": {
            name: {arm: _spread(spread) for arm, spread in arms.items()} for name, arms in report.measures.items()
        },
        "gain_over_random": {name: _spread(spread) for name, spread in report.gains.items()},
        "note": (
            "every number is from models that did not help to choose the items; low and high bound the middle 90 % of "
            "the random splits, which share models, so they are no confidence interval for new models"
        ),
    }


def _spread(spread: Spread) -> dict[str, float | None]:
    return {"mean": _number(spread.mean), "low": _number(spread.low), "high": _number(spread.high)}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def as_text(card: dict[str, Any]) -> str:
    """The card as a table."""
    lines = [
        f"{card['task']} ({card['metric']}): {card['kept']} of {card['items']} items by {card['method']}; chosen on "
        f"{card['chosen_on']} models, measured on the other {card['tested_on']}, {card['splits']} random splits",
        f"decisions are held against the {card['target']}",
        f"{'measure':<22}" + "".join(f"{name:>26}" for name in ("all items", "random items", "chosen items", "gain")),
    ]
    for name, arms in card["held_out"].items():
        cells = [_shown(arms[arm]) for arm in ("all", "random", "chosen")] + [_shown(card["gain_over_random"][name])]
        lines.append(f"{name:<22}" + "".join(f"{cell:>26}" for cell in cells))
    if card["overlap_of_choices"] is not None:
        lines.append(f"two choices on different halves share {card['overlap_of_choices']:.0%} of their items")
    lines.append(f"note: {card['note']}; gain is chosen minus random")
    if "written" in card:
        lines.append(("would write " if card["dry_run"] else "wrote ") + ", ".join(card["written"]))
    return "\n".join(lines)


def _shown(spread: dict[str, float | None]) -> str:
    if spread["mean"] is None:
        return "undefined"
    return f"{spread['mean']:.3f} [{spread['low']:.3f}, {spread['high']:.3f}]"
