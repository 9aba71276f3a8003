from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from e2lm.weights import read_weight_index, weights_hash
from e2lm_curriculum.config.training import TrainingConfig
from e2lm_curriculum.train.ladder import train
from e2lm_curriculum.train.locks import folder_lock
from e2lm_curriculum.train.model_run import ModelRun
from e2lm_curriculum.train.prepared import prepare
from e2lm_curriculum.train.resume import mark_complete, newest_state, resume_folder, state_step, sweep_states
from e2lm_curriculum.train.trainer import train_model
from tests.e2lm_curriculum.conftest import command_words

KILLS = 3
DEADLINE_S = 240.0


def command(config: TrainingConfig) -> list[str]:
    return [sys.executable, "-m", "e2lm", *command_words(config), "--resume-interval-s=0"]


def start(config: TrainingConfig, stderr: int | None = None) -> subprocess.Popen[bytes]:
    threads = str(torch.get_num_threads())
    return subprocess.Popen(
        command(config), env={**os.environ, "OMP_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"}, stderr=stderr
    )


def hashes(config: TrainingConfig) -> dict[str, str]:
    out = config.run.out_folder
    folders = sorted(out.glob("*/checkpoint-*"))
    return {str(folder.relative_to(out)): weights_hash(read_weight_index(folder)) for folder in folders}


def newest_step(config: TrainingConfig) -> int:
    marks = config.run.out_folder.glob("*/.resume/checkpoint-*/complete")
    return max((state_step(mark.parent) for mark in marks), default=0)


def killed_at_a_random_step(config: TrainingConfig, after: int, chance: random.Random) -> int:
    """Kill the run a little after it saved a state beyond step ``after``; the step of the newest state it left."""
    process = start(config)
    deadline = time.monotonic() + DEADLINE_S
    while newest_step(config) <= after:
        assert process.poll() is None, "finished before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(chance.uniform(0.0, 0.5))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    return newest_step(config)


@pytest.mark.slow
def test_a_run_killed_again_and_again_has_the_weights_of_a_straight_run(
    trained: TrainingConfig, tmp_path: Path
) -> None:
    changes = {"sizes": ("1x16",), "tokens": 1500 * 4 * 32, "schedule": "cosine", "checkpoints": 20}
    straight = trained.changed(**changes, out=str(tmp_path / "straight"))
    train(straight, quiet=True)
    killed = straight.changed(out=str(tmp_path / "killed"))
    chance = random.Random(0)
    step = 0
    for _ in range(KILLS):
        left = killed_at_a_random_step(killed, step, chance)
        assert left > step
        step = left
    last = start(killed, stderr=subprocess.PIPE)
    _, said = last.communicate()
    assert (last.returncode, said) == (0, b"")
    assert len(hashes(killed)) == 21
    assert hashes(killed) == hashes(straight)
    assert not resume_folder(killed.run.out_folder / "1x16").exists()


@pytest.mark.slow
def test_two_sizes_at_once_survive_the_death_of_their_parent(trained: TrainingConfig, tmp_path: Path) -> None:
    changes = {"tokens": 400 * 4 * 32, "jobs": 2}
    straight = trained.changed(**{**changes, "jobs": 1}, out=str(tmp_path / "straight"))
    train(straight, quiet=True)
    killed = straight.changed(**changes, out=str(tmp_path / "killed"))
    killed_at_a_random_step(killed, 0, random.Random(1))
    assert start(killed).wait() == 0
    assert hashes(killed) == hashes(straight)


def test_a_run_that_goes_on_starts_at_the_state_and_not_at_the_beginning(
    trained: TrainingConfig, tmp_path: Path
) -> None:
    changes = {"sizes": ("1x16",), "tokens": 600 * 4 * 32, "resume_interval_s": 0.0}
    config = trained.changed(**changes, out=str(tmp_path / "out"))
    run = ModelRun(config, config.model.ladder[0])
    prepared = prepare(config)

    def interrupt(step: int) -> None:
        if newest_step(config) > 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_model(run, prepared, interrupt)
    stopped = newest_step(config)
    steps: list[int] = []
    train_model(run, prepared, steps.append)
    assert steps[:2] == [stopped, stopped + 1]
    assert steps[-1] == 600


def test_half_written_states_are_thrown_away(tmp_path: Path) -> None:
    for step in (10, 200, 30):
        state = resume_folder(tmp_path) / f"checkpoint-{step}"
        state.mkdir(parents=True)
        (state / "optimizer.pt").write_bytes(b"x")
        if step != 200:
            mark_complete(state)
    assert sweep_states(tmp_path) == ()
    found = newest_state(tmp_path)
    assert found is not None
    assert state_step(found) == 30
    assert not (resume_folder(tmp_path) / "checkpoint-200").exists()


def test_a_folder_is_held_by_one_process_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from e2lm import UserError
    from e2lm_curriculum.train import locks as module

    monkeypatch.setattr(module, "PATIENCE_S", 0.3)
    with folder_lock(tmp_path), pytest.raises(UserError, match="another process"), folder_lock(tmp_path):
        pytest.fail("two held it")
    with folder_lock(tmp_path):
        assert (tmp_path / ".lock").exists()
