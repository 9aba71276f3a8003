"""Is it known beforehand whether averaging will beat the last checkpoint? Tiny runs on several texts, replayed.

    python benchmarks/averaging_beforehand.py --corpus shakes=FILE wiki=FILE --out runs/beforehand [--json]

Every text is trained on at a constant rate with three seeds. Along each run the last 3, 5, 10 and 20 checkpoints are
averaged at nine places and scored on held-out text (bits per byte). Then every run is replayed: what ``e2lm predict
decide --merge`` forecasts of an average from those scored up to the middle of the run (or two thirds of it) is held
against what it came to. Printed per text: how often the loss lay in the 90 % interval, how often the forecast was right
on whether the average beats the last checkpoint, and the same where the interval left no doubt. Finished runs are
neither trained nor scored again.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from e2lm import Series, UserError
from e2lm.command_line import main as e2lm
from e2lm.merge_strategy import TrajectoryMerge, parse_merge_spec
from e2lm.scaling_predictor import LossTable
from e2lm_merge.beforehand import AveragedRun, averaged_runs, foretold
from e2lm_merge.methods.trajectory import read_tensors
from e2lm_merge.output.in_memory import model_with
from e2lm_merge.plan.merge_plan import find_strategy
from e2lm_merge.plan.source import open_checkpoint
from e2lm_merge.search.items import HeldOutItem, ItemScorer, encode_items, load_tokenizer

RUNS = ((0, "3e-3"), (1, "3e-3"), (2, "3e-3"))
TRAINING = ["--sizes", "50k", "--tokens", "200000", "--sequence-length", "128", "--batch-size", "8", "--vocabulary",
            "512", "--checkpoint-grid", "tokens", "--checkpoint-tokens", "5000", "--schedule", "constant", "--warmup",
            "0.05"]  # fmt: skip
SPECS = ("lawa:window=3", "lawa:window=5", "lawa:window=10", "lawa:window=20")
PLACES = (8, 12, 16, 20, 24, 28, 32, 36, 40)
#: Averages are known up to the first, and forecast at the second.
REPLAYS = ((20, 28), (20, 40), (28, 40))
ITEM_BYTES, ITEMS, POSITIONS = 120, 160, 128


def trained(corpus: Path, folder: Path, seed: int, rate: str) -> Series:
    """The run in ``folder``, trained where it is not there."""
    if not list(folder.glob("*/series.json")):
        e2lm(["train", "--corpus", str(corpus), "--out", str(folder), *TRAINING, "--seed", str(seed),
              "--learning-rate", rate])  # fmt: skip
    return Series.read(next(path.parent for path in folder.glob("*/series.json")))


def measured(series: Series, folder: Path) -> dict[str, Any]:
    """Losses of every checkpoint, and of every average at the places where it is full."""
    file = folder / "averages.json"
    if file.is_file():
        return dict(json.loads(file.read_text()))
    last = open_checkpoint(series.checkpoints[-1])
    text = (folder / "held_out.txt").read_text()
    starts = np.linspace(0, len(text) - ITEM_BYTES, ITEMS).astype(int)
    items = [HeldOutItem("", text[start : start + ITEM_BYTES]) for start in starts]
    scorer = ItemScorer(encode_items(items, load_tokenizer(last.folder), POSITIONS), 40)

    def loss(tensors: dict[str, torch.Tensor]) -> list[float]:
        wide = {name: tensor.float() for name, tensor in tensors.items()}
        return list(-scorer(model_with(last.config, last.folder, wide)) / math.log(2))

    found: dict[str, Any] = {
        "steps": [one.step for one in series.checkpoints],
        "tokens": [one.tokens for one in series.checkpoints],
        "raw": [loss(read_tensors(open_checkpoint(one))) for one in series.checkpoints],
        "merged": {spec: {} for spec in SPECS},
    }
    for spec in SPECS:
        name, parameters = parse_merge_spec(spec)
        average = find_strategy(name)
        assert isinstance(average, TrajectoryMerge)
        for place, (_, tensors) in enumerate(average.along(series, parameters)):
            if place in PLACES and place + 1 >= float(parameters["window"]):
                found["merged"][spec][place] = loss(tensors)
    file.write_text(json.dumps(found))
    return found


def as_run(found: dict[str, Any], name: str) -> AveragedRun:
    """The run with its averages, as a table of losses gives it."""
    tokens = found["tokens"]
    rows = [(name, tokens[place], np.mean(found["raw"][place])) for place in range(1, len(tokens))]
    for spec, losses in found["merged"].items():
        rows += [(f"{name}+{spec}", tokens[int(place)], np.mean(one)) for place, one in losses.items()]
    names, at, losses_R = zip(*rows, strict=True)
    (run,) = averaged_runs(LossTable(np.ones(len(rows)), np.array(at, float), np.array(losses_R), names))
    return run


def replayed(run: AveragedRun, tokens: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Every forecast of the run beside what came."""
    for spec, losses in run.averages.items():
        for known, end in REPLAYS:
            part = {at: loss for at, loss in losses.items() if at <= tokens[known]}
            try:
                found = foretold(replace(run, averages={spec: part}), spec, tokens[end])
            except UserError:
                continue
            last, came = run.losses[tokens[end]], losses[tokens[end]]
            assert found.low is not None
            assert found.high is not None
            yield {
                "run": run.name, "spec": spec, "known": known, "at": end, "gain": last - found.value,
                "low": last - found.high, "high": last - found.low, "came": last - came,
            }  # fmt: skip


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Counts over forecasts."""
    sure = [one for one in rows if one["low"] > 0 or one["high"] < 0]

    def right(some: Sequence[dict[str, Any]]) -> int:
        return sum((one["gain"] > 0) == (one["came"] > 0) for one in some)

    return {
        "forecasts": len(rows),
        "in_interval": sum(one["low"] <= one["came"] <= one["high"] for one in rows),
        "right": right(rows),
        "sure": len(sure),
        "sure_and_right": right(sure),
        "averages_that_beat_the_last": sum(one["came"] > 0 for one in rows),
        "mean_error": float(np.mean([abs(one["gain"] - one["came"]) for one in rows])),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", nargs="+", required=True, metavar="NAME=FILE")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    table, rows = {}, []
    for text in options.corpus:
        name, _, file = text.partition("=")
        of_text: list[dict[str, Any]] = []
        for seed, rate in RUNS:
            folder = options.out / f"{name}-{rate}-{seed}"
            found = measured(trained(Path(file), folder, seed, rate), folder)
            of_text += replayed(as_run(found, folder.name), found["tokens"])
        table[name] = summary(of_text)
        rows += of_text
    table["all"] = summary(rows)
    print(json.dumps({"table": table, "forecasts": rows} if options.json else table, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
