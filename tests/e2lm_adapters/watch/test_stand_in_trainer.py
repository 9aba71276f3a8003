"""A stand-in trainer writes checkpoints in pieces, keeps the last three, is killed and resumed; the watch is killed at
random; in the end every checkpoint is in the table with its own numbers, or listed as missed, and nothing is both.

Time passes only where the watch waits, so every course is fixed by its seed.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from e2lm.command_line import main
from e2lm.results import read_scores
from e2lm.scores import ScoreRow, Scores
from e2lm.weights import read_weight_index
from e2lm_adapters.checkpoints import settling
from e2lm_adapters.eval.series import Evaluation
from e2lm_adapters.watch.watcher import Watcher

COUNT, KEPT = 7, 3
LAYOUTS = ("trainer", "sharded", "megatron-names")


class KilledError(BaseException):
    """As SIGKILL: nothing is tidied up."""


def tensors(step: int) -> dict[str, np.ndarray]:
    wide = np.arange(6, dtype=np.float32)
    return {"model.embed_tokens.weight": wide, "model.norm.weight": np.full(4, step, np.float32)}


def files_of(layout: str, step: int) -> list[tuple[str, bytes]]:
    """Name and bytes of what a checkpoint consists of, in the order in which it is written."""
    companions = [("config.json", b'{"model_type": "llama"}'), ("tokenizer.json", b"{}")]
    if layout == "sharded":
        names = list(tensors(step))
        shards = [f"model-0000{k}-of-00002.safetensors" for k in (1, 2)]
        index = json.dumps({"weight_map": dict(zip(names, shards, strict=True))}).encode()
        written = [(shard, save({name: tensors(step)[name]})) for name, shard in zip(names, shards, strict=True)]
        return [("model.safetensors.index.json", index), *written, *companions]
    weights = ("model.safetensors", save(tensors(step)))
    if layout == "trainer":
        state = ("trainer_state.json", json.dumps({"global_step": step}).encode())
        return [companions[0], weights, companions[1], ("optimizer.pt", b"0" * 64), state]
    return [*companions, weights]


class StandIn:
    """Writes half a file at a time; now and then it is killed, and begins again at the last whole checkpoint."""

    def __init__(self, run: Path, layout: str, rng: np.random.Generator) -> None:
        self.run, self.layout, self._rng = run, layout, rng
        self.whole: set[int] = set()

    def place(self, step: int) -> Path:
        return self.run / (f"iter_{step:07d}" if self.layout == "megatron-names" else f"checkpoint-{step}")

    def work(self) -> Iterator[None]:
        step = 10
        while step <= 10 * COUNT:
            killed = False
            self.place(step).mkdir(exist_ok=True)
            for name, data in files_of(self.layout, step):
                for end in (len(data) // 2, len(data)):
                    (self.place(step) / name).write_bytes(data[:end])
                    yield
                killed = self._rng.random() < 0.02
                if killed:
                    break
            if killed:
                step = max(self.whole, default=10)
                self.whole.discard(step)
                continue
            self.whole.add(step)
            for old in sorted(self.whole)[:-KEPT]:
                shutil.rmtree(self.place(old))
                self.whole.discard(old)
            step += 10
            yield from [None] * int(self._rng.integers(0, 8))


class Course:
    """What happens while the watch waits and scores: the trainer goes on, or the watch is killed."""

    def __init__(self, trainer: StandIn, out: Path, rng: np.random.Generator) -> None:
        self.trainer, self.out, self._rng = trainer, out, rng
        self._work = trainer.work()
        self.ended = False
        self.lasted: set[int] = set()
        self.looked: dict[int, int] = {}

    def wait(self, seconds: float) -> None:
        self.looked = {step: self.looked.get(step, 0) + 1 for step in self.trainer.whole}
        self.lasted |= {step for step, looks in self.looked.items() if looks >= 3}
        for _ in range(int(self._rng.integers(1, 10))):
            self.ended = next(self._work, "end") == "end"
        if self.ended:
            raise KilledError
        self._perhaps_killed(0.2)

    def _perhaps_killed(self, probability: float) -> None:
        if self._rng.random() < probability:
            self.looked = {}
            raise KilledError

    def score(self, series: Any) -> Evaluation:
        rows = read_scores(self.out).scores.rows() if (self.out / "scores.csv").is_file() else ()
        found = {row.step: row for row in rows}
        for point in series[0].checkpoints:
            weights: dict[str, np.ndarray] = {}
            for file in read_weight_index(point.folder).files:
                weights |= load_file(file)
            value = float(weights["model.norm.weight"].mean())
            found[point.step] = ScoreRow(series[0].name, point.step, "small", "acc", value)
            self._perhaps_killed(0.05)
        Scores.from_rows(found.values()).write(self.out)
        self._perhaps_killed(0.1)
        return Evaluation(Scores.from_rows([]), ())


@pytest.fixture
def without_models(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(settling, "FRESH_S", 0.0)
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    monkeypatch.setattr("e2lm_adapters.watch.command._check", lambda arguments: None)
    monkeypatch.setattr("e2lm_adapters.watch.watcher.time.sleep", lambda seconds: None)
    return monkeypatch


@pytest.mark.parametrize(("layout", "pins"), zip(LAYOUTS, [True, True, False], strict=True))
def test_every_checkpoint_is_in_the_table_or_missed(
    layout: str, pins: bool, tmp_path: Path, without_models: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(LAYOUTS.index(layout) + 10 * pins)
    run, out = tmp_path / "live", tmp_path / "out"
    run.mkdir()
    course = Course(StandIn(run, layout, rng), out, rng)
    without_models.setattr(Watcher, "_wait", lambda self, seconds: course.wait(seconds))
    without_models.setattr("e2lm_adapters.watch.watcher.scorer", lambda arguments, source: course.score)
    command = ["watch", str(run), "--tasks", "small", "--out", str(out), *(["--pin"] if pins else [])]
    kills = 0
    while not course.ended:
        with suppress(KilledError):
            main([*command, "--until-idle", "30"])
        kills += 1
    for _ in range(9):
        with suppress(KilledError):
            assert main([*command, "--once"]) == 0
            break
    assert kills > 2
    scored = {int(row.step): row.value for row in read_scores(out).scores.rows()}
    assert scored == {step: float(step) for step in scored}
    record = json.loads((out / "watch.json").read_text(encoding="utf-8"))
    missed = {int(re.findall(r"[0-9]+", one["what"])[-1]) for one in record["left_out"]}
    assert not missed & set(scored)
    assert record["unscored"] == {}
    assert course.trainer.whole <= set(scored)
    assert len(scored) + len(missed) >= COUNT - 1
    if pins:
        assert course.lasted <= set(scored)
