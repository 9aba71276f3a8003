"""The process tree that ``e2lm train`` starts: nothing hangs, nothing stays behind, no promise is broken."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from e2lm.errors import MachineError, UserError
from e2lm.run_record import RunRecord
from e2lm.weights import read_weight_index, weights_hash
from e2lm_curriculum.config.training import TrainingConfig
from e2lm_curriculum.train import ladder
from e2lm_curriculum.train.ladder import require_room, train
from e2lm_curriculum.train.model_run import ModelRun
from e2lm_curriculum.train.prepared import prepare
from e2lm_curriculum.train.processes import _ended_early, told_error
from e2lm_curriculum.train.resume import COMPLETE_MARK, newest_state, resume_folder, state_step, sweep_states
from e2lm_curriculum.train.trainer import train_model
from tests.e2lm_curriculum.conftest import command_words

DEADLINE_S = 240.0


def started(config: TrainingConfig, *more: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "e2lm", *command_words(config), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def weights(out: Path) -> dict[str, str]:
    return {place.name: weights_hash(read_weight_index(place)) for place in sorted(out.glob("1x16/checkpoint-*"))}


def kill_the_training_process(command: subprocess.Popen[str], run: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not (run / "checkpoint-0").is_dir():
        assert command.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (child,) = psutil.Process(command.pid).children()
    child.kill()


def test_loader_processes_give_the_weights_of_none_through_the_command_also_after_a_kill(
    trained: TrainingConfig, tmp_path: Path
) -> None:
    config = trained.changed(sizes=("1x16",), out=str(tmp_path / "out"), loader_workers=2)
    process = started(config, "--loader-workers=2")
    try:
        kill_the_training_process(process, config.run.out_folder / "1x16")
        _, said = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
    assert process.returncode == 3
    assert said.strip().endswith("ended from outside (SIGKILL); run it again to go on")
    assert "\n" not in said.strip()
    process = started(config, "--loader-workers=2")
    try:
        _, said = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
    assert (process.returncode, said) == (0, "")
    assert weights(config.run.out_folder) == weights(trained.run.out_folder)


def test_nothing_is_left_of_a_killed_command_with_loader_processes(trained: TrainingConfig, tmp_path: Path) -> None:
    config = trained.changed(sizes=("1x16",), tokens=100_000 * 128, checkpoints=2, out=str(tmp_path / "out"))
    process = started(config, "--loader-workers=2", "--resume-interval-s=0")
    deadline = time.monotonic() + DEADLINE_S
    while (
        not (tree := psutil.Process(process.pid).children(recursive=True))
        or newest_state(config.run.out_folder / "1x16") is None
    ):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    tree = psutil.Process(process.pid).children(recursive=True)
    assert len(tree) >= 3  # the training process and its two loaders
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)  # whose pipes nobody holds any more
    _, alive = psutil.wait_procs(tree, timeout=30)
    assert alive == []


@pytest.fixture
def stopped(trained: TrainingConfig, tmp_path: Path) -> ModelRun:
    """A run that stopped with two states."""
    changes = {"sizes": ("1x16",), "tokens": 400 * 4 * 32, "resume_interval_s": 0.0}
    config = trained.changed(**changes, out=str(tmp_path / "out"))
    run = ModelRun(config, config.model.ladder[0])
    prepared = prepare(config)

    def interrupt(step: int) -> None:
        if len(list(resume_folder(run.folder).glob(f"*/{COMPLETE_MARK}"))) > 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_model(run, prepared, interrupt)
    return run


@pytest.mark.parametrize("damage", ["truncated", "changed", "gone", "mark"])
def test_a_damaged_state_costs_itself_and_the_one_before_is_used(
    stopped: ModelRun, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = newest_state(stopped.folder)
    assert newest is not None
    file = newest / ("optimizer.pt" if damage in {"changed", "gone"} else "model.safetensors")
    if damage == "gone":
        file.unlink()
    elif damage == "changed":
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    else:
        os.truncate(newest / COMPLETE_MARK if damage == "mark" else file, 20)
    (left_out,) = sweep_states(stopped.folder)
    assert left_out.what == f"state at step {state_step(newest)}"
    assert "left out: state at step" in capsys.readouterr().err
    before = newest_state(stopped.folder)
    assert before is not None
    assert 0 < state_step(before) < state_step(newest)
    assert sweep_states(stopped.folder) == ()


def test_a_run_goes_on_over_a_damaged_state_to_the_same_weights_and_says_so(stopped: ModelRun, tmp_path: Path) -> None:
    newest = newest_state(stopped.folder)
    assert newest is not None
    os.truncate(newest / "model.safetensors", 1000)
    train_model(stopped, prepare(stopped.config), lambda step: None)
    straight = stopped.config.changed(out=str(tmp_path / "straight"))
    train_model(ModelRun(straight, stopped.size), prepare(straight), lambda step: None)
    assert weights(stopped.out) == weights(straight.run.out_folder)
    assert [one.what for one in RunRecord.from_json_file(stopped.folder / "run.json").left_out] == [
        f"state at step {state_step(newest)}"
    ]


def test_too_little_room_is_told_before_training(
    trained: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ModelRun(trained.changed(out=str(tmp_path / "out")), trained.model.ladder[0])
    vocabulary = prepare(run.config).vocabulary
    needed = run.disk_bytes(vocabulary)
    assert needed == 4 * run.params(vocabulary) * (7 + 3 * 3)
    usage = ladder.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(ladder.shutil, "disk_usage", lambda place: usage._replace(free=needed - 1))
    with pytest.raises(MachineError, match=r"MB are free, checkpoints and states take .*make room"):
        train(run.config.changed(sizes=(run.name,)), quiet=True)
    monkeypatch.setattr(ladder.shutil, "disk_usage", lambda place: usage._replace(free=needed))
    require_room([run])


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "x"),
        Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
        MemoryError(),
        RuntimeError("DataLoader worker (pid 4711) is killed by signal: Killed. "),
        RuntimeError("DataLoader worker (pid(s) 4711, 4712) exited unexpectedly"),
    ],
)
def test_what_the_machine_does_not_give_is_told_as_that(trained: TrainingConfig, error: Exception) -> None:
    told = told_error(error, ModelRun(trained, trained.model.ladder[0]))
    assert isinstance(told, MachineError)
    assert any(words in str(told) for words in ("make room", "out of memory", "run it again to go on"))


def test_a_fault_of_the_program_is_no_promise(trained: TrainingConfig) -> None:
    run = ModelRun(trained, trained.model.ladder[0])
    assert told_error(KeyError("x"), run) is None
    assert "go on" not in str(_ended_early(run, 1))
    assert "SIGKILL" in str(_ended_early(run, -9))
    assert not isinstance(_ended_early(run, 1), UserError)
