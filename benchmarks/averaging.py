"""Does averaging the last checkpoints of a constant-rate run stand for annealing it? Tiny runs, several seeds.

    python benchmarks/averaging.py --corpus FILE --out runs/averaging [--seeds 4] [--json]

For every seed one run keeps its learning rate and one decays it at the end (``wsd``), same data, same order. Printed
is how much lower the held-out loss (bits per byte) of every average is than that of the last checkpoint, and how much
nearer it comes to the annealed run, each with a 95 % interval over seeds. Finished runs are not trained again.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from e2lm import Series
from e2lm.merge_strategy import TrajectoryMerge, parse_merge_spec
from e2lm_merge.methods.trajectory import read_tensors
from e2lm_merge.output.in_memory import model_with
from e2lm_merge.plan.merge_plan import find_strategy
from e2lm_merge.plan.source import open_checkpoint
from e2lm_merge.search.items import HeldOutItem, ItemScorer, encode_items, load_tokenizer

SPECS = (
    "lawa:window=3", "lawa:window=5", "lawa:window=8", "wma:window=5", "wsm:window=5,curve=1-sqrt",
    "wsm:window=10,curve=linear",
)  # fmt: skip
TRAINING = ["--sizes", "50k", "--tokens", "600000", "--sequence-length", "128", "--batch-size", "8",
            "--vocabulary", "512", "--checkpoints", "60"]  # fmt: skip

#: Bytes of held-out text per item, short enough for 128 positions, and how many items.
ITEM_BYTES, ITEMS, POSITIONS = 120, 400, 128


def trained(corpus: Path, out: Path, schedule: str, seed: int) -> Path:
    """The folder of one run."""
    folder = out / f"{schedule}-{seed}"
    command = [sys.executable, "-m", "e2lm", "train", "--corpus", str(corpus), "--out", str(folder)]
    command += [*TRAINING, "--schedule", schedule, "--seed", str(seed)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def run_in(folder: Path) -> Series:
    """The one series below ``folder``."""
    return Series.read(next(path.parent for path in sorted(folder.glob("*/series.json"))))


def losses(constant: Path, annealed: Path) -> dict[str, float]:
    """Held-out bits per byte of the last checkpoint, the annealed run and every average."""
    series, other = run_in(constant), run_in(annealed)
    last = open_checkpoint(series.checkpoints[-1])
    text = (constant / "held_out.txt").read_text()
    if text != (annealed / "held_out.txt").read_text():
        raise SystemExit(f"{constant} and {annealed} hold out different text")
    pieces = [text[start : start + ITEM_BYTES] for start in range(0, len(text) - ITEM_BYTES, ITEM_BYTES)]
    items = [HeldOutItem("", piece) for piece in pieces[:ITEMS]]
    scorer = ItemScorer(encode_items(items, load_tokenizer(last.folder), POSITIONS))

    def loss(tensors: dict[str, torch.Tensor]) -> float:
        wide = {name: tensor.float() for name, tensor in tensors.items()}
        return -float(scorer(model_with(last.config, last.folder, wide)).mean()) / math.log(2)

    found = {"last": loss(read_tensors(last)), "annealed": loss(read_tensors(open_checkpoint(other.checkpoints[-1])))}
    for spec in SPECS:
        name, parameters = parse_merge_spec(spec)
        average = find_strategy(name)
        assert isinstance(average, TrajectoryMerge)
        *_, (_, tensors) = average.along(series, parameters)
        found[spec] = loss(tensors)
    return found


def interval(values: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
    """Mean and 95 % interval over seeds (Student's t)."""
    half = float("nan")
    if len(values) > 1:
        half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    mean = float(values.mean())
    return {"mean": round(mean, 4), "low": round(mean - half, 4), "high": round(mean + half, 4)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    for seed in range(options.seeds):
        runs = [trained(options.corpus, options.out, schedule, seed) for schedule in ("constant", "wsd")]
        rows.append(losses(*runs))
    table = []
    for name in (*SPECS, "annealed"):
        below = np.array([row["last"] - row[name] for row in rows])
        nearer = np.array([abs(row["last"] - row["annealed"]) - abs(row[name] - row["annealed"]) for row in rows])
        table.append({"average": name, "below_last": interval(below), "nearer_to_annealed": interval(nearer)})
    if options.json:
        print(json.dumps({"unit": "bits per byte", "seeds": rows, "table": table}, indent=1))
        return 0
    for entry in table:
        below, nearer = entry["below_last"], entry["nearer_to_annealed"]
        print(f"{entry['average']:<27} below the last {below}  nearer to the annealed {nearer}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
