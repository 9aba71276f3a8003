"""Kills ``e2lm watch`` at random beside stand-in trainers, and holds what it leaves against an offline evaluation.

Three trainers, one for each layout (transformers' Trainer; sharded with the index first; ``iter_0000010``), write
checkpoints at random speed, file by file and in pieces, keep the last three, and are killed and resumed; a resumed one
may write its last checkpoint again. The watch is killed (SIGKILL) while it starts, waits, scores and writes. Of every
whole checkpoint a hard link is kept aside, which is evaluated offline in the end.

Printed: how many checkpoints are in the table and how many are listed as missed; of those that a watch saw finished,
and of those that were whole for ``--within`` seconds beside one watch (its start included), how many are in the table;
and what must be 0: rows and items that differ from the offline evaluation, checkpoints that lasted so and are not in
the table, that a watch saw and that are in neither, or that are in both, verdicts, and what was scored twice. Exit code
1 where one is not.

Most watches are forked from a process that has torch in memory, which takes ten seconds of a CPU otherwise; every 20th
is the command itself.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save

from e2lm_testing.tiny_checkpoint import CONTEXT, VOCABULARY, tokenizer_files

LAYOUTS = ("trainer", "sharded", "iter")
KEPT = 3
TASK, LIMIT = "e2lm_early_copying", "4"
RULES = (
    "--stop-if",
    "nan",
    "--alert-if",
    "loss spike",
    "--alert-if",
    "duplicate checkpoint",
    "--alert-if",
    "stalled 1h",
)
PHASES = ("starting", "waiting", "scoring", "writing")
FRESH_EVERY, LONG_LIVES = 20, 0.12


# -- trainers ---------------------------------------------------------------------------------------------------------


def place_of(run: Path, step: int) -> Path:
    return run / (f"iter_{step:07d}" if run.name == "iter" else f"checkpoint-{step}")


def write_model(folder: Path) -> None:
    """One layer, width 16, in float32."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": CONTEXT}
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    LlamaForCausalLM(LlamaConfig(**sizes, **heads, **ends, initializer_range=0.1)).save_pretrained(folder)
    for name, text in tokenizer_files().items():
        (folder / name).write_text(text, encoding="utf-8")


def pieces(run: Path, model: Path, step: int) -> list[tuple[str, bytes]]:
    """Name and bytes of the files of a checkpoint, in the order in which they are written."""
    tensors = load_file(model / "model.safetensors")
    name = sorted(tensors)[0]
    tensors[name] = tensors[name] + np.float32(0.001 * step)
    beside = [(file.name, file.read_bytes()) for file in sorted(model.glob("*.json"))]
    if run.name == "sharded":
        names = sorted(tensors)
        halves = {f"model-0000{k + 1}-of-00002.safetensors": names[k::2] for k in (0, 1)}
        places = {one: file for file, own in halves.items() for one in own}
        index = json.dumps({"metadata": {}, "weight_map": places}).encode()
        shards = [(file, save({one: tensors[one] for one in own}, {"format": "pt"})) for file, own in halves.items()]
        return [("model.safetensors.index.json", index), *shards, *beside]
    weights = ("model.safetensors", save(tensors, {"format": "pt"}))
    if run.name == "trainer":
        return [weights, *beside, ("optimizer.pt", b"0" * 4096), ("trainer_state.json", logged(step))]
    return [*beside, weights]


def logged(step: int) -> bytes:
    """What the Trainer says of its losses: they fall, with noise."""
    rng = np.random.default_rng(1)
    losses = [{"step": one, "loss": float(2 + 4 * one**-0.3 + rng.normal(0, 0.05))} for one in range(1, step + 1)]
    return json.dumps({"global_step": step, "log_history": losses}).encode()


