"""``e2lm merge CONFIG OUT``, and its actions: check, sweep, strategies."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from e2lm.answer import Answer
from e2lm.argument import COUNT, file_to_write, folder_to_write
from e2lm.command import Action, Command, CommandParser
from e2lm.errors import UserError, nearest_names
from e2lm.plugin_call import printing_aside

if TYPE_CHECKING:
    from e2lm_merge.plan.recipe import Recipe
    from e2lm_merge.plan.source import ModelSource

BYTES_PER_MB = 1_000_000

#: The strategy whose search has a page.
PICTURED = "hi_merging"


def _configure(parser: CommandParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help="merge config in mergekit's YAML")
    parser.add_argument("output", type=folder_to_write, metavar="OUT", help="folder to write; must not exist")
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything, say what would be done, write nothing"
    )
    _configure_allow(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--threads", type=COUNT, default=2, help="threads (default 2); the result is the same")
    parser.add_argument("--shard-size", type=COUNT, default=None, metavar="MB", help="largest file, in MB")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument(
        "--page",
        type=file_to_write,
        metavar="FILE.html",
        help="draw the conflicts that hi_merging finds, layer by layer",
    )


def _configure_allow(parser: CommandParser) -> None:
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="CHECK",
        help="merge although this check of the models fails; repeat for more (`e2lm merge check` names them)",
    )
    parser.add_argument(
        "--allow-pickle",
        action="store_true",
        help="read pickled weights (.bin), which can run code",
    )


def _read(options: Namespace) -> Recipe:
    """The recipe, with what the command line allows beside it."""
    from e2lm_merge.plan.recipe import AllowedCheck, read_recipe

    recipe = read_recipe(options.config)
    for name in options.allow:
        if name not in get_args(AllowedCheck):
            raise UserError(f"--allow: unknown check {name!r}. {nearest_names(name, get_args(AllowedCheck))}")
    return recipe.model_copy(
        update={
            "allow": (*recipe.allow, *options.allow),
            "allow_pickle": recipe.allow_pickle or options.allow_pickle,
        }
    )


def run_merge(options: Namespace) -> Answer:
    """Plan what the config says, and unless it is a dry run, merge; where it is to be scored, that first."""
    with printing_aside(options.json):
        return _planned_or_merged(options)


def _planned_or_merged(options: Namespace) -> Answer:
    from e2lm.merge_strategy import ScoredMerge
    from e2lm_merge.output.folder import check_output
    from e2lm_merge.plan.compatibility import tell
    from e2lm_merge.plan.merge_plan import check_whole_numbers, find_strategy, plan_merge
    from e2lm_merge.plan.recipe import recipe_from_data

    recipe = _read(options)
    check_output(options.output)
    searched: dict[str, Any] = {}
    with _named_after(options.config):
        strategy = find_strategy(recipe.merge_method)
        _check_page(options.page, strategy.name)
        if isinstance(strategy, ScoredMerge):
            search = strategy.search(recipe.model_dump(mode="json"), options.config.parent)
            searched = {"strategy": strategy.name, "cost": dict(search.cost)}
            words = (
                f"{strategy.name}: at most {searched['cost']['worst_case_total']} evaluations of the selection items"
            )
            if options.dry_run:
                return Answer({**searched, "dry_run": True}, lambda: words)
            if not options.json:
                print(words)
            found, searched["selection"] = search.run(options.quiet or options.json)
            recipe = recipe_from_data(dict(found), strategy.name)
            _write_page(options, searched["selection"])
        plan = plan_merge(recipe, options.config.parent)
        check_whole_numbers(plan)
    tell(plan.findings)
    return _merge(plan, options, searched)


def _check_page(page: Path | None, strategy: str) -> None:
    if page is not None and page.suffix.lower() != ".html":
        raise UserError(f"--page {page}: give a file that ends in .html")
    if page is not None and strategy != PICTURED:
        raise UserError(
            f"--page: it shows conflicts between layers, which {PICTURED!r} finds and {strategy!r} does not"
        )


def _write_page(options: Namespace, report: Mapping[str, Any]) -> None:
    from e2lm.atomic_file import write_text
    from e2lm_merge.search.conflict_page import conflict_page

    if options.page is not None:
        write_text(options.page, conflict_page(report, float(report["z"]), options.config))


@contextmanager
def _named_after(config: Path) -> Iterator[None]:
    """Mistakes in the plan name the config that it is of."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{config}: {error}") from error


