"""``e2lm train CONFIG``: from text to a ladder of models with all their checkpoints."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from e2lm.answer import Answer, printed_by
from e2lm.plugin_call import printing_aside
from e2lm_curriculum.cli.compare import train_and_compare
from e2lm_curriculum.config.comparison import COMPARISON_SECTION
from e2lm_curriculum.config.training import TRAINING_FIELDS, TrainingConfig, config_data
from e2lm_curriculum.train.checkpoint_grid import ASSUMED_WORDS_PER_TOKEN
from e2lm_curriculum.train.ladder import require_trainable, train
from e2lm_curriculum.train.locks import is_main
from e2lm_curriculum.train.model_run import FLOAT32_BYTES, ModelRun, model_runs
from e2lm_curriculum.train.prepared import HELD_OUT_FILE, PreparedCorpus


def run_train(arguments: Namespace) -> int | Answer:
    """Train what the configuration file and the options over it say, or all arms of its section ``compare``."""
    with printing_aside(arguments.json):
        return _trained(arguments)


def _trained(arguments: Namespace) -> int | Answer:
    data, source = chosen_data(arguments)
    quiet = arguments.quiet or arguments.json
    if COMPARISON_SECTION in data:
        return train_and_compare(data, source, arguments.dry_run, quiet)
    config = TrainingConfig.from_data(data, source)
    if arguments.dry_run:
        require_trainable(config)
        return _answer(planned(config))
    train(config, quiet=quiet)
    return _answer(trained(config)) if is_main() else 0


def chosen_data(arguments: Namespace) -> tuple[dict[str, Any], str]:
    """The fields of the configuration file with the options over them, and what to call them in errors."""
    given: dict[str, Any] = {
        name: value for name, value in vars(arguments).items() if name in TRAINING_FIELDS and value is not None
    }
    if "out" in given:
        given["out"] = str(given["out"])
    data = config_data(Path(arguments.config)) if arguments.config else {}
    return {**data, **given}, arguments.config or "e2lm train"


def planned(config: TrainingConfig) -> dict[str, Any]:
    """What a run of ``config`` would do."""
    rows = [_row(run, run.params(config.data.vocabulary)) for run in model_runs(config)]
    report = {"out": config.run.out, "curriculum": config.fields["curriculum"], "series": rows}
    if config.run.checkpoint_grid == "babylm" and PreparedCorpus.read(config.run.out_folder) is None:
        report["assumed_words_per_token"] = ASSUMED_WORDS_PER_TOKEN
    return report


def _row(run: ModelRun, params: int) -> dict[str, Any]:
    grid = run.grid
    return {
        "name": run.size.name,
        "folder": str(run.folder),
        "params": params,
        "params_non_embedding": run.params_non_embedding,
        "head_dimension": run.size.head_dimension,
        "tokens": run.budget.tokens,
        "steps": run.budget.steps,
        "checkpoints": list(grid),
        "disk_bytes": len(grid) * FLOAT32_BYTES * params,
        "finished": run.is_finished,
    }


def trained(config: TrainingConfig) -> dict[str, Any]:
    """What a finished run of ``config`` left on disk."""
    prepared = PreparedCorpus.of(config.run.out_folder)
    report = planned(config)
    for row, run in zip(report["series"], model_runs(config), strict=True):
        row["params"] = run.params(prepared.vocabulary)
        row["wall_s"] = run.wall_s
    report["held_out"] = str(config.run.out_folder / HELD_OUT_FILE)
    report["corpus"] = prepared.model_dump(mode="json")
    return report


def _answer(report: dict[str, Any]) -> Answer:
    return Answer(report, printed_by(_print, report), rows="series")


def _print(report: dict[str, Any]) -> None:
    print(f"{'size':<8} {'params':>12} {'non-embedding':>14} {'tokens':>14} {'checkpoints':>12} {'wall s':>8}  folder")
    for row in report["series"]:
        wall = f"{row['wall_s']:.1f}" if "wall_s" in row else ("done" if row["finished"] else "-")
        print(
            f"{row['name']:<8} {row['params']:>12,} {row['params_non_embedding']:>14,} {row['tokens']:>14,} "
            f"{len(row['checkpoints']):>12} {wall:>8}  {row['folder']}"
        )
    if "assumed_words_per_token" in report:
        words = report["assumed_words_per_token"]
        print(
            f"note: {words} words per token are assumed until the corpus is prepared; checkpoints will move with them"
        )
    if "held_out" in report:
        print(f"held-out text: {report['held_out']}")
        for one in report["corpus"]["held_out_shares"]:
            share = one["held_out_characters"] / one["characters"]
            print(f"  {share:6.1%} of {one['characters']:>13,} characters of {one['file']}")
        for note in report["corpus"]["notes"]:
            print(f"note: {note}")
