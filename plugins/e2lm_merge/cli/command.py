"""``e2lm merge CONFIG OUT``, ``e2lm merge sweep``, ``e2lm merge strategies``."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from e2lm.errors import UserError, one_line
from e2lm_merge.plan.recipe import Recipe, read_recipe

BYTES_PER_MB = 1_000_000


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise UserError(f"{self.prog}: {one_line(message)} (see {self.prog} --help)")


def run_merge_command(arguments: Sequence[str]) -> int:
    """Run the sub-command that the first word names; anything else is a config."""
    if arguments and arguments[0] == "strategies":
        return _run_strategies(arguments[1:])
    if arguments and arguments[0] == "sweep":
        from e2lm_merge.cli.sweep import run_sweep

        return run_sweep(arguments[1:])
    return _run_merge(arguments)


def _run_strategies(arguments: Sequence[str]) -> int:
    parser = _Parser(prog="e2lm merge strategies", description="List the merge strategies.", allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(list(arguments))
    rows = strategy_table()
    if options.json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return 0
    for row in rows:
        print(f"{row['name']:<17} {row['description']}\n{'':<17} {row['formula']}\n{'':<17} {row['source']}")
        parameters = {**row["model_parameters"], **row["parameters"]}
        if parameters:
            listed = ", ".join(f"{name}={value}" for name, value in parameters.items())
            print(f"{'':<17} {listed}")
    return 0


def strategy_table() -> list[dict[str, Any]]:
    """Every registered strategy with formula, source and defaults."""
    from e2lm.merge_strategy import MergeStrategy
    from e2lm.plugin_manager import plugin_manager

    found: list[MergeStrategy] = plugin_manager().all("e2lm_register_merge_strategies", MergeStrategy, "merge strategy")
    return [
        {
            "name": one.name,
            "description": one.description,
            "formula": one.formula,
            "source": one.source,
            "needs_base": one.needs_base,
            "parameters": dict(one.defaults),
            "model_parameters": dict(one.model_defaults),
            "ranges": dict(one.ranges),
            "choices": {name: list(allowed) for name, allowed in one.choices.items()},
        }
        for one in found
    ]


def _merge_parser() -> _Parser:
    parser = _Parser(
        prog="e2lm merge",
        description="Merge models as CONFIG (mergekit's YAML) says into the new folder OUT. "
        "Also: e2lm merge sweep --help, e2lm merge strategies.",
        allow_abbrev=False,
    )
    parser.add_argument("config", type=Path, metavar="CONFIG", help="merge config in mergekit's YAML")
    parser.add_argument("output", type=Path, metavar="OUT", help="folder to write; must not exist")
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything, say what would be done, write nothing"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--threads", type=_positive, default=2, help="threads (default 2); the result is the same")
    parser.add_argument("--shard-size", type=_positive, default=None, metavar="MB", help="largest file, in MB")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}; expected a whole number above 0")
    return number


def _run_merge(arguments: Sequence[str]) -> int:
    options = _merge_parser().parse_args(list(arguments))
    recipe = read_recipe(options.config)
    from e2lm_merge.output.folder import check_output
    from e2lm_merge.plan.plan import find_strategy

    check_output(options.output)
    with _named_after(options.config):
        strategy = find_strategy(recipe.merge_method)
    if strategy.needs_score:
        from e2lm_merge.search.scored_merge import run_scored

        return run_scored(recipe, options)
    return merge_recipe(recipe, options, {})


@contextmanager
def _named_after(config: Path) -> Iterator[None]:
    """Mistakes in the plan name the config that it is of."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{config}: {error}") from error


def merge_recipe(recipe: Recipe, options: argparse.Namespace, more: dict[str, Any]) -> int:
    """Plan ``recipe``, and unless it is a dry run, merge; ``more`` joins the report."""
    from e2lm_merge.output.folder import merge_to_folder
    from e2lm_merge.output.layout import DEFAULT_SHARD_BYTES
    from e2lm_merge.plan.plan import plan_merge

    with _named_after(options.config):
        plan = plan_merge(recipe, options.config.parent)
    report: dict[str, Any] = {
        "strategy": plan.strategy.name,
        "models": [model.label for model in plan.models],
        "donor": plan.donor.label,
        "tensors": len(plan.merges),
        "params": plan.params,
        "output_bytes": plan.output_bytes,
        "output": str(options.output),
        "dry_run": options.dry_run,
        **more,
    }
    if not options.dry_run:
        started = time.perf_counter()
        shard_bytes = DEFAULT_SHARD_BYTES if options.shard_size is None else options.shard_size * BYTES_PER_MB
        outcome = merge_to_folder(plan, options.output, options.threads, shard_bytes, options.quiet or options.json)
        report |= {"resumed_tensors": outcome.resumed, "wall_s": round(time.perf_counter() - started, 3)}
    if options.json:
        print(json.dumps(report, indent=1, ensure_ascii=False))
        return 0
    verb = "would merge" if options.dry_run else "merged"
    print(f"{verb} {', '.join(report['models'])} by {plan.strategy.name} into {options.output}")
    print(f"{report['params']:,} numbers in {report['tensors']} tensors, {plan.output_bytes / 1e6:,.1f} MB; "
          f"config and tokenizer of {plan.donor.label}")  # fmt: skip
    return 0
