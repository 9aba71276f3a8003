"""What planning and reading cost: ``python benchmarks/curriculum_plan.py [--samples 100000000] [--steps 300]``.

First, a plan for many samples: seconds and peak memory of a process that does nothing else. Second, what a step of
training costs more when examples come in planned order than when Trainer shuffles a plain data set: Trainers in one
process take turns step by step, so that all meet the same machine in the same second. A step is everything from the
end of a Trainer's last step to the end of this one: reading, collating, forward, backward, optimizer, callbacks. A
third Trainer, which shuffles too, says what such a comparison makes of no difference at all.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 100
LENGTH = 256
TRAINING_BATCH = 16
VOCABULARY = 4096
#: Left out: first steps allocate.
SETTLING_STEPS = 5

PLANNER = """
import json, resource, sys, time
import numpy as np
from e2lm.curriculum import TrainingBudget
from e2lm_curriculum.plan.builder import chosen_curriculum
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


def training(steps: int) -> None:
    """Planned against plain, step by step in turn; processor seconds of each thread."""
    import torch

    from e2lm_curriculum.plan.builder import chosen_curriculum
    from e2lm_curriculum.train.batch import PlannedDataset, causal_batch

    torch.set_num_threads(1)
    blocks_XT, scores_X = _corpus()
    started = time.process_time()
    plan = chosen_curriculum("length-competence").plan(scores_X, _budget(steps), np.random.default_rng(0))
    planning_s = time.process_time() - started
    data: dict[str, tuple[Any, Any]] = {
        "plain": (list(blocks_XT), _plain_batch),
        "planned": (PlannedDataset(blocks_XT, plan.indices_SB), causal_batch),
        "plain again": (list(blocks_XT), _plain_batch),
    }
    turns = Turns(tuple(data))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        threads = [
            threading.Thread(target=_train, args=(*data[kind], kind, steps, folder, turns)) for kind in turns.kinds
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    step_s = {kind: np.asarray(turns.step_s[kind][SETTLING_STEPS:]) for kind in turns.kinds}
    step_s["planned"] += planning_s / steps
    print(
        f"Trainer against Trainer, {steps} steps in turn, plain {1e3 * np.median(step_s['plain']):.0f} ms: "
        f"planned {_difference(step_s['planned'], step_s['plain'])}, planning included; "
        f"plain again {_difference(step_s['plain again'], step_s['plain'])}"
    )


def _difference(ours_S: Any, theirs_S: Any) -> str:
    """Median of the ratios of neighbouring steps, as single ones are disturbed by whatever else runs; resampled."""
    ratios_S = ours_S / theirs_S
    rows_RS = np.random.default_rng(0).integers(0, len(ratios_S), (2000, len(ratios_S)))
    low, high = np.percentile(np.median(ratios_S[rows_RS], axis=1), [2.5, 97.5])
    return f"{100 * (np.median(ratios_S) - 1):+.2f} % [{100 * (low - 1):+.2f}, {100 * (high - 1):+.2f}]"


class Turns:
    """Lets threads take one step after the other, and keeps the processor seconds of each step."""

    def __init__(self, kinds: tuple[str, ...]) -> None:
        self.kinds = kinds
        self.step_s: dict[str, list[float]] = {kind: [] for kind in kinds}
        self._free = {kind: threading.Semaphore(int(kind == kinds[0])) for kind in kinds}
        self._began_s: dict[str, float] = {}

    def begin(self, kind: str) -> None:
        """Wait for this kind's turn."""
        self._free[kind].acquire()
        self._began_s[kind] = time.thread_time()

    def end(self, kind: str) -> None:
        """The step is done: note it, and let the next go."""
        self.step_s[kind].append(time.thread_time() - self._began_s[kind])
        self._free[self.kinds[(self.kinds.index(kind) + 1) % len(self.kinds)]].release()


def _corpus() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    blocks_XT = rng.integers(0, VOCABULARY, (20_000, LENGTH), dtype=np.uint16)
    return blocks_XT, rng.random(len(blocks_XT))


def _step_s() -> float:
    """CPU seconds of one step of 780k, the median of a few."""
    import torch

    from e2lm_curriculum.model.family import new_llama
    from e2lm_curriculum.model.size import model_size

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
    from e2lm_curriculum.plan.builder import chosen_curriculum
    from e2lm_curriculum.train.batch import PlannedDataset, causal_batch

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


def _train(data: Any, collate: Any, kind: str, steps: int, folder: str, turns: Turns) -> None:
    from transformers import Trainer, TrainerCallback, TrainingArguments
    from transformers.trainer_callback import PrinterCallback

    from e2lm_curriculum.model.family import new_llama
    from e2lm_curriculum.model.size import model_size

    class TakesTurns(TrainerCallback):
        """From the end of a step to the end of the next, in turn with the other Trainer."""

        def on_train_begin(self, *_args: Any, **_keywords: Any) -> None:
            turns.begin(kind)

        def on_step_end(self, args: Any, state: Any, control: Any, **_keywords: Any) -> None:
            turns.end(kind)
            if state.global_step < steps:
                turns.begin(kind)

    arguments = TrainingArguments(
        output_dir=f"{folder}/{kind}",
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
    model = new_llama(model_size("780k"), VOCABULARY, LENGTH, 0)
    trainer = Trainer(model=model, args=arguments, train_dataset=data, data_collator=collate, callbacks=[TakesTurns()])
    trainer.remove_callback(PrinterCallback)
    trainer.train()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100_000_000)
    parser.add_argument("--curricula", nargs="+", default=["climb-ngram-linear", "shuffle"])
    parser.add_argument("--reading-steps", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=300, help="of each Trainer; 0: none")
    options = parser.parse_args()
    if options.samples:
        planning(options.samples, options.curricula)
    reading(options.reading_steps)
    if options.steps:
        training(options.steps)


if __name__ == "__main__":
    main()
