"""CPU seconds of ``e2lm eval`` over a series against one stock ``lm_eval run --model hf`` per checkpoint.

Both sides read the same checkpoints and the same task, and both write ``results_*.json`` and ``samples_*.jsonl``. The
model is a Llama of 1.8 M parameters, the text is the prose in the docstrings of installed packages, the weights are
random. Runs alternate (stock, e2lm, stock, ...), one thread each. Of the K stock runs only ``stock_runs_timed`` are
made and scaled up; ``--stock-runs all`` makes them all. ``ratio`` is that of the means, ``ratio_low`` and
``ratio_high`` pair the cheapest stock run with the dearest e2lm run and the other way round.

``--shots S`` puts S worked examples before every question: the first S (as MMLU does), or with ``--draw`` others for
every question (lm-eval's default), where nothing but the question itself can be shared.

``finished_wall_s`` is the same command once more, when nothing is left to do. ``matmul_share`` is how much of this
machine's measured speed at multiplying matrices a whole series uses on unique tokens: 2 operations per parameter and
token (the output head at scored tokens only, attention left out), over the wall seconds of the whole command.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import math
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

PACKAGES = ("numpy", "pandas")
VOCABULARY = 4096
TRAINING_CHARACTERS = 1_000_000
#: Words of a context and of its choices that give about 87 and 8 tokens.
CONTEXT_WORDS, CHOICE_WORDS, CHOICES = (38, 57), (3, 5), 4
#: Llama with 1.84 M parameters.
MODEL: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 344,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 2048,
    "vocab_size": VOCABULARY,
    "tie_word_embeddings": False,
}
#: Larger than a fresh model's 0.02, so that random weights have opinions and accuracies differ between checkpoints.
WEIGHT_SPREAD = 0.08
TASK = "series_benchmark"
QUICK_ITEMS, QUICK_CHECKPOINTS, QUICK_CHARACTERS = 100, 5, 300_000
#: A stock run takes as long as two whole series; the spread of the quick ratio is that of the series.
QUICK_STOCK_RUNS, QUICK_SERIES_RUNS = 1, 2


@dataclass(frozen=True)
class Inputs:
    """What both sides read."""

    folder: Path
    run: Path
    tasks: Path
    checkpoints: tuple[Path, ...]


@dataclass(frozen=True)
class Timed:
    """One finished command."""

    cpu_s: float
    wall_s: float
    peak_mib: float


# -- inputs -------------------------------------------------------------------------------------------------------


def docstrings() -> Iterator[str]:
    """Prose of installed packages, in order of path; nothing is imported."""
    from importlib.util import find_spec

    for package in PACKAGES:
        spec = find_spec(package)
        for place in (spec.submodule_search_locations or []) if spec else []:
            for file in sorted(Path(place).rglob("*.py")):
                with contextlib.suppress(SyntaxError, UnicodeDecodeError, ValueError):
                    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                            yield ast.get_docstring(node) or ""


def corpus(characters: int) -> str:
    parts, size = [], 0
    for text in docstrings():
        prose = re.sub(r"\s+", " ", text).strip()
        if len(prose) >= 200:
            parts.append(prose)
            size += len(prose)
        if size >= characters:
            break
    return "\n".join(parts)


def trained_tokenizer(text: str) -> Any:
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        text.split("\n"), vocab_size=VOCABULARY, special_tokens=["<|end|>"], show_progress=False
    )
    return PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, eos_token="<|end|>", bos_token="<|end|>")


def items_from(text: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Passages with their true continuation and three from elsewhere."""
    import numpy as np

    rng = np.random.default_rng(seed)
    words = text.split()

    def piece(start: int, count: int) -> str:
        return " ".join(words[start : start + count])

    items = []
    # No two contexts begin alike: lm-eval 0.4.13 mixes up requests that are one text cut at two places.
    for start in map(int, rng.choice(len(words) - 100, size=count, replace=False)):
        length = int(rng.integers(*CONTEXT_WORDS))
        lengths = rng.integers(*CHOICE_WORDS, size=CHOICES, endpoint=True)
        choices = [piece(int(rng.integers(0, len(words) - 100)), int(n)) for n in lengths]
        gold = int(rng.integers(0, CHOICES))
        choices[gold] = piece(start + length, int(lengths[gold]))
        items.append({"context": piece(start, length), "choices": choices, "gold": gold})
    return items


