"""What planning and reading cost: ``python benchmarks/curriculum_plan.py [--samples 100000000] [--steps 300]``.

First, a plan for many samples: seconds and peak memory of a process that does nothing else. Second, what a step of
training costs more when examples come in planned order than when Trainer shuffles a plain data set, both in one process
in alternating rounds, so that whatever else the machine does hits both alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 100
LENGTH = 256
TRAINING_BATCH = 16
VOCABULARY = 4096

PLANNER = """
import json, resource, sys, time
import numpy as np
from e2lm.curriculum import TrainingBudget
from e2lm_curriculum.plan_builder import chosen_curriculum
samples, batch, name, file = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
curriculum = chosen_curriculum(name)
scores_X = np.load(file, mmap_mode="r")
wall, cpu = time.perf_counter(), time.process_time()
plan = curriculum.plan(scores_X, TrainingBudget(samples // batch, batch, 256), np.random.default_rng(0))
planned_s = time.perf_counter() - wall
digest = plan.hash
rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "planned_s": planned_s,
                  "rss_bytes": rss, "hash": digest[:16]}))
"""


def planning(samples: int, names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scores.npy"
        scores_X = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(samples,))
        rng = np.random.default_rng(0)
        for start in range(0, samples, 1 << 22):
            part = scores_X[start : start + (1 << 22)]
            part[:] = rng.random(len(part), dtype=np.float32)
        scores_X.flush()
        del scores_X
        for name in names:
            command = [sys.executable, "-c", PLANNER, str(samples), str(BATCH), name, str(file)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            print(
                f"{name:<22} {samples:>12,} samples, {samples:,} draws: {found['wall_s']:6.1f} s wall, "
                f"{found['cpu_s']:6.1f} s CPU, peak {found['rss_bytes'] / 2**30:.2f} GiB, plan {found['hash']}"
            )


def training(steps: int, rounds: int) -> None:
    from e2lm_curriculum.llama import new_llama
    from e2lm_curriculum.model_size import model_size
    from e2lm_curriculum.plan_builder import chosen_curriculum
    from e2lm_curriculum.planned_dataset import PlannedDataset, causal_batch

    blocks_XT, scores_X = _corpus()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            seconds = {}
            # Who goes first alternates too.
            for kind in ("planned", "plain")[:: 1 if number % 2 else -1]:
                model = new_llama(model_size("780k"), VOCABULARY, LENGTH, 0)
                started = time.process_time()
                if kind == "planned":
                    budget = _budget(steps)
                    plan = chosen_curriculum("length-competence").plan(scores_X, budget, np.random.default_rng(0))
                    data: Any = PlannedDataset(blocks_XT, plan.indices_SB)
                    collate: Any = causal_batch
                else:
                    data, collate = list(blocks_XT[: steps * TRAINING_BATCH]), _plain_batch
                _train(model, data, collate, kind, steps, folder)
                seconds[kind] = time.process_time() - started
            ratios.append(seconds["planned"] / seconds["plain"])
            print(f"round {number}: planned {seconds['planned']:.2f} s CPU, plain {seconds['plain']:.2f} s CPU")
    overhead = statistics.median(ratios) - 1
    print(f"planning + planned reading over plain shuffling: {100 * overhead:+.2f} % of the time (median of {rounds})")
    print(f"spread of the ratio: {min(ratios):.3f} to {max(ratios):.3f}; {steps} steps of 780k each")


def _corpus() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    blocks_XT = rng.integers(0, VOCABULARY, (20_000, LENGTH), dtype=np.uint16)
    return blocks_XT, rng.random(len(blocks_XT))


def _step_s() -> float:
    """CPU seconds of one step of 780k, the median of a few."""
    import torch

    from e2lm_curriculum.llama import new_llama
    from e2lm_curriculum.model_size import model_size

    model = new_llama(model_size("780k"), VOCABULARY, LENGTH, 0)
    optimizer = torch.optim.AdamW(model.parameters())
    batch = _plain_batch(list(_corpus()[0][:TRAINING_BATCH]))
    seconds = []
    for _ in range(6):
        started = time.process_time()
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.process_time() - started)
    return statistics.median(seconds[1:])


def reading(steps: int) -> None:
    """Planning and reading by themselves: far below the noise of a whole run."""
    blocks_XT, scores_X = _corpus()
    step_s = _step_s()
    from e2lm_curriculum.plan_builder import chosen_curriculum
    from e2lm_curriculum.planned_dataset import PlannedDataset, causal_batch

    started = time.process_time()
    plan = chosen_curriculum("length-competence").plan(scores_X, _budget(steps), np.random.default_rng(0))
    planning_s = time.process_time() - started
    data = PlannedDataset(blocks_XT, plan.indices_SB)
    places = np.arange(len(data)).reshape(-1, TRAINING_BATCH)
    started = time.process_time()
    for row in places:
        causal_batch([data[int(place)] for place in row])
    planned_s = time.process_time() - started
    started = time.process_time()
    for row in places:
        _plain_batch([blocks_XT[int(place)] for place in row])
    plain_s = time.process_time() - started
    share = (planning_s + planned_s - plain_s) / (steps * step_s)
    print(
        f"by itself: plan {1e3 * planning_s:.1f} ms, planned reading {1e6 * planned_s / steps:.0f} us a step, plain "
        f"{1e6 * plain_s / steps:.0f} us; together {100 * share:+.3f} % of a step of {1e3 * step_s:.0f} ms"
    )


def _budget(steps: int) -> Any:
    from e2lm.curriculum import TrainingBudget

    return TrainingBudget(steps, TRAINING_BATCH, LENGTH)


def _plain_batch(rows: list[Any]) -> dict[str, Any]:
    import torch

    input_ids_BT = torch.from_numpy(np.stack(rows).astype(np.int64))
    return {"input_ids": input_ids_BT, "labels": input_ids_BT}


def _train(model: Any, data: Any, collate: Any, kind: str, steps: int, folder: str) -> None:
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        output_dir=folder,
        max_steps=steps,
        per_device_train_batch_size=TRAINING_BATCH,
        train_sampling_strategy="sequential" if kind == "planned" else "random",
        save_strategy="no",
        logging_strategy="no",
        remove_unused_columns=False,
        use_cpu=True,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to="none",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Trainer(model=model, args=arguments, train_dataset=data, data_collator=collate).train()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100_000_000)
    parser.add_argument("--curricula", nargs="+", default=["climb-ngram-linear", "shuffle"])
    parser.add_argument("--reading-steps", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.samples:
        planning(options.samples, options.curricula)
    reading(options.reading_steps)
    if options.rounds:
        training(options.steps, options.rounds)


if __name__ == "__main__":
    main()
