"""``e2lm signal distil``: items chosen of one task, or of a group of tasks as one benchmark, measured, and written."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from e2lm import ItemMetric, UserError
from e2lm.answer import Answer
from e2lm.errors import nearest_names
from e2lm.plugin_manager import plugin_manager
from e2lm_signal.cli.text_table import text_table, wrapped
from e2lm_signal.distillation import (
    BASELINES,
    HeldOutReport,
    Spread,
    Target,
    chosen_from,
    chosen_items,
    distilled,
    early_checkpoints,
    kept_count,
    own_target,
)
from e2lm_signal.distilled_files import (
    DistilledBenchmark,
    DistilledTask,
    files_of,
    logged_shots,
    other_examples,
    reported_metric,
    write_benchmark,
)
from e2lm_signal.distilled_rivals import BESIDE, advice_on, all_items_by, target_rows
from e2lm_signal.item_conditions import Conditions, logged_documents
from e2lm_signal.item_group import ItemGroup, joined, single
from e2lm_signal.item_table import ItemTable, tables_by_metric
from e2lm_signal.official_score import official_selection_K


def run_distil(arguments: Namespace) -> Answer:
    """The held-out report; the task is written if that is asked for."""
    metrics = plugin_manager().all("e2lm_register_metrics", ItemMetric, "item metric")
    notes: list[str] = []
    tables, *beside = _tables(arguments, metrics, notes)
    groups = [single(table) for table in tables]
    if arguments.group:
        group, said = joined(tables, arguments.group)
        groups, notes = [group], [*notes, *said]
    elif len(tables) > 1 and (arguments.base_task or arguments.out):
        option = "--base-task" if arguments.base_task else "--out"
        raise UserError(
            f"{option}: {arguments.path} holds {len(tables)} tasks; give --group NAME to distil them as one benchmark, "
            "or the Samples of one"
        )
    others = [one for own in beside for one in ([joined(own, arguments.group)[0].table] if arguments.group else own)]
    reports = [_of_group(group, arguments, metrics, others, notes) for group in groups]
    return Answer({"tasks": reports}, lambda: "\n\n".join(map(as_text, reports)), tuple(notes), rows="tasks")


def _tables(arguments: Namespace, metrics: Sequence[ItemMetric], notes: list[str]) -> list[list[ItemTable]]:
    """What ``--tasks`` and ``--where`` leave: by the metric that it is distilled by, then by every usual one."""
    path, known = Path(arguments.path), {one.name for one in metrics}
    wanted = [arguments.metric, *(name for name in BESIDE if name in known and name != arguments.metric)]
    found = list(tables_by_metric(path, metrics, wanted, arguments.tokens_per_step, notes, arguments.tasks).values())
    if arguments.where:
        asked = Conditions.parsed(arguments.where)
        documents = logged_documents(path, [table.task for table in found[0]])
        found = [asked.kept(tables, documents, notes if tables is found[0] else []) for tables in found]
    return found


def _of_group(
    group: ItemGroup,
    arguments: Namespace,
    metrics: list[ItemMetric],
    others: Sequence[ItemTable],
    notes: list[str],
) -> dict[str, Any]:
    rng, table = np.random.default_rng(arguments.seed), group.table
    target = _target(table, arguments, metrics)
    early = early_checkpoints(table, arguments.early_tokens)
    report = distilled(
        table, arguments.keep, arguments.method, target, early, arguments.repeats, rng, False, arguments.choose_until
    )
    count = kept_count(table.shape[2], arguments.keep, arguments.method)
    chosen_I = chosen_items(chosen_from(table, arguments.choose_until), count, arguments.method)
    card = card_of(table, report, target, arguments.method, len(chosen_I), arguments.seed)
    card["choose_until"] = arguments.choose_until
    rivals = all_items_by(table, report, target, early, others, arguments, metrics)
    card["all_items_by"] = {
        name: {measure: _spread(spread) for measure, spread in measures.items()} for name, measures in rivals.items()
    }
    card["advice"] = advice_on(card)
    if not arguments.out and not arguments.group:
        return card
    kept = group.kept_by_task(chosen_I)
    if arguments.group:
        card["kept_by_task"] = {task: len(ids) for task, ids in kept.items()}
        if dropped := [task for task in group.tasks if task not in kept]:
            notes.append(f"no item is kept of: {', '.join(dropped)}")
    if arguments.out:
        benchmark = _benchmark(kept, arguments, table.metric)
        if benchmark.shots is None and benchmark.tasks[0].base_task:
            said = "how many examples were shown is not known of these samples: tasks show what their base tasks say"
            notes.append(f"{said}; --num-fewshot says otherwise")
        if reported_metric(table.metric) is None and benchmark.tasks[0].base_task:
            notes.append(f"{table.metric} is none of lm-eval's metrics: the tasks report those of their base tasks")
        include, folder = arguments.include_path, Path(arguments.out)
        notes += other_examples(benchmark, include)
        if not arguments.dry_run:
            write_benchmark(folder, benchmark, card, as_text(card), include)
        card["written"] = files_of(folder, benchmark, include)
        card["dry_run"] = arguments.dry_run
    return card


def _benchmark(kept: dict[str, list[int]], arguments: Namespace, metric: str) -> DistilledBenchmark:
    """With ``--group`` every task is its own base task, of lm-eval or in ``--include-path``."""
    tasks = [DistilledTask(task, task if arguments.group else arguments.base_task, ids) for task, ids in kept.items()]
    shots = arguments.num_fewshot
    if shots is None and tasks[0].base_task:
        shots = logged_shots(Path(arguments.path), list(kept))
    return DistilledBenchmark(tasks, metric, arguments.group, shots)


def _target(table: ItemTable, arguments: Namespace, metrics: list[ItemMetric]) -> Target:
    if arguments.target is None:
        return own_target(table)
    frame, sign, named = target_rows(arguments, metrics)
    last = frame.sort_values("step").groupby("series")["value"].last()
    missing = [name for name in table.series_M if name not in last.index]
    if missing:
        nearest = nearest_names(missing[0], last.index)
        raise UserError(f"--target: {arguments.target} has no series {missing[0]!r}. {nearest}")
    return Target(sign * last.loc[list(table.series_M)].to_numpy(np.float64), f"final {named}")


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
        "sq_over": official_selection_K(table.steps_K, table.tokens_K)[1],
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
    how = f"no model chose, measured on all {card['tested_on']}"
    if card["chosen_on"]:
        how = f"chosen on {card['chosen_on']} models, measured on the other {card['tested_on']}"
        how += f", {card['splits']} random splits"
    lines = [
        f"{card['task']} ({card['metric']}): {card['kept']} of {card['items']} items by {card['method']}; {how}",
        f"decisions are held against the {card['target']}",
        *_measures(card),
    ]
    if card.get("sq_over"):
        lines.append(f"SQ {card['sq_over']}")
    for metric, measures in card.get("all_items_by", {}).items():
        shown = ", ".join(f"{name} {_shown(spread)}" for name, spread in measures.items())
        lines.append(f"all items by {metric}: {shown}")
    if "advice" in card:
        lines.append(f"advice: {card['advice']}")
    if card["overlap_of_choices"] is not None:
        lines.append(f"two choices on different halves share {card['overlap_of_choices']:.0%} of their items")
    lines.append(f"note: {card['note']}; gain is chosen minus random")
    if "kept_by_task" in card:
        lines.append("kept: " + ", ".join(f"{task} {count}" for task, count in card["kept_by_task"].items()))
    if "written" in card:
        lines.append(("would write " if card["dry_run"] else "wrote ") + ", ".join(card["written"]))
    return "\n".join(wrapped(lines))


def _measures(card: dict[str, Any]) -> list[str]:
    """A line for each measure, with all items, random ones, the chosen, their gain, and what simple choices give."""
    rivals = [name for name in BASELINES if name in next(iter(card["held_out"].values()), {})]
    rows = []
    for name, arms in card["held_out"].items():
        cells = [_shown(arms[arm]) for arm in ("all", "random", "chosen")] + [_shown(card["gain_over_random"][name])]
        rows.append([name, *cells, *(_shown(arms[arm]) for arm in rivals)])
    return text_table(["measure", "all items", "random items", "chosen items", "gain", *rivals], rows, 1)


def _shown(spread: dict[str, float | None]) -> str:
    if spread["mean"] is None:
        return "undefined"
    return f"{spread['mean']:.3f} [{spread['low']:.3f}, {spread['high']:.3f}]"