@dataclass
class StandIn:
    """Writes the checkpoints that are not there yet; a killed one is begun anew."""

    folder: Path
    layout: str
    pause_s: float

    def __post_init__(self) -> None:
        self.run, self.aside = (self.folder / one / self.layout for one in ("live", "aside"))

    def train(self, count: int) -> None:
        """Write what is missing of so many checkpoints, and perhaps the last one again."""
        random.seed()
        whole = len(list(self.aside.glob("[!.]*")))
        again = whole > 0 and random.random() < 0.5
        for number in range(whole + 1 - again, count + 1):
            self._write(10 * number)
            for old in range(10, 10 * (number - KEPT) + 1, 10):
                self._delete(old)
            time.sleep(random.expovariate(1 / self.pause_s))

    def _write(self, step: int) -> None:
        place = place_of(self.run, step)
        self._delete(step)
        place.mkdir()
        for name, data in pieces(self.run, self.folder / "model", step):
            with open(place / name, "wb") as file:
                for start in range(0, len(data), max(len(data) // 3, 1)):
                    file.write(data[start : start + max(len(data) // 3, 1)])
                    file.flush()
                    time.sleep(random.expovariate(50 / self.pause_s))
        self._note("whole", step)
        kept, partial = self.aside / place.name, self.aside / f".{place.name}"
        if not kept.exists():
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(place, partial, copy_function=os.link)
            partial.rename(kept)

    def _delete(self, step: int) -> None:
        place = place_of(self.run, step)
        if place.exists():
            self._note("gone", step)
            shutil.rmtree(place)

    def _note(self, what: str, step: int) -> None:
        with open(self.folder / f"{self.layout}.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps([what, step, time.time()]) + "\n")


def intervals(folder: Path, layout: str) -> Iterator[tuple[int, float, float]]:
    """Step, and from when to when it was whole."""
    since: dict[int, float] = {}
    for line in (folder / f"{layout}.jsonl").read_text(encoding="utf-8").splitlines():
        what, step, at_s = json.loads(line)
        if what == "whole":
            since[step] = at_s
        elif step in since:
            yield step, since.pop(step), at_s
    yield from ((step, at_s, float("inf")) for step, at_s in since.items())


# -- the watch --------------------------------------------------------------------------------------------------------


def watch_words(folder: Path) -> list[str]:
    words = ["watch", *(str(folder / "live" / one) for one in LAYOUTS), "--tasks", TASK, "--out", str(folder / "out")]
    return [*words, "--limit", LIMIT, "--every", "0.5", "--pin", "--device", "cpu", "--quiet", *RULES]


def forked_watch(folder: Path) -> None:
    """The command, which notes beside what it saw in every look."""
    from e2lm.command_line import main
    from e2lm_adapters.watch.finished import Look, WatchedRun

    look = WatchedRun.look

    def noted(run: WatchedRun) -> Look:
        found = look(run)
        line = [os.getpid(), sorted(found.present), sorted(one.label for one in found.finished)]
        with open(folder / "looks.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return found

    WatchedRun.look = noted  # type: ignore[method-assign]
    log = os.open(folder / "watch.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os._exit(main(watch_words(folder)))


class Life:
    """One watch, from its start until it is killed."""

    def __init__(self, folder: Path, fresh: bool) -> None:
        self.began_s, self.ended_s = time.time(), float("inf")
        self._out, self._process = folder / "out", self._started(folder, fresh)
        self.pid = self._process.pid

    @staticmethod
    def _started(folder: Path, fresh: bool) -> Any:
        if fresh:
            with open(folder / "watch.log", "ab") as log:
                return subprocess.Popen([sys.executable, "-m", "e2lm", *watch_words(folder)], stdout=log, stderr=log)
        process = get_context("fork").Process(target=forked_watch, args=(folder,))
        process.start()
        return process

    def phase(self) -> str:
        """What it does, as its files tell."""
        patterns = ("", "units/*", "samples/*/*", "pinned/*")
        folders = [one for pattern in patterns for one in (self._out.glob(pattern) if pattern else [self._out])]
        names = [file.name for one in folders if one.is_dir() for file in one.iterdir()]
        if any(name.startswith(".partial-") and f".{self.pid}." in name for name in names):
            return "writing"
        return "scoring" if any((self._out / "pinned").glob("*/[!.]*")) else "waiting"

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self._process.kill()
        self._process.wait() if isinstance(self._process, subprocess.Popen) else self._process.join()
        self.ended_s = time.time()

    def died(self) -> bool:
        """Whether it has ended by itself."""
        process = self._process
        return process.poll() is not None if isinstance(process, subprocess.Popen) else not process.is_alive()


@dataclass
class Course:
    """Trainers and watches until all is written; what was seen on the way."""

    arguments: argparse.Namespace
    folder: Path
    lives: list[Life] = field(default_factory=list)
    phases: Counter[str] = field(default_factory=Counter)
    trainers_killed: int = 0
    scored_twice: set[str] = field(default_factory=set)
    ended_early: int = 0
    _units: dict[Path, tuple[int, int]] = field(default_factory=dict)

    def run(self) -> None:
        """Until every trainer has written all; a watch that is not killed finishes the rest."""
        trainers = {one: self._trainer(one) for one in LAYOUTS}
        self._start()
        try:
            while any(one.is_alive() for one in trainers.values()):
                if sum(self.phases.values()) < self.arguments.kills:
                    self._kill_at(random.choice(PHASES))
                    self._start()
                else:
                    time.sleep(1)
                self._look_at_units()
                if random.random() < 0.2:
                    self._resume(trainers, random.choice(LAYOUTS))
        finally:
            self.lives[-1].kill()
            for process in trainers.values():
                process.kill()
                process.join()
        command = [sys.executable, "-m", "e2lm", *watch_words(self.folder), "--until-idle", "5"]
        self.ended_early += subprocess.run(command, check=False).returncode != 0
        self._look_at_units()

    def _trainer(self, layout: str) -> Any:
        stand_in = StandIn(self.folder, layout, self.arguments.pause)
        process = get_context("fork").Process(target=stand_in.train, args=(self.arguments.checkpoints,))
        process.start()
        return process

    def _resume(self, trainers: dict[str, Any], layout: str) -> None:
        if trainers[layout].is_alive():
            trainers[layout].kill()
            trainers[layout].join()
            trainers[layout] = self._trainer(layout)
            self.trainers_killed += 1

    def _start(self) -> None:
        self.lives.append(Life(self.folder, len(self.lives) % FRESH_EVERY == FRESH_EVERY - 1))

    def _kill_at(self, phase: str) -> None:
        """Kill the watch in this phase, or after some time where it does not come to it."""
        life = self.lives[-1]
        if phase == "starting":
            time.sleep(random.uniform(0, 1))
        else:
            time.sleep(
                2 * self.arguments.within if random.random() < LONG_LIVES else random.uniform(1, self.arguments.within)
            )
            until_s = time.time() + 15
            while life.phase() != phase and time.time() < until_s:
                time.sleep(0.02)
            time.sleep(0 if phase == "writing" else random.uniform(0, 1))
        self.ended_early += life.died()
        life.kill()
        self.phases[phase if phase == "starting" else life.phase()] += 1

    def _look_at_units(self) -> None:
        """A unit that is written once more has been scored twice."""
        for file in (self.folder / "out" / "units").glob("*/[!.]*"):
            stamp = (file.stat().st_ino, file.stat().st_mtime_ns)
            if self._units.setdefault(file, stamp) != stamp:
                self.scored_twice.add(file.name)


# -- what is left -----------------------------------------------------------------------------------------------------


def beside_one_watch_s(course: Course, layout: str) -> dict[int, float]:
    """For every step, the longest time for which it was whole beside one and the same watch."""
    found: dict[int, float] = {}
    for step, since_s, until_s in intervals(course.folder, layout):
        for life in course.lives:
            both_s = min(until_s, life.ended_s) - max(since_s, life.began_s)
            found[step] = max(found.get(step, 0.0), both_s)
    return found


def looked_at(folder: Path) -> tuple[set[str], set[str]]:
    """Labels that a watch saw, and that it saw finished, in a look that it lived to write down: another came after."""
    lines = [json.loads(line) for line in (folder / "looks.jsonl").read_text(encoding="utf-8").splitlines()]
    last = {process: number for number, (process, *_) in enumerate(lines)}
    lived = [line for number, line in enumerate(lines) if number + len(LAYOUTS) <= last[line[0]]]
    return {one for _, seen, _ in lived for one in seen}, {one for _, _, whole in lived for one in whole}


def report(course: Course) -> tuple[dict[str, Any], dict[str, int]]:
    """What there is, and what must be 0."""
    folder, count = course.folder, course.arguments.checkpoints
    offline = [sys.executable, "-m", "e2lm", "eval", *(str(folder / "aside" / one) for one in LAYOUTS), "--tasks", TASK]
    offline += ["--out", str(folder / "offline"), "--limit", LIMIT, "--device", "cpu", "--quiet"]
    subprocess.run(offline, check=True)
    tables = [pd.read_parquet(folder / one / "scores.parquet") for one in ("out", "offline")]
    own, other = ({key: rows.to_csv(index=False) for key, rows in one.groupby(["series", "step"])} for one in tables)
    record = json.loads((folder / "out" / "watch.json").read_text(encoding="utf-8"))
    missed = {one["what"] for one in record["left_out"]}
    labels = {key: f"{key[0]}/{place_of(Path(key[0]), int(key[1])).name}" for key in other}
    beside = {(one, step): s for one in LAYOUTS for step, s in beside_one_watch_s(course, one).items()}
    lasted = [key for key in other if beside.get(key, 0.0) >= course.arguments.within]
    units = [re.match(r"\d+", file.name)[0] + file.parent.name for file in (folder / "out/units").glob("*/*.json")]  # type: ignore[index]
    made = [file.relative_to(folder / "out") for file in (folder / "out" / "units").glob("*/*.parquet")]
    items = [one for one in made if (folder / "offline" / one).is_file()]
    verdicts = folder / "out" / "verdicts.jsonl"
    seen, whole = looked_at(folder)
    neither = {labels[key] for key in other if key not in own and labels[key] not in missed}
    told = {
        "checkpoints": count * len(LAYOUTS),
        "whole offline": len(other),
        "kills of the watch": dict(course.phases),
        "kills of trainers": course.trainers_killed,
        "in the table": len(own),
        "missed": len(missed),
        "in neither, seen or not": len(neither),
        "seen by a watch": len(seen),
        "seen finished": len(whole),
        "seen finished, in the table": sum(labels[key] in whole for key in own if key in labels),
        f"whole {course.arguments.within:g} s beside one watch": len(lasted),
        "of these in the table": sum(key in own for key in lasted),
        "longest of a missed one, s": round(max((s for key, s in beside.items() if key not in own), default=0.0), 1),
    }
    return told, {
        "rows differ": sum(own[key] != other[key] for key in own if key in other),
        "items differ": sum((folder / "out" / x).read_bytes() != (folder / "offline" / x).read_bytes() for x in items),
        "in the table only": sum(key not in other for key in own),
        f"whole {course.arguments.within:g} s, not in the table": sum(key not in own for key in lasted),
        "seen, and in neither": len(neither & seen),
        "in both": sum(label in missed for key, label in labels.items() if key in own),
        "still waited for": len(record["unscored"]),
        "scored before they were whole": len(made) - len(items),
        "scored twice": len(course.scored_twice) + len(units) - len(set(units)),
        "verdicts": len(verdicts.read_text(encoding="utf-8").splitlines()) if verdicts.is_file() else 0,
        "watches that ended by themselves": course.ended_early,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=int, default=67, help="of each layout")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--pause", type=float, default=30.0, help="mean time between two checkpoints, s")
    parser.add_argument(
        "--within", type=float, default=40.0, help="what was whole for so long beside a watch is scored, s"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="work in this folder, and leave it")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    import lm_eval.tasks  # noqa: F401
    import torch  # noqa: F401

    with TemporaryDirectory() as text:
        folder = arguments.keep or Path(text)
        for name in LAYOUTS:
            (folder / "live" / name).mkdir(parents=True)
            (folder / "aside" / name).mkdir(parents=True)
        subprocess_model(folder / "model")
        course = Course(arguments, folder)
        course.run()
        told, wrong = report(course)
    for what, number in [*told.items(), *wrong.items()]:
        print(f"{what:<36} {number}")
    return int(any(wrong.values()))


def subprocess_model(folder: Path) -> None:
    """Made in a process of its own, so that this one stays as it is for those that are forked from it."""
    process = get_context("fork").Process(target=write_model, args=(folder,))
    process.start()
    process.join()


if __name__ == "__main__":
    sys.exit(main())
