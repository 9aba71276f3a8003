"""``e2lm eval RUN --tasks A,B --out OUT``: every checkpoint of a run, in one process."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2lm.answer import Answer
from e2lm.argument import AMOUNT, COUNT, COUNT_OR_NONE, Number, Several, folder_to_write
from e2lm.command import Command
from e2lm.errors import UserError
from e2lm_adapters.checkpoints.run_command import configure_given

if TYPE_CHECKING:
    from e2lm.series import Series


def configure_scoring(parser: ArgumentParser) -> None:
    """Which runs are scored on what, and how; ``e2lm watch`` has the same."""
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="folder of a run or of several, or owner/name[@revision,...] on the Hub"
    )
    parser.add_argument(
        "--tasks", action=Several, nargs=None, required=True, metavar="A,B", help="lm-eval tasks, by commas or spaces"
    )
    parser.add_argument(
        "--out", required=True, type=folder_to_write, help="folder for results; the same folder resumes"
    )
    parser.add_argument("--model", default="e2lm-hf", help="lm-eval model (default: e2lm-hf)")
    parser.add_argument("--model-args", default="", metavar="K=V,...", help="further arguments of the model: dtype=...")
    parser.add_argument("--limit", type=COUNT, metavar="N", help="the first N items of each task only")
    parser.add_argument(
        "--num-fewshot", type=COUNT_OR_NONE, metavar="N", help="examples in the prompt (default: the task's own)"
    )
    parser.add_argument(
        "--metrics", action=Several, nargs=None, default=None, metavar="A,B",
        help="item metrics for the Scores table (default: all)",
    )  # fmt: skip
    parser.add_argument("--include-path", action="append", default=[], type=Path, metavar="DIR", help="more tasks")
    parser.add_argument(
        "--batch-size",
        type=_batch_size,
        default=32,
        metavar="N",
        help="rows of stock scoring; e2lm-hf sizes its own batches",
    )
    parser.add_argument(
        "--hub-cache", type=folder_to_write, metavar="DIR", help="fetched checkpoints (default: HF_HOME/e2lm)"
    )
    parser.add_argument("--keep", type=COUNT, default=2, metavar="N", help="how many of them are kept (default: 2)")
    parser.add_argument("--allow-pickle", action="store_true", help="read pytorch_model.bin too (weights_only)")
    configure_given(parser)
    parser.add_argument("--device", help="cuda, cuda:1, cpu (default: GPU if there is one)")
    parser.add_argument(
        "--tokens-per-step", type=AMOUNT, metavar="N", help="tokens per step, where the run does not say"
    )
    parser.add_argument("--no-lm-eval-files", action="store_true", help="leave out results_*.json and samples_*.jsonl")


def _configure(parser: ArgumentParser) -> None:
    configure_scoring(parser)
    parser.add_argument(
        "--jobs",
        type=COUNT,
        metavar="N",
        help="processes that share the work (default: 1; on Ray: all the cluster has)",
    )
    parser.add_argument("--executor", choices=("local", "ray"), default="local", help="where the work runs")
    parser.add_argument("--address", metavar="ADDR", help="Ray cluster (default: RAY_ADDRESS, else one started here)")
    parser.add_argument("--worker-cpus", type=Number(least=0), default=1.0, metavar="N", help="CPUs of a worker on Ray")
    parser.add_argument("--worker-gpus", type=_gpus, metavar="N", help="GPUs of a worker (default: 1 if there are any)")
    parser.add_argument("--tasks-per-unit", type=COUNT, metavar="N", help="tasks scored together (default: all)")
    parser.add_argument(
        "--verify", type=COUNT_OR_NONE, default=0, metavar="N", help="score N requests the stock way too"
    )
    parser.add_argument(
        "--merge", action="append", default=[], metavar="SPEC", help="also score the averaged run: wsm:window=5"
    )
    parser.add_argument(
        "--log-to", action=Several, nargs=None, metavar="A,B", help="trackers: tensorboard, wandb, trackio"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no table")
    parser.add_argument("--json", action="store_true", help="print the Scores table as JSON")
    parser.add_argument("--dry-run", action="store_true", help="say what would be evaluated, and stop")


def request_of(arguments: Namespace, series: Sequence[Series], source: Any, **more: Any) -> Any:
    """The request to score ``series`` by the options of :func:`configure_scoring`; ``more`` are fields of it."""
    from e2lm_adapters.eval.request import EvaluationRequest

    options: dict[str, Any] = {
        "tasks": tuple(arguments.tasks),
        "out": arguments.out,
        "model": arguments.model,
        "model_arguments": _model_arguments(arguments.model_args),
        "limit": arguments.limit,
        "num_fewshot": arguments.num_fewshot,
        "include_paths": tuple(arguments.include_path),
        "metrics": None if arguments.metrics is None else tuple(arguments.metrics),
        "batch_size": arguments.batch_size,
        "device": arguments.device,
        "write_lm_eval_files": not arguments.no_lm_eval_files,
    }
    return EvaluationRequest(series=tuple(series), source=source, **{**options, **more})


def _gpus(text: str) -> float:
    number = Number(least=0)(text)
    if number > 1 and number != int(number):
        raise ArgumentTypeError(f"found {text!r}; above 1 a worker has whole GPUs")
    return number


def _batch_size(text: str) -> int | str:
    """``32``, or what lm-eval's models find out themselves: ``auto``, ``auto:4``."""
    if text == "auto":
        return text
    if text.startswith("auto:"):
        return f"auto:{COUNT(text.removeprefix('auto:'))}"
    return COUNT(text)