def made_inputs(
    folder: Path, items: int, checkpoints: int, shots: int, draw: bool, characters: int = TRAINING_CHARACTERS
) -> Inputs:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    text = corpus(characters)
    tokenizer = trained_tokenizer(text)
    config = LlamaConfig(**MODEL, initializer_range=WEIGHT_SPREAD)
    config.bos_token_id = config.eos_token_id = tokenizer.eos_token_id
    folders = []
    for step in range(checkpoints):
        torch.manual_seed(step)
        place = folder / "run" / f"checkpoint-{(step + 1) * 100}"
        LlamaForCausalLM(config).save_pretrained(place)
        tokenizer.save_pretrained(place)
        folders.append(place)
    write_task(folder / "tasks", items_from(text, items, 1), items_from(text, 50, 2), shots, draw)
    return Inputs(folder, folder / "run", folder / "tasks", tuple(folders))


def write_task(
    place: Path, items: list[dict[str, Any]], examples: list[dict[str, Any]], shots: int, draw: bool
) -> None:
    """A stock multiple-choice task: no class of ours in it."""
    from datasets import load_dataset

    place.mkdir(parents=True)
    files = {"test": place / "test.jsonl", "validation": place / "validation.jsonl"}
    for split, rows in (("test", items), ("validation", examples)):
        files[split].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    names = {split: str(file) for split, file in files.items()}
    metrics = "".join(f"  - {{metric: {name}, aggregation: mean, higher_is_better: true}}\n" for name in METRICS)
    sampler = "" if draw else "fewshot_config: {sampler: first_n}\n"
    (place / f"{TASK}.yaml").write_text(
        f"task: {TASK}\ndataset_path: json\ndataset_kwargs: {{data_files: {json.dumps(names)}}}\n"
        f"output_type: multiple_choice\ntest_split: test\nfewshot_split: validation\nnum_fewshot: {shots}\n{sampler}"
        "doc_to_text: '{{context}}'\ndoc_to_choice: '{{choices}}'\ndoc_to_target: '{{gold}}'\n"
        f"metric_list:\n{metrics}metadata: {{version: 1}}\n",
        encoding="utf-8",
    )
    load_dataset("json", data_files=names)  # neither side pays for the cache of the other


METRICS = ("acc", "acc_norm")


# -- commands -----------------------------------------------------------------------------------------------------


