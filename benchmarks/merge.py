"""Merging side by side with mergekit: CPU seconds end to end, the floor of the machine, peak anonymous memory.

    python benchmarks/merge.py                      # 291 M parameters, every method, three rounds
    python benchmarks/merge.py --quick --json       # linear (125 M parameters) and ties, one round, within 55 s

mergekit is looked for in --mergekit, in E2LM_MERGEKIT and on the PATH; without it our side and the floor are printed.
Its ties takes 40 CPU seconds on 125 M parameters, so where both sides run, --quick does ties on models of 32 M.
Both sides run as a user would run them, in turn, as processes of their own. The floor is what one core needs to read
every input byte once per walk, multiply and add every number once per walk, and write the output, measured here with
the same files: no check, no checksum, no cast of the result. A multiply-add is what the result is made of: a stored
number turned into float32, a product, a sum, each rounded by itself. What a fused kernel of torch would need, which
rounds once, stands beside it. Our side compiles its sums at the first large merge (e2lm_merge.numbers.compiled) and
pays for it there; E2LM_COMPILED_SUMS=0 measures what a machine without a C compiler gets.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file

from e2lm_merge.numbers.compiled import SWITCH_VARIABLE, library_file

#: hidden, intermediate, layers, heads, key-value heads, vocabulary
SIZES = {
    "mini": (768, 2048, 3, 12, 4, 8000),
    "small": (768, 2048, 12, 12, 4, 32000),
    "medium": (1024, 2816, 20, 16, 4, 32000),
}
METHODS = ("linear", "slerp", "task_arithmetic", "model_stock", "ties", "breadcrumbs", "dare_ties", "della")
QUICK_METHODS = ("linear", "ties")
#: Sizes for --quick where mergekit runs too, if not the usual one.
QUICK_SIZES = {"ties": "mini"}

#: Walks over the inputs that a method cannot do without, and how many inputs it reads.
WALKS = {"linear": (1, 3), "slerp": (2, 2), "task_arithmetic": (1, 4), "model_stock": (2, 4)}

#: Seconds within which --quick ends, whatever mergekit does, and what of them is kept for a method still to come.
QUICK_S = 46.0
KEPT_QUICK_S = 18.0
CHUNK_BYTES = 1 << 19
POLL_S = 0.01


@dataclass
class Cost:
    """What one process took."""

    cpu_s: float
    wall_s: float
    peak_anonymous_mb: float
    finished: bool = True


def make_family(folder: Path, size: str) -> None:
    """A base and three fine-tunes: heavy-tailed differences and a shared low-rank part, bfloat16."""
    hidden, inner, layers, heads, groups, vocabulary = SIZES[size]
    generator = torch.Generator().manual_seed(1234)
    head = hidden // heads
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocabulary, hidden),
        "lm_head.weight": (vocabulary, hidden),
        "model.norm.weight": (hidden,),
    }
    for layer in range(layers):
        start = f"model.layers.{layer}"
        shapes |= {
            f"{start}.self_attn.q_proj.weight": (hidden, hidden),
            f"{start}.self_attn.k_proj.weight": (groups * head, hidden),
            f"{start}.self_attn.v_proj.weight": (groups * head, hidden),
            f"{start}.self_attn.o_proj.weight": (hidden, hidden),
            f"{start}.mlp.gate_proj.weight": (inner, hidden),
            f"{start}.mlp.up_proj.weight": (inner, hidden),
            f"{start}.mlp.down_proj.weight": (hidden, inner),
            f"{start}.input_layernorm.weight": (hidden,),
            f"{start}.post_attention_layernorm.weight": (hidden,),
        }
    # One stretch of noise, read from different places, is as good as fresh noise here and twenty times as fast.
    noise = torch.randn(1 << 25, generator=generator)
    tail = noise * 0.002
    tail = torch.where(tail.abs() > 0.005, tail * 4, tail)

    def piece(of: torch.Tensor, shape: tuple[int, ...], place: int) -> torch.Tensor:
        count = torch.Size(shape).numel()
        start = (place * 7_919_993) % (len(of) - count)
        return of[start : start + count].view(shape)

    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
        "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": groups, "head_dim": head, "vocab_size": vocabulary, "tie_word_embeddings": False,
        "max_position_embeddings": 2048, "bos_token_id": 1, "eos_token_id": 2, "dtype": "bfloat16",
        "torch_dtype": "bfloat16", "rms_norm_eps": 1e-6,
    }  # fmt: skip
    models: list[dict[str, torch.Tensor]] = [{} for _ in range(4)]
    for place, (name, shape) in enumerate(shapes.items()):
        weight = piece(noise, shape, place) * 0.02 + (1.0 if len(shape) == 1 else 0.0)
        models[0][name] = weight.to(torch.bfloat16)
        if len(shape) == 2:
            left, right = piece(noise, (shape[0], 4), 50_000 + place), piece(noise, (4, shape[1]), 60_000 + place)
            weight.addmm_(left, right, alpha=0.0005)
        for model in (1, 2, 3):
            models[model][name] = (weight + piece(tail, shape, 1000 * model + place)).to(torch.bfloat16)
    for model, tensors in enumerate(models):
        target = folder / ("base" if model == 0 else f"ft{model}")
        target.mkdir(parents=True, exist_ok=True)
        save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
        (target / "config.json").write_text(json.dumps(config))


def recipe_of(method: str, family: Path) -> dict[str, Any]:
    """The config both sides read."""
    tunes = [str(family / f"ft{index}") for index in (1, 2, 3)]
    weights = [0.5, 0.3, 0.4]
    if method == "slerp":
        models = [{"model": tune} for tune in tunes[:2]]
        return {"merge_method": method, "base_model": tunes[0], "models": models, "parameters": {"t": 0.4},
                "dtype": "bfloat16"}  # fmt: skip
    parameters: list[dict[str, float]] = [{"weight": weight} for weight in weights]
    if method == "model_stock":
        parameters = [{} for _ in weights]
    elif method not in ("linear", "task_arithmetic"):
        parameters = [{"weight": weight, "density": 0.5} for weight in weights]
    models_of = [{"model": tune, "parameters": own} for tune, own in zip(tunes, parameters, strict=True)]
    recipe: dict[str, Any] = {"merge_method": method, "models": models_of, "dtype": "bfloat16"}
    if method != "linear":
        recipe["base_model"] = str(family / "base")
    return recipe


def measured(command: Sequence[str], folder: Path, limit_s: float | None = None) -> Cost:
    """Run ``command``; user and system time of the whole process, and its peak anonymous memory by polling."""
    started = time.perf_counter()
    log = folder / "log.txt"
    with open(log, "wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink)
    peak = 0
    done = threading.Event()

    def poll() -> None:
        nonlocal peak
        while not done.wait(POLL_S):
            try:
                text = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                return
            line = next((line for line in text.splitlines() if line.startswith("RssAnon")), None)
            if line is not None:
                peak = max(peak, int(line.split()[1]))

    poller = threading.Thread(target=poll)
    poller.start()
    finished = True
    killer = threading.Timer(limit_s, process.kill) if limit_s is not None else None
    if killer is not None:
        killer.start()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    done.set()
    poller.join()
    if killer is not None:
        killer.cancel()
    if process.returncode != 0:
        finished = False
        if process.returncode != -9:
            raise SystemExit(f"{' '.join(command)} failed:\n{log.read_text()[-2000:]}")
    wall_s = time.perf_counter() - started
    return Cost(usage.ru_utime + usage.ru_stime, wall_s, peak * 1024 / 1e6, finished)


def best_of(count: int, work: Callable[[], None]) -> float:
    """The least CPU seconds of ``count`` runs: the floor is what the machine can do undisturbed."""
    costs = []
    for _ in range(count):
        started = time.process_time()
        work()
        costs.append(time.process_time() - started)
    return min(costs)


def floor_of(method: str, family: Path, folder: Path) -> tuple[float, float]:
    """CPU seconds to read, multiply-add and write, on one core, and the same with a fused multiply-add."""
    walks, inputs = WALKS[method]
    names = ["ft1", "ft2", "ft3", "base"][:inputs]
    files = [family / name / "model.safetensors" for name in names]
    size = files[0].stat().st_size
    buffer = torch.empty(CHUNK_BYTES, dtype=torch.uint8)
    view = memoryview(buffer.numpy())
    numbers = buffer.view(torch.bfloat16)
    total, wide = torch.zeros(len(numbers)), torch.zeros(len(numbers))

    def read() -> None:
        for file in files:
            descriptor = os.open(file, os.O_RDONLY)
            for start in range(0, size, CHUNK_BYTES):
                os.preadv(descriptor, [view], start)
            os.close(descriptor)

    def multiply_add() -> None:
        for _ in range(inputs * (size // CHUNK_BYTES)):
            total.add_(wide.copy_(numbers).mul_(0.3))

    def fused_multiply_add() -> None:
        for _ in range(inputs * (size // CHUNK_BYTES)):
            total.add_(numbers, alpha=0.3)

    def write() -> None:
        descriptor = os.open(folder / "floor.bin", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.posix_fallocate(descriptor, 0, size)
        for start in range(0, size, CHUNK_BYTES):
            os.pwrite(descriptor, view, start)
        os.close(descriptor)
        (folder / "floor.bin").unlink()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        read()
        buffer.zero_()
        moved = walks * best_of(3, read) + best_of(3, write)
        return moved + walks * best_of(3, multiply_add), moved + walks * best_of(3, fused_multiply_add)
    finally:
        torch.set_num_threads(threads)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median with least and greatest."""
    return {"median": round(statistics.median(values), 3), "low": round(min(values), 3), "high": round(max(values), 3)}