def _run(arguments: Namespace) -> Answer:
    from e2lm_adapters.checkpoints.source import CheckpointSource

    trackers = _trackers(arguments.log_to)
    source = CheckpointSource(arguments.hub_cache, arguments.keep, arguments.allow_pickle)
    series, merged, unread = _series(arguments, source)
    if arguments.dry_run:
        return _dry_run(arguments, series, unread)
    from e2lm_adapters.eval.series import evaluate_series
    from e2lm_adapters.trackers.tracker import tracked

    model_arguments = _model_arguments(arguments.model_args)
    if arguments.verify:
        model_arguments["verify"] = arguments.verify
    request = request_of(
        arguments,
        series,
        source,
        model_arguments=model_arguments,
        device="cpu" if arguments.worker_gpus == 0 and arguments.device is None else arguments.device,
        jobs=arguments.jobs or 1,
        quiet=arguments.quiet or arguments.json,
        merged=merged,
        ray=_ray_options(arguments, model_arguments),
        tasks_per_unit=arguments.tasks_per_unit,
        unread=unread,
    )
    with tracked(trackers, arguments.out):
        evaluation = evaluate_series(request)
    scores, left_out = evaluation.scores, evaluation.left_out
    for one in (*left_out, *evaluation.notes):
        print(one, file=sys.stderr)
    if left_out and not len(scores):
        raise UserError(f"{arguments.out}: no score, since nothing could be used; {arguments.out}/run.json lists why")
    for line in evaluation.failed_checks:
        print(line, file=sys.stderr)
    told = {"left_out": left_out, "notes": evaluation.notes}
    lists = {name: [one.model_dump(mode="json") for one in found] for name, found in told.items()}
    checkpoints = sum(len(one.checkpoints) for one in series)
    words = (
        f"{checkpoints} checkpoints of {len(series)} series, {len(scores)} scores: {arguments.out}/scores.csv\n"
        f"next: e2lm signal {arguments.out}"
    )
    return Answer(
        {"scores": scores.records(), "out": str(arguments.out), **lists},
        lambda: "" if arguments.quiet else words,
        table=scores.frame.copy,
        code=1 if evaluation.failed_checks else 0,
        indent=None,
    )


def _trackers(names: Sequence[str]) -> tuple[str, ...]:
    from e2lm_adapters.trackers.tracker import checked_trackers

    return checked_trackers(tuple(names))