def _merge(plan: Any, options: Namespace, more: Mapping[str, Any]) -> Answer:
    """Merge into the folder unless it is a dry run, and report; ``more`` joins the report."""
    from e2lm_merge.output.folder import merge_to_folder
    from e2lm_merge.output.layout import DEFAULT_SHARD_BYTES

    report: dict[str, Any] = {
        "strategy": plan.strategy.name,
        "models": [model.label for model in plan.models],
        "donor": plan.donor.label,
        "tensors": len(plan.merges),
        "params": plan.params,
        "output_bytes": plan.output_bytes,
        "output": str(options.output),
        "dry_run": options.dry_run,
        "warnings": [f"{one.model}: {one.message}" for one in plan.findings],
        **more,
    }
    if not options.dry_run:
        started = time.perf_counter()
        shard_bytes = DEFAULT_SHARD_BYTES if options.shard_size is None else options.shard_size * BYTES_PER_MB
        outcome = merge_to_folder(plan, options.output, options.threads, shard_bytes, options.quiet or options.json)
        report |= {"resumed_tensors": outcome.resumed, "wall_s": round(time.perf_counter() - started, 3)}
    verb = "would merge" if options.dry_run else "merged"
    words = (
        f"{verb} {', '.join(report['models'])} by {plan.strategy.name} into {options.output}\n"
        f"{report['params']:,} numbers in {report['tensors']} tensors, {plan.output_bytes / 1e6:,.1f} MB; "
        f"{_taken(plan.donor)} of {plan.donor.label}"
    )
    return Answer(report, lambda: words, ensure_ascii=False)


def _taken(donor: ModelSource) -> str:
    from e2lm_merge.plan.compatibility import has_tokenizer

    taken = [*(["config"] if donor.config else []), *(["tokenizer"] if has_tokenizer(donor) else [])]
    return " and ".join(taken) or "neither config nor tokenizer"


def _configure_check(parser: CommandParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help="merge config in mergekit's YAML")
    _configure_allow(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


#: Columns of the table of models: field, head.
COLUMNS = (
    ("model", "model"), ("architecture", "architecture"), ("layers", "layers"), ("heads", "heads"), ("kv_heads", "kv"),
    ("head_dim", "size"), ("rope_theta", "rope"), ("norm_eps", "norm"), ("activation", "activation"), ("tied", "tied"),
    ("dtypes", "types"), ("tokens", "tokens"), ("tokenizer", "tokenizer"), ("chat_template", "template"),
)  # fmt: skip


def run_check(options: Namespace) -> Answer:
    """A line per model, and what speaks against their merge; exit code 1 where something leaves it no meaning."""
    from e2lm_merge.plan.compatibility import described
    from e2lm_merge.plan.merge_plan import check_merge

    recipe = _read(options)
    with _named_after(options.config):
        found = check_merge(recipe, options.config.parent)
    rows = [described(model) for model in found.models]
    report = {
        "donor": found.donor.label,
        "models": rows,
        "findings": [asdict(one) for one in found.findings],
        "errors": found.errors,
    }
    lines = [
        *_table([[head for _, head in COLUMNS], *([_cell(row[field]) for field, _ in COLUMNS] for row in rows)]),
        f"{_taken(found.donor)} of {found.donor.label}",
        *(f"{one.severity}: {one.model}: {one.message} [{one.check}]" for one in found.findings),
        f"{found.errors} errors, {len(found.findings) - found.errors} warnings",
    ]
    code = 1 if found.errors else 0
    return Answer(report, lambda: "\n".join(lines), rows="models", code=code, ensure_ascii=False)


def _cell(value: object) -> str:
    if isinstance(value, list):
        return "+".join(map(str, value))
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _configure_strategies(parser: CommandParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def run_strategies(options: Namespace) -> int:
    """Every registered strategy with formula, source and defaults."""
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
    """The same as rows of a table."""
    from e2lm.merge_strategy import MergeStrategy
    from e2lm.plugin_manager import plugin_manager

    found: list[MergeStrategy] = plugin_manager().all("e2lm_register_merge_strategies", MergeStrategy, "merge strategy")
    rows = []
    for one in found:
        every = {**one.model_parameters, **one.parameters}
        rows.append(
            {
                "name": one.name,
                "description": one.description,
                "formula": one.formula,
                "source": one.source,
                "needs_base": one.needs_base,
                "parameters": one.defaults,
                "model_parameters": one.model_defaults,
                "ranges": {name: parameter.range for name, parameter in every.items() if parameter.range},
                "choices": {name: list(parameter.choices) for name, parameter in every.items() if parameter.choices},
            }
        )
    return rows


MERGE_COMMAND = Command.with_actions(
    "merge",
    "Merge checkpoints or fine-tunes; sweep over merges.",
    {
        "sweep": Action(
            "Merge in memory at every point of a grid, score on selection items, confirm the best on others.",
            "e2lm_merge.cli.sweep:configure",
            "e2lm_merge.cli.sweep:run",
        ),
        "check": Action(
            "Hold the models of CONFIG beside each other: a table, errors and warnings; nothing is merged.",
            _configure_check,
            run_check,
        ),
        "strategies": Action("List the merge strategies.", _configure_strategies, run_strategies),
    },
    default=Action("Merge models as CONFIG (mergekit's YAML) says into the new folder OUT.", _configure, run_merge),
)
