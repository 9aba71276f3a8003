"""On a local Ray cluster of two workers with one CPU each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from e2lm.command_line import main
from e2lm_adapters.eval.ray import cluster as ray_cluster
from tests.e2lm_adapters.conftest import ROOT, STEPS, no_model_is_built, write_task

TASKS = ("t0", "t1", "t2", "t3")
#: Three processes that import torch on a busy machine.
WITHIN_S = 300.0
#: How long what a killed driver had started may live on.
ENDS_WITHIN_S = 20.0


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ray") / "tasks"
    for seed, name in enumerate(TASKS):
        write_task(folder, name, seed=seed, items=40)
    return folder


def arguments(run: Path, tasks: Path, out: Path, *more: object) -> list[str]:
    own = ["eval", run, "--tasks", ",".join(TASKS), "--include-path", tasks, "--out", out, "--device", "cpu"]
    own += ["--model-args", "dtype=float32", "--tasks-per-unit", "1", "--quiet", *more]
    return [str(one) for one in own]


@pytest.fixture(scope="module")
def local(tiny_series: Path, tasks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of the same evaluation without Ray."""
    out = tmp_path_factory.mktemp("local") / "out"
    assert main(arguments(tiny_series, tasks, out)) == 0
    return out


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    ray_cluster.imported_ray()
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 2,
            "object_store_memory": ray_cluster.OBJECT_STORE_BYTES,
            "include_dashboard": False,
        },
    )
    yield str(cluster.address)
    cluster.shutdown()


def results(out: Path) -> dict[str, bytes]:
    """Everything that holds numbers."""
    files = [out / "scores.csv", out / "scores.parquet", *(out / "samples").rglob("*.parquet")]
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


def units(out: Path) -> int:
    return len(list(out.glob("units/*/*.json")))


def wait_for_units(out: Path, count: int) -> None:
    deadline = time.monotonic() + WITHIN_S
    while units(out) < count and time.monotonic() < deadline:
        time.sleep(0.005)
    assert units(out) >= count


def scoring_workers() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.cmdline()[:1] == ["ray::RayWorker.evaluate"]:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Filled with the number of every worker that is asked for."""
    numbers: list[int] = []
    add = ray_cluster.RayCluster._add

    def counted(self: ray_cluster.RayCluster) -> None:
        add(self)
        numbers.append(self._started)

    monkeypatch.setattr(ray_cluster.RayCluster, "_add", counted)
    return numbers


@pytest.mark.slow
def test_a_killed_driver_and_then_a_killed_worker_change_no_byte_of_the_result(
    tiny_series: Path,
    tasks: Path,
    local: Path,
    address: str,
    tmp_path: Path,
    started: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    command = arguments(tiny_series, tasks, out, "--executor", "ray", "--address", address)
    driver = subprocess.Popen([sys.executable, "-m", "e2lm", *command], cwd=ROOT, env=os.environ)
    try:
        wait_for_units(out, 2)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    kept = {path: path.read_bytes() for path in out.glob("units/*/*.json")}
    assert 2 <= len(kept) < len(STEPS) * len(TASKS) - 2
    assert not (out / "scores.csv").exists()
    killed: list[int] = []

    def kill_one() -> None:
        wait_for_units(out, len(kept) + 2)
        victim = scoring_workers()[0]
        victim.send_signal(signal.SIGKILL)
        killed.append(victim.pid)

    killer = threading.Thread(target=kill_one)
    killer.start()
    assert main(command) == 0
    killer.join()
    assert len(killed) == 1
    assert started == [1, 2, 3]
    assert results(out) == results(local)
    assert {path: path.read_bytes() for path in kept} == kept
    assert not [file for file in out.rglob("*") if ".partial-" in file.name]
    # What Ray finished is finished for a local run too.
    no_model_is_built(monkeypatch)
    assert main(arguments(tiny_series, tasks, out)) == 0


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_what_is_done_stays(
    tiny_series: Path, tasks: Path, local: Path, address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    plugin = tmp_path / "full_disk.py"
    plugin.write_text(
        "import errno\n"
        "from e2lm_adapters.eval.store import EvaluationStore\n"
        "really_keep = EvaluationStore.keep\n"
        "def keep(self, kept):\n"
        "    if any(unit.step >= 20 for unit, _ in kept):\n"
        "        raise OSError(errno.ENOSPC, 'No space left on device', str(self.folder))\n"
        "    really_keep(self, kept)\n"
        "EvaluationStore.keep = keep\n",
        encoding="utf-8",
    )
    from e2lm_adapters.eval.store import EvaluationStore

    keep = EvaluationStore.keep
    command = arguments(tiny_series, tasks, out, "--executor", "ray", "--address", address, "--plugin", plugin)
    try:
        code = main(command)
    finally:
        EvaluationStore.keep = keep  # type: ignore[method-assign]
    assert code == 3
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("e2lm: error:")]
    assert "No space left on device" in line
    assert str(out) in line
    assert "the same command goes on" in line
    assert main(arguments(tiny_series, tasks, out)) == 0
    assert results(out) == results(local)


def run_command(command: list[str], home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """The real command, in a home of its own: tokens of Ray lie in it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.run(
        [sys.executable, "-m", "e2lm", *command],
        cwd=ROOT,
        env={**environment, "HOME": str(home), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_S,
    )


def error_line(done: subprocess.CompletedProcess[str]) -> str:
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("e2lm: error:")]
    assert "Traceback" not in done.stderr
    return line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--worker-gpus", "64"), ("a worker wants 1 CPUs and 64 GPUs", "this machine has")),
        (("--worker-cpus", "4096"), ("--worker-cpus 4096", "this machine has")),
    ],
)
def test_what_this_machine_never_has_is_told_at_once_and_nothing_runs_on(
    tiny_series: Path, tasks: Path, tmp_path: Path, options: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    command = arguments(tiny_series, tasks, tmp_path / "out", "--executor", "ray", *options)
    done = run_command([one for one in command if one not in ("--device", "cpu")], tmp_path)
    line = error_line(done)
    assert done.returncode == 2
    for part in parts:
        assert part in line


@pytest.mark.slow
def test_nothing_is_left_of_a_cluster_whose_driver_was_killed(tiny_series: Path, tasks: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = arguments(tiny_series, tasks, out, "--executor", "ray", "--jobs", "1")
    environment = {**os.environ, "HOME": str(tmp_path)}
    driver = subprocess.Popen([sys.executable, "-m", "e2lm", *command], cwd=ROOT, env=environment)
    below: list[psutil.Process] = []
    try:
        wait_for_units(out, 1)
        below = psutil.Process(driver.pid).children(recursive=True)
        names = " ".join(" ".join(one.cmdline()) for one in below if one.is_running())
        assert "gcs_server" in names
        assert "eval.ray.guard" in names
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        _, alive = psutil.wait_procs(below, timeout=ENDS_WITHIN_S)
        assert [one.cmdline()[:3] for one in alive] == []
    finally:
        if driver.poll() is None:
            driver.kill()
            driver.wait()
        for one in below:
            if one.is_running():
                one.kill()


def test_without_ray_one_line_says_what_to_install(
    tiny_series: Path, tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(arguments(tiny_series, tasks, tmp_path / "out", "--executor", "ray")) == 2
    assert 'pip install "e2lm[ray]"' in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_address_without_the_executor_is_refused(
    tiny_series: Path, tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(tiny_series, tasks, tmp_path / "out", "--address", "here:1")) == 2
    assert "--address: needs --executor ray" in capsys.readouterr().err