def _ray_options(arguments: Namespace, model_arguments: Mapping[str, Any]) -> Any:
    from e2lm_adapters.eval.request import RayOptions
    from e2lm_adapters.vllm.devices import engine_gpus, workers_are_on_ray

    gpus = engine_gpus(model_arguments)
    if arguments.executor != "ray":
        for option in ("address", "worker_gpus"):
            if getattr(arguments, option) is not None:
                raise UserError(f"--{option.replace('_', '-')}: needs --executor ray")
        return None
    from e2lm_adapters.eval.ray.address import check_address
    from e2lm_adapters.eval.ray.cluster import cluster_address, imported_ray

    ray, address = imported_ray(), cluster_address(arguments.address)
    if address is not None:
        check_address(ray, address)
    if arguments.worker_gpus and arguments.worker_gpus < gpus:
        raise UserError(f"--worker-gpus {arguments.worker_gpus:g}: the model takes {gpus} (--model-args); leave it out")
    on_cpu = (arguments.device or "").startswith("cpu")
    return RayOptions(
        address,
        arguments.jobs,
        arguments.worker_cpus,
        arguments.worker_gpus,
        engine_gpus=0 if on_cpu else gpus,
        engine_on_ray=workers_are_on_ray(model_arguments),
    )


def _series(arguments: Namespace, source: Any) -> tuple[list[Any], tuple[Any, ...], tuple[Any, ...]]:
    """The runs with their averages behind them, how those are made, and which checkpoints cannot be read, with why."""
    from e2lm_adapters.checkpoints.piece import Given
    from e2lm_adapters.checkpoints.run import read_runs
    from e2lm_adapters.checkpoints.series import hub_series, is_hub_reference

    tokenizer = "tokenizer=" in arguments.model_args
    given = Given(arguments.config, arguments.base, arguments.allow_pickle, tokenizer)
    runs: list[Series] = []
    unread: list[Any] = []
    for run in arguments.runs:
        if is_hub_reference(run):
            runs += hub_series(run, source, arguments.tokens_per_step)
        else:
            found, left_out = read_runs(Path(run), given, source, arguments.tokens_per_step)
            runs += found
            unread += left_out
    if not runs:
        raise UserError(_nothing_usable(arguments.runs, unread))
    if not arguments.merge:
        return runs, (), tuple(unread)
    for one in runs:
        for point in one.checkpoints:
            if not source.is_at_hand(point):
                raise UserError(f"--merge: {point.location} is no folder of safetensors; fetch or convert it first")
    from e2lm_adapters.eval.merged import with_merges

    merged = with_merges(runs, arguments.merge)
    return [*runs, *(one.series for one in merged)], merged, tuple(unread)


def _nothing_usable(runs: list[str], unread: list[Any]) -> str:
    told = "; ".join(f"{one.what}: {one.why}" for one in unread[:8]) + (" ..." if len(unread) > 8 else "")
    return f"{', '.join(runs)}: no checkpoint can be read: {told}; `e2lm checkpoints RUN` lists all"


def _model_arguments(text: str) -> dict[str, Any]:
    """``K=V,...`` as lm-eval reads it (``lm_eval.utils.simple_parse_args_string``), which takes a second to import."""
    pairs = (one.split("=") for one in text.strip().split(",") if one)
    arguments = {name: _value("=".join(rest)) for name, *rest in pairs}
    if "pretrained" in arguments:
        raise UserError("--model-args pretrained=...: the checkpoints come from RUN; leave it out")
    return arguments


def _value(text: str) -> Any:
    """``true``, ``none``, a number, or text, which quotes leave as it is."""
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    known = {"true": True, "false": False, "none": None}
    if text.lower() in known:
        return known[text.lower()]
    for kind in (int, float) if text.lstrip("+-").isdigit() else (float,):
        with suppress(ValueError):
            return kind(text)
    return text


def _dry_run(arguments: Namespace, series: list[Any], unread: tuple[Any, ...]) -> Answer:
    plan: dict[str, Any] = {
        "tasks": list(arguments.tasks),
        "out": str(arguments.out),
        "series": [
            {"name": one.name, "params": one.params, "checkpoints": [point.step for point in one.checkpoints]}
            for one in series
        ],
        "left_out": [one.model_dump(mode="json") for one in unread],
    }
    for one in unread:
        print(one, file=sys.stderr)
    lines = [f"{one['name']}: {one['params']:,} parameters, steps {one['checkpoints']}" for one in plan["series"]]
    words = [*lines, f"would evaluate {', '.join(plan['tasks'])} into {arguments.out}"]
    return Answer(plan, lambda: "\n".join(words), rows="series", indent=None)


EVAL_COMMAND = Command("eval", "Evaluate every checkpoint of a run, in one process.", _configure, _run)
