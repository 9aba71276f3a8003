"""``e2lm eval RUN --tasks A,B --out OUT``: every checkpoint of a run, in one process."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from e2lm.command import Command
from e2lm.errors import UserError


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folder of a training run, or of several runs"
    )
    parser.add_argument("--tasks", required=True, help="lm-eval tasks, comma-separated")
    parser.add_argument("--out", required=True, type=Path, help="folder for results; the same folder resumes")
    parser.add_argument("--model", default="e2lm-hf", help="lm-eval model (default: e2lm-hf)")
    parser.add_argument("--model-args", default="", metavar="K=V,...", help="further arguments of the model: dtype=...")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N items of each task only")
    parser.add_argument("--num-fewshot", type=int, metavar="N", help="examples in the prompt (default: the task's own)")
    parser.add_argument("--metrics", metavar="A,B", help="item metrics for the Scores table (default: all)")
    parser.add_argument("--include-path", action="append", default=[], type=Path, metavar="DIR", help="more tasks")
    parser.add_argument("--batch-size", default="32", help="rows of stock scoring; e2lm-hf sizes its own batches")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes that share the work (default: 1)")
    parser.add_argument("--device", help="cuda, cuda:1, cpu (default: GPU if there is one)")
    parser.add_argument(
        "--tokens-per-step", type=float, metavar="N", help="tokens per step, where the run does not say"
    )
    parser.add_argument("--verify", type=int, default=0, metavar="N", help="score N requests the stock way too")
    parser.add_argument("--no-lm-eval-files", action="store_true", help="leave out results_*.json and samples_*.jsonl")
    parser.add_argument(
        "--merge", action="append", default=[], metavar="SPEC", help="also score the averaged run: wsm:window=5"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no table")
    parser.add_argument("--json", action="store_true", help="print the Scores table as JSON")
    parser.add_argument("--dry-run", action="store_true", help="say what would be evaluated, and stop")


def _run(arguments: Namespace) -> int:
    series, merged = _series(arguments)
    if arguments.limit is not None and arguments.limit < 1:
        raise UserError(f"--limit: found {arguments.limit}, expected 1 or more")
    if arguments.jobs < 1:
        raise UserError(f"--jobs: found {arguments.jobs}, expected 1 or more")
    if arguments.dry_run:
        return _dry_run(arguments, series)
    from e2lm_adapters.evaluation_request import EvaluationRequest
    from e2lm_adapters.series_evaluation import evaluate_series

    model_arguments = _model_arguments(arguments.model_args)
    if arguments.verify:
        model_arguments["verify"] = arguments.verify
    scores = evaluate_series(
        EvaluationRequest(
            series=tuple(series),
            tasks=_names(arguments.tasks, "--tasks"),
            out=arguments.out,
            model=arguments.model,
            model_arguments=model_arguments,
            limit=arguments.limit,
            num_fewshot=arguments.num_fewshot,
            include_paths=tuple(arguments.include_path),
            metrics=None if arguments.metrics is None else _names(arguments.metrics, "--metrics"),
            batch_size=int(arguments.batch_size) if arguments.batch_size.isdigit() else arguments.batch_size,
            device=arguments.device,
            jobs=arguments.jobs,
            write_lm_eval_files=not arguments.no_lm_eval_files,
            quiet=arguments.quiet or arguments.json,
            merged=merged,
        )
    )
    if arguments.json:
        print(json.dumps({"scores": scores.records(), "out": str(arguments.out)}))
    elif not arguments.quiet:
        checkpoints = sum(len(one.checkpoints) for one in series)
        print(f"{checkpoints} checkpoints of {len(series)} series, {len(scores)} scores: {arguments.out}/scores.csv")
        print(f"next: e2lm signal {arguments.out}")
    return 0


def _series(arguments: Namespace) -> tuple[list[Any], tuple[Any, ...]]:
    """The runs with their averages behind them, and how those are made."""
    from e2lm.series import Series, series_folders

    runs = [Series.read(folder, arguments.tokens_per_step) for run in arguments.runs for folder in series_folders(run)]
    if not arguments.merge:
        return runs, ()
    from e2lm_adapters.merged_series import with_merges

    merged = with_merges(runs, arguments.merge)
    return [*runs, *(one.series for one in merged)], merged


def _names(text: str, option: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise UserError(f"{option}: no name given; separate names by commas")
    return names


def _model_arguments(text: str) -> dict[str, Any]:
    from lm_eval.utils import simple_parse_args_string

    arguments = dict(simple_parse_args_string(text))
    if "pretrained" in arguments:
        raise UserError("--model-args pretrained=...: the checkpoints come from RUN; leave it out")
    return arguments


def _dry_run(arguments: Namespace, series: list[Any]) -> int:
    plan: dict[str, Any] = {
        "tasks": list(_names(arguments.tasks, "--tasks")),
        "out": str(arguments.out),
        "series": [
            {"name": one.name, "params": one.params, "checkpoints": [point.step for point in one.checkpoints]}
            for one in series
        ],
    }
    if arguments.json:
        print(json.dumps(plan))
    else:
        for one in plan["series"]:
            print(f"{one['name']}: {one['params']:,} parameters, steps {one['checkpoints']}")
        print(f"would evaluate {', '.join(plan['tasks'])} into {arguments.out}")
    return 0


EVAL_COMMAND = Command("eval", "Evaluate every checkpoint of a run, in one process.", _configure, _run)
