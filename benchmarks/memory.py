"""Peak resident memory of ``e2lm-hf`` against stock ``hf`` on the same task, each in a process of its own.

    python benchmarks/memory.py [--items 400] [--batch 32] [--swaps 100] [--json]

Both get the same tokens in a forward pass: stock ``--batch`` rows of the longest request, ours a ``token_budget`` of as
many tokens. Also the peak of ``e2lm eval`` over a series, which holds the next checkpoint besides, and how the memory
grows over ``--swaps`` checkpoints scored one after the other (from the tenth on, when all caches are full).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from series import TASK, Inputs, made_inputs

#: Checkpoints that a series goes through before its memory is looked at.
SETTLED_AFTER = 10
WATCHER = """
import json, os, psutil
from pathlib import Path
from e2lm import hookimpl

@hookimpl
def e2lm_after_checkpoint_scored(series, checkpoint):
    with Path(os.environ["E2LM_MEMORY_LOG"]).open("a") as log:
        log.write(json.dumps([checkpoint.step, psutil.Process().memory_info().rss / 2**20]) + "\\n")
"""


def peak_mib(command: list[str], more: dict[str, str]) -> float:
    """Peak resident memory of ``command``, from the system's own account of that one process."""
    started = subprocess.Popen(command, env={**os.environ, **more}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert started.stderr is not None
    told = started.stderr.read()
    _, status, usage = os.wait4(started.pid, 0)
    started.returncode = os.waitstatus_to_exitcode(status)
    if started.returncode:
        raise SystemExit(f"{' '.join(command)}\nfailed:\n{told.decode()[-3000:]}")
    return usage.ru_maxrss / 1024


def longest_request(inputs: Inputs) -> int:
    """Tokens of the longest context with a choice."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(inputs.checkpoints[0])
    items = [json.loads(line) for line in (inputs.tasks / "test.jsonl").read_text(encoding="utf-8").splitlines()]
    texts = [f"{item['context']} {choice}" for item in items for choice in item["choices"]]
    return max(map(len, tokenizer(texts)["input_ids"]))


def stock_command(inputs: Inputs, model: str, more: str, batch: int, out: Path) -> list[str]:
    arguments = f"pretrained={inputs.checkpoints[0]},dtype=float32{more}"
    command = [sys.executable, "-m", "lm_eval", "run", "--model", model, "--model_args", arguments, "--tasks", TASK]
    command += ["--include_path", str(inputs.tasks), "--batch_size", str(batch), "--device", "cpu"]
    return [*command, "--output_path", str(out), "--log_samples"]


def series_command(inputs: Inputs, run: Path, budget: int, out: Path, *more: str) -> list[str]:
    command = [sys.executable, "-m", "e2lm", "eval", str(run), "--tasks", TASK, "--out", str(out), "--quiet"]
    command += ["--include-path", str(inputs.tasks), "--device", "cpu"]
    return [*command, "--model-args", f"dtype=float32,token_budget={budget}", *more]


def growth(inputs: Inputs, budget: int, swaps: int) -> dict[str, Any]:
    """Resident memory after each of ``swaps`` checkpoints: the same weights under many names."""
    run = inputs.folder / "many"
    run.mkdir()
    for number in range(swaps):
        (run / f"checkpoint-{number + 1}").symlink_to(inputs.checkpoints[number % len(inputs.checkpoints)])
    plugin, log = inputs.folder / "watcher.py", inputs.folder / "memory.log"
    plugin.write_text(WATCHER, encoding="utf-8")
    command = series_command(
        inputs, run, budget, inputs.folder / "grown", "--no-lm-eval-files", "--limit", "20", "--plugin", str(plugin)
    )
    peak_mib(command, {"E2LM_MEMORY_LOG": str(log)})
    sizes = [json.loads(line)[1] for line in log.read_text(encoding="utf-8").splitlines()]
    settled = sizes[min(SETTLED_AFTER, len(sizes)) - 1]
    later = sizes[SETTLED_AFTER:] or sizes
    return {
        "swaps": len(sizes),
        "settled_mib": settled,
        "largest_later_mib": max(later),
        "growth_percent": 100 * (max(later) / settled - 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--shots", type=int, default=0)
    parser.add_argument("--turns", type=int, default=3, help="runs of each side")
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        inputs = made_inputs(Path(name), arguments.items, 3, arguments.shots, False)
        longest = longest_request(inputs)
        budget = arguments.batch * longest
        peaks: dict[str, list[float]] = {"hf": [], "e2lm-hf": [], "series": []}
        for turn in range(arguments.turns):
            out = inputs.folder / f"out-{turn}"
            peaks["hf"].append(peak_mib(stock_command(inputs, "hf", "", arguments.batch, out), {"E2LM_AUTOLOAD": "0"}))
            ours = stock_command(inputs, "e2lm-hf", f",token_budget={budget}", arguments.batch, out)
            peaks["e2lm-hf"].append(peak_mib(ours, {"E2LM_AUTOLOAD": "1"}))
            peaks["series"].append(peak_mib(series_command(inputs, inputs.run, budget, out / "series"), {}))
        result = {
            "batch_tokens": budget,
            "longest_request_tokens": longest,
            "peak_mib": peaks,
            "ratio": sum(peaks["e2lm-hf"]) / sum(peaks["hf"]),
            "ratio_low": min(peaks["e2lm-hf"]) / max(peaks["hf"]),
            "ratio_high": max(peaks["e2lm-hf"]) / min(peaks["hf"]),
            "ratio_series": sum(peaks["series"]) / sum(peaks["hf"]),
            "growth": growth(inputs, budget, arguments.swaps) if arguments.swaps else None,
        }
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{budget:,} tokens in a forward pass ({arguments.batch} rows of {longest})")
    for which, values in peaks.items():
        print(f"{which:>8}: peak {min(values):,.0f} to {max(values):,.0f} MiB")
    print(f"e2lm-hf / hf {result['ratio']:.3f} ({result['ratio_low']:.3f} to {result['ratio_high']:.3f})")
    print(f"e2lm eval of 3 checkpoints / hf of one {result['ratio_series']:.3f}")
    if result["growth"]:
        grown = result["growth"]
        print(f"{grown['swaps']} checkpoints: {grown['settled_mib']:,.0f} MiB, later {grown['growth_percent']:+.2f} %")


if __name__ == "__main__":
    main()