def compare(
    method: str, family: Path, folder: Path, mergekit: str | None, rounds: int, limit_s: Callable[[], float | None]
) -> dict[str, Any]:
    """One method, both sides in turn."""
    config = folder / f"{method}.yml"
    config.write_text(yaml.safe_dump(recipe_of(method, family)))
    own, other, ratios = [], [], []
    for _ in range(rounds):
        shutil.rmtree(folder / "ours", ignore_errors=True)
        own.append(
            measured(
                [sys.executable, "-m", "e2lm", "merge", str(config), str(folder / "ours"), "--quiet", "--json"], folder
            )
        )
        if mergekit is not None:
            shutil.rmtree(folder / "theirs", ignore_errors=True)
            other.append(measured([mergekit, str(config), str(folder / "theirs")], folder, limit_s()))
            ratios.append(other[-1].cpu_s / own[-1].cpu_s)
    row: dict[str, Any] = {
        "method": method,
        "ours_cpu_s": spread([cost.cpu_s for cost in own]),
        "ours_wall_s": spread([cost.wall_s for cost in own]),
        "ours_peak_anonymous_mb": round(max(cost.peak_anonymous_mb for cost in own), 1),
        "ours_compiled": library_file().is_file() and os.environ.get(SWITCH_VARIABLE) != "0",
    }
    if other:
        row |= {
            "mergekit_cpu_s": spread([cost.cpu_s for cost in other]),
            "mergekit_wall_s": spread([cost.wall_s for cost in other]),
            "mergekit_peak_anonymous_mb": round(max(cost.peak_anonymous_mb for cost in other), 1),
        }
        # Of a run that was stopped the ratio is a lower bound.
        done = all(cost.finished for cost in other)
        row |= {"cpu_ratio" if done else "cpu_ratio_at_least": spread(ratios), "mergekit_finished": done}
    if method in WALKS:
        imports = min(measured(import_command(), folder).cpu_s for _ in range(max(2, rounds)))
        floor, fused_floor = floor_of(method, family, folder)
        net = statistics.median(cost.cpu_s for cost in own) - imports
        row |= {
            "imports_cpu_s": round(imports, 3),
            "floor_cpu_s": round(floor, 3),
            "fused_floor_cpu_s": round(fused_floor, 3),
            "ours_net_over_floor": round(net / floor, 2),
            "ours_net_over_floor_low": round((min(cost.cpu_s for cost in own) - imports) / floor, 2),
        }
    return row


