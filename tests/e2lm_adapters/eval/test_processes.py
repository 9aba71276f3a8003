"""``--jobs N``: each process has GPUs of its own, and none outlives the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from e2lm import UserError
from e2lm_adapters.eval import processes
from e2lm_adapters.eval.processes import VISIBLE_GPUS, gpus_of_processes, visible_gpus
from e2lm_adapters.eval.request import EvaluationRequest
from tests.e2lm_adapters.conftest import ROOT, STEPS, Run

#: Two processes that import torch on a busy machine.
WITHIN_S = 300.0
#: What a killed command may leave running, and for how long.
ENDS_WITHIN_S = 10.0


def request(jobs: int, device: str | None = None, **model_arguments: Any) -> EvaluationRequest:
    return EvaluationRequest((), ("small",), Path("out"), jobs=jobs, device=device, model_arguments=model_arguments)


@pytest.fixture
def visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "visible_gpus", lambda: ("0", "2", "GPU-c", "5"))


@pytest.mark.usefixtures("visible")
def test_each_process_has_gpus_of_its_own_among_those_that_the_user_chose() -> None:
    assert gpus_of_processes(request(2), 2) == ["0", "2"]
    assert gpus_of_processes(request(8), 4) == ["0", "2", "GPU-c", "5"]
    assert gpus_of_processes(request(2, tensor_parallel_size=2), 2) == ["0,2", "GPU-c,5"]
    assert gpus_of_processes(request(2, device="cuda", pipeline_parallel_size="2"), 2) == ["0,2", "GPU-c,5"]


@pytest.mark.usefixtures("visible")
def test_one_process_and_cpus_keep_what_they_see() -> None:
    assert gpus_of_processes(request(1), 1) == [None]
    assert gpus_of_processes(request(1, device="cuda:1"), 1) == [None]
    assert gpus_of_processes(request(9, device="cpu"), 9) == [None] * 9


@pytest.mark.usefixtures("visible")
@pytest.mark.parametrize(
    ("asked", "count", "said"),
    [
        (request(5), 5, "--jobs 5: 5 processes take 5 GPUs, and 4 are visible; say --jobs 4, or --device cpu"),
        (request(3, tensor_parallel_size=2), 3, "3 processes take 6 GPUs, and 4 are visible; say --jobs 2"),
        (request(2, device="cuda:1"), 2, "--device cuda:1 with --jobs 2"),
        (request(2, tensor_parallel_size=0), 2, "tensor_parallel_size=0: expected a whole number, 1 or more"),
        (request(2, tensor_parallel_size="two"), 2, "tensor_parallel_size=two"),
        (request(2, distributed_executor_backend="ray"), 2, "--executor ray"),
    ],
)
def test_what_cannot_be_shared_out_is_refused(asked: EvaluationRequest, count: int, said: str) -> None:
    with pytest.raises(UserError, match=said):
        gpus_of_processes(asked, count)


@pytest.mark.parametrize(
    ("chosen", "count", "expected"),
    [(None, 3, ("0", "1", "2")), ("3,1", 2, ("3", "1")), ("GPU-a, GPU-b", 2, ("GPU-a", "GPU-b")), ("", 0, ()),
     ("1,-1,2", 1, ("1",))],
)  # fmt: skip
def test_the_users_choice_of_gpus_is_honoured(
    monkeypatch: pytest.MonkeyPatch, chosen: str | None, count: int, expected: tuple[str, ...]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.delenv(VISIBLE_GPUS, raising=False)
    if chosen is not None:
        monkeypatch.setenv(VISIBLE_GPUS, chosen)
    assert visible_gpus() == expected


PLUGIN = """\
import os, pathlib, time
from multiprocessing import parent_process
import e2lm_adapters.eval.processes as processes
from e2lm_adapters.eval.store import EvaluationStore

place = pathlib.Path(__file__).parent
processes.visible_gpus = lambda: ("4", "GPU-b", "6")
if parent_process() is not None:
    (place / f"seen-{os.getpid()}").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
really_keep = EvaluationStore.keep

def keep(self, kept):
    really_keep(self, kept)
    time.sleep(SLEEP_S)

EvaluationStore.keep = keep
"""


def command(run: Path, task_folder: Path, out: Path, plugin: Path, *more: str) -> list[str]:
    own = ["eval", run, "--tasks", "small", "--include-path", task_folder, "--out", out, "--plugin", plugin]
    own += ["--model-args", "dtype=float32", "--quiet", "--limit", "4", *more]
    return [sys.executable, "-m", "e2lm", *map(str, own)]


@pytest.mark.slow
def test_the_processes_of_the_real_command_see_different_gpus(
    tiny_series: Path, task_folder: Path, tmp_path: Path
) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(PLUGIN.replace("SLEEP_S", "0"), encoding="utf-8")
    own = command(tiny_series, task_folder, tmp_path / "out", plugin, "--jobs")
    done = subprocess.run([*own, "4"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=WITHIN_S)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("e2lm: error: --jobs 4: 4 processes take 4 GPUs, and 3 are visible")
    assert not (tmp_path / "out").exists()
    done = subprocess.run([*own, "2"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=WITHIN_S)
    assert done.returncode == 0, done.stderr
    assert sorted(file.read_text() for file in tmp_path.glob("seen-*")) == ["4", "GPU-b"]
    assert len(list(tmp_path.glob("out/units/*/*.json"))) == len(STEPS)


@pytest.mark.slow
def test_nothing_is_left_running_after_a_killed_command(tiny_series: Path, task_folder: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(PLUGIN.replace("SLEEP_S", "600"), encoding="utf-8")
    own = command(tiny_series, task_folder, tmp_path / "out", plugin, "--jobs", "2", "--device", "cpu")
    driver = subprocess.Popen(own, cwd=ROOT, env=os.environ)
    below: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + WITHIN_S
        while len(list(tmp_path.glob("out/units/*/*.json"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        below = psutil.Process(driver.pid).children(recursive=True)
        assert len(below) >= 2
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        _, alive = psutil.wait_procs(below, timeout=ENDS_WITHIN_S)
        assert alive == []
    finally:
        for one in [*below, psutil.Process(driver.pid)] if driver.poll() is None else below:
            if one.is_running():
                one.kill()
        driver.wait()


def test_the_mistake_of_a_size_that_is_no_number_is_one_line(
    tiny_series: Path, evaluate: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(tiny_series, "--model-args", "tensor_parallel_size=-1") == 2
    assert "tensor_parallel_size=-1: expected a whole number, 1 or more" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