def timed(command: Sequence[str], autoload: bool) -> Timed:
    """Runs ``command``; CPU seconds are user and system time of its whole process tree."""
    environment = {**os.environ, "E2LM_AUTOLOAD": "1" if autoload else "0"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # nobody compiles an installed package at every command
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\nfailed:\n{done.stderr[-3000:]}")
    cpu_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Timed(cpu_s, time.monotonic() - started, after.ru_maxrss / 1024)


def stock_run(inputs: Inputs, checkpoint: Path, model: str = "hf") -> tuple[Timed, Path]:
    out = inputs.folder / "stock" / model / checkpoint.name
    shutil.rmtree(out, ignore_errors=True)
    arguments = f"pretrained={checkpoint},dtype=float32"
    command = [sys.executable, "-m", "lm_eval", "run", "--model", model, "--model_args", arguments]
    command += ["--tasks", TASK, "--include_path", str(inputs.tasks), "--batch_size", "32", "--device", "cpu"]
    command += ["--output_path", str(out), "--log_samples"]
    return timed(command, autoload=model != "hf"), out


def series_run(inputs: Inputs, number: int) -> tuple[Timed, Path]:
    out = inputs.folder / f"e2lm-{number}"
    command = [sys.executable, "-m", "e2lm", "eval", str(inputs.run), "--tasks", TASK, "--out", str(out)]
    command += ["--include-path", str(inputs.tasks), "--model-args", "dtype=float32", "--device", "cpu", "--quiet"]
    return timed(command, autoload=False), out


def matmul_flops_per_s(size: int = 1024, turns: int = 8) -> float:
    """Operations per second of one thread that multiplies float32 matrices: the fastest of some turns."""
    import torch

    torch.set_num_threads(1)
    left, right = torch.rand(size, size), torch.rand(size, size)
    best_s = math.inf
    for _ in range(turns):
        started = time.perf_counter()
        torch.mm(left, right)
        best_s = min(best_s, time.perf_counter() - started)
    return float(2 * size**3 / best_s)


def matmul_share(counts: dict[str, int], checkpoints: int, wall_s: float) -> dict[str, float]:
    """Speed on unique tokens as a share of what the machine can do."""
    head = MODEL["hidden_size"] * VOCABULARY
    layer = 4 * MODEL["hidden_size"] ** 2 + 3 * MODEL["hidden_size"] * MODEL["intermediate_size"]
    body = layer * MODEL["num_hidden_layers"]
    flops = 2 * checkpoints * (body * counts["unique_tokens"] + head * counts["scored_tokens"])
    possible = matmul_flops_per_s()
    return {"matmul_gflops_per_s": possible / 1e9, "matmul_share": flops / wall_s / possible}


# -- comparison ---------------------------------------------------------------------------------------------------


def results_of(place: Path) -> tuple[dict[str, float], list[list[float]]]:
    """Metrics and log-likelihoods, one list per item, as lm-eval wrote them below ``place``."""
    results = json.loads(max(place.rglob("results_*.json")).read_text(encoding="utf-8"))["results"][TASK]
    lines = max(place.rglob(f"samples_{TASK}_*.jsonl")).read_text(encoding="utf-8").splitlines()
    samples = sorted(map(json.loads, lines), key=lambda sample: sample["doc_id"])
    logliks = [[float(response[0][0]) for response in sample["resps"]] for sample in samples]
    return {name: results[f"{name},none"] for name in METRICS}, logliks


def largest_difference(stock: Path, ours: Path) -> tuple[float, bool]:
    stock_metrics, stock_logliks = results_of(stock)
    our_metrics, our_logliks = results_of(ours)
    pairs = [
        (a, b) for theirs, own in zip(stock_logliks, our_logliks, strict=True) for a, b in zip(theirs, own, strict=True)
    ]
    return max(abs(a - b) for a, b in pairs), stock_metrics == our_metrics


def token_counts(inputs: Inputs, samples: Path) -> dict[str, int]:
    """Tokens that stock and e2lm-hf forward, and tokens of an independently built trie."""
    from transformers import AutoTokenizer

    from e2lm_adapters.scoring.prefix_tree import TokenRequest, batches, planned

    tokenizer = AutoTokenizer.from_pretrained(inputs.checkpoints[0])
    requests = []
    for line in max(samples.rglob(f"samples_{TASK}_*.jsonl")).read_text(encoding="utf-8").splitlines():
        for argument in json.loads(line)["arguments"].values():
            whole = tokenizer.encode(argument["arg_0"] + argument["arg_1"])
            context = tokenizer.encode(argument["arg_0"])
            requests.append(TokenRequest(tuple(context), tuple(whole[len(context) :])))
    unique, trie = 0, {}
    for request in requests:
        node = trie
        for token in (request.context + request.continuation)[:-1]:
            unique += token not in node
            node = node.setdefault(token, {})
    plan = planned(requests, MODEL["max_position_embeddings"])
    padded = sum(
        len(group.preamble) + sum(len(rows) * max(map(len, rows)) for rows in batches(group, 4096))
        for group in plan.groups
    )
    return {
        "tokens_stock": sum(len(r.context) + len(r.continuation) - 1 for r in requests),
        "tokens_forwarded": plan.tokens_forwarded,
        "tokens_forwarded_with_padding": padded,
        "unique_tokens": unique,
        "scored_tokens": len(
            {(r.context, r.continuation[:end]) for r in requests for end in range(len(r.continuation))}
        ),
        "mean_context_tokens": round(sum(len(r.context) for r in requests) / len(requests)),
    }


# -- the benchmark ------------------------------------------------------------------------------------------------


def compared(inputs: Inputs, stock_runs: int, series_runs: int) -> dict[str, Any]:
    """Alternating runs of both sides, and how far their numbers are apart."""
    count = len(inputs.checkpoints)
    spread = [inputs.checkpoints[round(i * (count - 1) / max(stock_runs - 1, 1))] for i in range(stock_runs)]
    stock: list[Timed] = []
    ours: list[Timed] = []
    places: dict[Path, Path] = {}
    for turn, checkpoint in enumerate(spread):
        run, places[checkpoint] = stock_run(inputs, checkpoint)
        stock.append(run)
        while len(ours) < series_runs and (turn + 1) * series_runs >= (len(ours) + 1) * max(stock_runs - 1, 1):
            run, own = series_run(inputs, len(ours))
            ours.append(run)
    again, _ = series_run(inputs, len(ours) - 1)
    differences = [largest_difference(place, own / "run" / checkpoint.name) for checkpoint, place in places.items()]
    stock_s, our_s = [run.cpu_s for run in stock], [run.cpu_s for run in ours]
    counts = token_counts(inputs, next(iter(places.values())))
    return {
        "ratio": count * (sum(stock_s) / len(stock_s)) / (sum(our_s) / len(our_s)),
        "ratio_low": count * min(stock_s) / max(our_s),
        "ratio_high": count * max(stock_s) / min(our_s),
        "stock_cpu_s_per_run": stock_s,
        "stock_runs_timed": len(stock_s),
        "e2lm_cpu_s": our_s,
        "stock_wall_s_per_run": [run.wall_s for run in stock],
        "e2lm_wall_s": [run.wall_s for run in ours],
        "finished_cpu_s": again.cpu_s,
        "finished_wall_s": again.wall_s,
        "largest_difference": max(difference for difference, _ in differences),
        "checkpoints_compared": len(differences),
        "accuracies_identical": all(same for _, same in differences),
        **counts,
        **matmul_share(counts, count, min(run.wall_s for run in ours)),
    }


def single(inputs: Inputs, turns: int) -> dict[str, Any]:
    """One checkpoint: the stock command with ``--model e2lm-hf`` against ``--model hf``."""
    checkpoint = inputs.checkpoints[0]
    stock: list[float] = []
    ours: list[float] = []
    for _ in range(turns):
        run, theirs = stock_run(inputs, checkpoint)
        stock.append(run.cpu_s)
        run, own = stock_run(inputs, checkpoint, "e2lm-hf")
        ours.append(run.cpu_s)
    difference, same = largest_difference(theirs, own)
    return {
        "single_ratio": sum(stock) / sum(ours),
        "single_ratio_low": min(stock) / max(ours),
        "single_ratio_high": max(stock) / min(ours),
        "single_hf_cpu_s": stock,
        "single_e2lm_hf_cpu_s": ours,
        "single_largest_difference": difference,
        "single_accuracies_identical": same,
    }


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--checkpoints", type=int, default=20)
    parser.add_argument("--shots", type=int, default=0)
    parser.add_argument("--draw", action="store_true", help="draw other worked examples for every question")
    parser.add_argument("--stock-runs", default="3", help="stock runs to time, or 'all' (default: 3)")
    parser.add_argument("--series-runs", type=int, default=2, help="runs of e2lm eval to time")
    parser.add_argument("--single", action="store_true", help="compare single runs of the stock command instead")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_CHECKPOINTS} checkpoints, {QUICK_ITEMS} items")
    parser.add_argument("--keep", type=Path, help="folder for inputs and outputs (default: temporary)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.items, arguments.checkpoints = QUICK_ITEMS, QUICK_CHECKPOINTS
        arguments.stock_runs, arguments.series_runs = str(QUICK_STOCK_RUNS), QUICK_SERIES_RUNS
    return arguments


def main() -> None:
    arguments = parsed()
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="e2lm-series-"))
    os.environ["HF_DATASETS_CACHE"] = str(folder / "datasets")
    try:
        characters = QUICK_CHARACTERS if arguments.quick else TRAINING_CHARACTERS
        inputs = made_inputs(
            folder, arguments.items, arguments.checkpoints, arguments.shots, arguments.draw, characters
        )
        count = arguments.checkpoints
        stock_runs = count if arguments.stock_runs == "all" else min(int(arguments.stock_runs), count)
        found = single(inputs, stock_runs) if arguments.single else compared(inputs, stock_runs, arguments.series_runs)
    finally:
        if arguments.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    found = {"items": arguments.items, "checkpoints": count, "shots": arguments.shots, **found}
    if arguments.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        shown = ", ".join(f"{one:.2f}" for one in value) if isinstance(value, list) else value
        print(f"{name:32}{shown:.4g}" if isinstance(value, float) and math.isfinite(value) else f"{name:32}{shown}")


if __name__ == "__main__":
    main()
