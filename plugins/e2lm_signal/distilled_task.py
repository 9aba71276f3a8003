"""``e2lm signal distil``: a distilled benchmark as files, an lm-eval task, the ids of its items, and its card.

::

    OUT/<task>_distilled.yaml    includes the base task and keeps the chosen documents (only with a base task)
    OUT/kept_documents.py        the function that keeps them
    OUT/items.json               {"<task>": [document ids]}: also what ``lm_eval run --samples`` takes
    OUT/card.json, card.md       what was measured, on held-out models
"""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from e2lm import ItemMetric, UserError
from e2lm.atomic_file import write_json, write_text
from e2lm.errors import nearest_names
from e2lm.plugin_manager import plugin_manager
from e2lm.results.direction import Directions
from e2lm_signal.cli.input import print_notes, read_source, reading_of
from e2lm_signal.distillation import (
    HeldOutReport,
    Spread,
    Target,
    chosen_items,
    distilled,
    early_checkpoints,
    kept_count,
    own_target,
)
from e2lm_signal.item_table import ItemTable, read_item_tables

KEPT_DOCUMENTS = '''"""Keeps the documents listed in items.json."""

import json
from pathlib import Path

IDS = next(iter(json.loads((Path(__file__).parent / "items.json").read_text(encoding="utf-8")).values()))
#: Documents of the split that was distilled; other splits (few-shot examples) stay whole.
DOCUMENTS = {documents}


def keep(dataset):
    """The chosen documents of the evaluated split."""
    return dataset.select(IDS) if len(dataset) == DOCUMENTS else dataset
'''


@dataclass(frozen=True, slots=True)
class DistilledTask:
    """Which documents of ``task`` are kept, out of ``documents``; ``base_task`` is its name in lm-eval, if known."""

    task: str
    base_task: str | None
    doc_ids: list[int]
    documents: int


def write_task(folder: Path, task: DistilledTask, card: dict[str, Any], dry_run: bool) -> list[str]:
    """Write the files, each whole or not at all; returns their names."""
    base = task.base_task or task.task
    name = f"{base}_distilled"
    texts = {"card.md": f"# {name}\n\n```\n{as_text(card)}\n```\n"}
    if task.base_task is not None:
        texts[f"{name}.yaml"] = (
            f"include: {json.dumps(str(base_yaml(task.base_task)))}\ntask: {name}\n"
            "process_docs: !function kept_documents.keep\nmetadata:\n  version: 1\n"
        )
        texts["kept_documents.py"] = KEPT_DOCUMENTS.format(documents=task.documents)
    names = sorted([*texts, "items.json", "card.json"])
    if not dry_run:
        write_json(folder / "items.json", {base: task.doc_ids})
        write_json(folder / "card.json", card)
        for file, text in texts.items():
            write_text(folder / file, text)
    return [str(folder / file) for file in names]


def base_yaml(base_task: str) -> Path:
    """The YAML file of a task that lm-eval knows, which the distilled one includes."""
    from lm_eval.tasks import TaskManager

    index = TaskManager().task_index
    if base_task not in index:
        raise UserError(f"--base-task: lm-eval knows no task {base_task!r}. {nearest_names(base_task, index)}")
    entry = index[base_task]
    if "process_docs" in (entry.cfg or {}):
        raise UserError(
            f"--base-task: {base_task!r} changes its documents itself (process_docs), so ids cannot be mapped; leave "
            "out --base-task and use items.json with lm_eval run --samples"
        )
    return Path(entry.yaml_path)


def run_distil(arguments: Namespace) -> int:
    """Print the held-out report, and write the task if asked to; returns the exit code."""
    metrics = plugin_manager().all("e2lm_register_metrics", ItemMetric, "item metric")
    notes: list[str] = []
    tables = read_item_tables(Path(arguments.path), metrics, arguments.metric, arguments.tokens_per_step, notes)
    if arguments.base_task and len(tables) > 1:
        raise UserError(f"--base-task: {arguments.path} holds {len(tables)} tasks; give the Samples of one")
    reports = [_of_table(table, arguments, metrics) for table in tables]
    if arguments.json:
        print(json.dumps({"tasks": reports}, indent=1, allow_nan=False))
    else:
        print("\n\n".join(as_text(report) for report in reports))
    print_notes(notes, arguments)
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
    source = read_source(Path(arguments.target), reading_of(arguments))
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
    last = frame.sort_values("step").groupby("series")["value"].last()
    missing = [name for name in table.series_M if name not in last.index]
    if missing:
        nearest = nearest_names(missing[0], last.index)
        raise UserError(f"--target: {arguments.target} has no series {missing[0]!r}. {nearest}")
    metric, task = str(frame["metric"].iloc[0]), str(frame["task"].iloc[0])
    sign = 1.0 if Directions(source.directions, tuple(metrics)).is_higher_better(task, metric) else -1.0
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
