"""``e2lm merge sweep``: many merges in memory, scored on one split, the best confirmed on another.

Shape suffix: I items.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from e2lm.argument import file_to_write
from e2lm.atomic_file import write_text
from e2lm.command import CommandParser
from e2lm.errors import UserError, nearest_names
from e2lm.merge_strategy import MergeStrategy, Value, parse_merge_spec
from e2lm.plugin_call import printing_aside
from e2lm.progress import progress_bar
from e2lm_merge.plan.compatibility import tell
from e2lm_merge.plan.merge_plan import MergePlan, find_strategy, plan_merge
from e2lm_merge.plan.recipe import Recipe, RecipeModel, RecipeSlice, RecipeSource, read_recipe
from e2lm_merge.search.items import UNIT, build_scoring, interval_of, paired_interval, score_field

#: More candidates than this are surely a slip, and the best of so many is best by luck.
MOST_CANDIDATES = 1000


WithParameters = TypeVar("WithParameters", RecipeModel, RecipeSource, RecipeSlice)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One point of the grid."""

    values: dict[str, Value]
    recipe: Recipe


def parse_grid(texts: Sequence[str]) -> dict[str, list[Value]]:
    """The grid written as ``name=value,value``.

    >>> parse_grid(["window=3,5", "curve=linear,1-sqrt"])
    {'window': [3.0, 5.0], 'curve': ['linear', '1-sqrt']}
    """
    grid: dict[str, list[Value]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not name or not equals or not values:
            raise UserError(f"--grid {text!r}: write name=value,value, for example density=0.2,0.5,0.8")
        if name in grid:
            raise UserError(f"--grid: {name!r} is given twice")
        grid[name] = [parse_merge_spec(f"x:v={value}")[1]["v"] for value in values.split(",")]
    return grid


def candidates(recipe: Recipe, strategy: MergeStrategy, grid: dict[str, list[Value]]) -> list[Candidate]:
    """Every combination; a parameter that models have is set to one value for all of them."""
    known = {**strategy.defaults, **strategy.model_defaults}
    for name in grid:
        if name not in known:
            raise UserError(f"--grid: unknown parameter {name!r} of {strategy.name!r}. {nearest_names(name, known)}")
    points = list(itertools.product(*grid.values()))
    if len(points) > MOST_CANDIDATES:
        raise UserError(
            f"--grid: {len(points)} candidates; at most {MOST_CANDIDATES} are swept, so choose fewer values"
        )
    found = []
    for point in points:
        values = dict(zip(grid, point, strict=True))
        changed = {
            "parameters": {**recipe.parameters, **values},
            "models": tuple(_without(entry, values) for entry in recipe.models),
            "slices": tuple(
                _without(one, values).model_copy(
                    update={"sources": tuple(_without(source, values) for source in one.sources)}
                )
                for one in recipe.slices
            ),
            "score": None,
        }
        found.append(Candidate(values, recipe.model_copy(update=changed)))
    return found


def _without(entry: WithParameters, names: Mapping[str, Value]) -> WithParameters:
    """``entry`` without parameters of these names: its own would win over the shared ones that are swept."""
    kept = {name: value for name, value in entry.parameters.items() if name not in names}
    return entry.model_copy(update={"parameters": kept})


def _unmerged(plan: MergePlan) -> list[tuple[str, Recipe]]:
    """Every model as it is, the base too: what a merge must beat. Of a run, its last checkpoint."""
    labels = [model.label for model in plan.models]
    recipe = plan.recipe
    blank: dict[str, Any] = {
        "merge_method": "linear",
        "parameters": {},
        "score": None,
        "base_model": None,
        "donor": None,
    }
    if recipe.series is not None:
        last = plan.steps[-1]
        return [(f"checkpoint-{last}", recipe.model_copy(update={**blank, "steps": (last,)}))]
    single = {"series": None, "slices": ()}
    return [
        (label, recipe.model_copy(update={**blank, **single, "models": (RecipeModel(model=label),)}))
        for label in labels
    ]


def sweep(recipe: Recipe, grid: dict[str, list[Value]], near: Path | None, quiet: bool) -> dict[str, Any]:
    """The table of all candidates and the confirmation of the best.

    Candidates compare with the best unmerged model, pair by pair on the selection items. The winner was chosen by those
    items, so its own interval there is too good; the report items took no part, and theirs is fair.
    """
    from e2lm_merge.output.in_memory import merged_model

    strategy = find_strategy(recipe.merge_method)
    listed = candidates(recipe, strategy, grid)
    plans = [plan_merge(one.recipe, near) for one in listed]
    tell(plans[0].findings)
    singles = _unmerged(plans[0])
    single_plans = [plan_merge(one, near) for _, one in singles]
    scoring = build_scoring(score_field(recipe), plans[0], near, pooled=True)
    selection, report = scoring.selection[0], scoring.report[0]
    device = score_field(recipe).device
    with progress_bar(len(plans) + len(singles), "evaluations", "sweep", quiet) as bar:

        def scored(plan: MergePlan) -> Any:
            values_I = selection(merged_model(plan).to(device))
            bar.update()
            return values_I

        single_scores = [scored(plan) for plan in single_plans]
        scores = [scored(plan) for plan in plans]
    best_single = int(np.argmax([values_I.mean() for values_I in single_scores]))
    rows = [
        _row(name, {}, values_I, single_scores[best_single])
        for (name, _), values_I in zip(singles, single_scores, strict=True)
    ]
    rows += [
        _row(strategy.name, one.values, values_I, single_scores[best_single])
        for one, values_I in zip(listed, scores, strict=True)
    ]
    best = int(np.argmax([values_I.mean() for values_I in scores]))
    merged_I = report(merged_model(plans[best]).to(device))
    single_I = report(merged_model(single_plans[best_single]).to(device))
    return {
        "unit": UNIT,
        "items": {"selection": scoring.counts[0][0], "report": scoring.counts[0][1]},
        "best_unmerged": singles[best_single][0],
        "rows": rows,
        "best": {"strategy": strategy.name, **listed[best].values},
        "reported": _row(strategy.name, listed[best].values, merged_I, single_I),
    }


def _row(name: str, values: dict[str, Value], values_I: Any, against_I: Any) -> dict[str, Any]:
    value, gain = interval_of(values_I), paired_interval(values_I - against_I)
    return {
        "merge": name,
        **values,
        "value": value["mean"],
        "low": value["low"],
        "high": value["high"],
        "gain": gain["mean"],
        "gain_low": gain["low"],
        "gain_high": gain["high"],
        "n": len(values_I),
    }


def configure(parser: CommandParser) -> None:
    """The arguments of ``e2lm merge sweep``."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="merge config with a score section")
    parser.add_argument(
        "--grid", action="append", default=[], metavar="NAME=V,V", help="values of a parameter; repeat for a grid"
    )
    parser.add_argument("--out", type=file_to_write, default=None, metavar="CSV", help="write the table here as well")
    parser.add_argument("--dry-run", action="store_true", help="check everything and say how many evaluations it takes")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(options: Namespace) -> int:
    """Sweep, or with ``--dry-run`` say what it would take."""
    recipe, near = read_recipe(options.config), options.config.parent
    score_field(recipe)
    grid = parse_grid(options.grid)
    listed = candidates(recipe, find_strategy(recipe.merge_method), grid)
    plan = plan_merge(listed[0].recipe, near)
    evaluations = len(listed) + len(_unmerged(plan)) + 2
    if options.dry_run:
        print(json.dumps({"candidates": len(listed), "evaluations": evaluations, "dry_run": True}))
        return 0
    if not options.json:
        print(f"sweep: {len(listed)} candidates, {evaluations} evaluations")
    with printing_aside(options.json):
        result = sweep(recipe, grid, near, options.quiet or options.json)
    if options.out is not None:
        write_text(options.out, _as_csv(result["rows"], list(grid)))
    print(json.dumps(result, indent=1, ensure_ascii=False) if options.json else _as_text(result, list(grid)))
    return 0


def _as_csv(rows: Sequence[dict[str, Any]], grid: Sequence[str]) -> str:
    fields = ["merge", *grid, "value", "low", "high", "gain", "gain_low", "gain_high", "n"]
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _as_text(result: dict[str, Any], grid: Sequence[str]) -> str:
    lines = [f"{UNIT}; gain is over {result['best_unmerged']}, the best unmerged model; 95 % intervals"]
    for row in result["rows"]:
        lines.append(_line(row, grid))
    counts = result["items"]
    lines.append(f"best on {counts['selection']} selection items; on {counts['report']} items kept apart:")
    lines.append(_line(result["reported"], grid))
    return "\n".join(lines)


def _line(row: dict[str, Any], grid: Sequence[str]) -> str:
    values = " ".join(f"{name}={row[name]}" for name in grid if name in row)
    return (
        f"  {row['merge']} {values:<24} {row['value']:+.5f}  "
        f"gain {row['gain']:+.5f} [{row['gain_low']:+.5f}, {row['gain_high']:+.5f}]"
    )