def import_command() -> list[str]:
    """Everything that a merge imports, and nothing done with it."""
    code = (
        "import e2lm_merge.cli.command, e2lm_merge.output.folder\n"
        "from e2lm_merge.plan.merge_plan import find_strategy\n"
        "find_strategy('linear')\n"
    )
    return [sys.executable, "-c", code]


def found_mergekit(given: str | None) -> str | None:
    """The mergekit-yaml to compare with."""
    wanted = given or os.environ.get("E2LM_MERGEKIT")
    if wanted is not None and shutil.which(wanted) is None:
        raise SystemExit(f"--mergekit {wanted}: no such program; give the path of mergekit-yaml")
    return shutil.which(wanted) if wanted else shutil.which("mergekit-yaml")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small models, linear and ties, one round")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--size", choices=sorted(SIZES), default=None)
    parser.add_argument("--methods", default=None, help="comma-separated; default all")
    parser.add_argument("--rounds", type=int, default=None)
    parser.add_argument("--mergekit", default=None, metavar="PATH", help="mergekit-yaml to compare with")
    parser.add_argument("--folder", type=Path, default=None, help="where models are made and kept; default temporary")
    options = parser.parse_args()
    started = time.perf_counter()
    size = options.size or ("small" if options.quick else "medium")
    methods = options.methods.split(",") if options.methods else list(QUICK_METHODS if options.quick else METHODS)
    rounds = options.rounds or (1 if options.quick else 3)
    mergekit = found_mergekit(options.mergekit)

    def left_s() -> float | None:
        """What mergekit may take now, so that there is time for the methods to come; no limit unless quick."""
        left = QUICK_S - (time.perf_counter() - started) - KEPT_QUICK_S * (len(methods) - len(rows) - 1)
        return max(1.0, left) if options.quick else None

    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        for method in methods:
            own_size = QUICK_SIZES.get(method, size) if options.quick and mergekit and not options.size else size
            family = folder / own_size
            if not (family / "ft3" / "config.json").is_file():
                make_family(family, own_size)
            rows.append({"size": own_size, **compare(method, family, folder, mergekit, rounds, left_s)})
            if not options.json:
                print(json.dumps(rows[-1]), flush=True)
    result = {
        "size": size,
        "rounds": rounds,
        "mergekit": mergekit is not None,
        "wall_s": round(time.perf_counter() - started, 1),
        "rows": rows,
    }
    if options.json:
        print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
