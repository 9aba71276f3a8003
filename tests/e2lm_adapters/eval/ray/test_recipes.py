"""The script for Slurm in docs/clusters.md as it stands there, and tokens, with Ray's real processes on one machine."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from e2lm_adapters.eval.ray.guard import end_all
from tests.e2lm_adapters.conftest import ROOT, write_task

pytest.importorskip("ray")
#: The head, a raylet and two workers that import torch, on a busy machine.
WITHIN_S = 400.0
#: Stands for Slurm on a cluster of this one machine: leaves the options out and runs the rest, or nothing on no node.
SRUN = """\
#!/bin/bash
while [[ "$1" == -* ]]; do
    case "$1" in
        --nodes=0) exit 0 ;;
        -w) shift ;;
    esac
    shift
done
exec "$@"
"""


def script() -> str:
    """The bash block under the heading Slurm."""
    text = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
    found = re.search(r"## Slurm\n\n```bash\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def environment(home: Path, **more: str) -> dict[str, str]:
    """Nobody's tokens and addresses, and the commands of the environment that runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    path = os.pathsep.join([str(home / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**kept, "HOME": str(home), "PATH": path, "RAY_USAGE_STATS_ENABLED": "0", **more}


@contextmanager
def running(command: list[str], env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a session of its own, which ends with all below it at the end of the block."""
    with open(log, "wb") as told:
        process = subprocess.Popen(command, env=env, cwd=ROOT, stdout=told, stderr=told, start_new_session=True)
    try:
        yield process
    finally:
        # Whatever became of its parents: all that it started have its variables.
        end_all(one for one in psutil.process_iter(["environ"]) if (one.info["environ"] or {}).get("LOG") == str(log))
        process.wait()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with stand-ins for Slurm's commands, and ``e2lm`` as this tree has it."""
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "srun").write_text(SRUN, encoding="utf-8")
    (commands / "scontrol").write_text("#!/bin/bash\nhostname\n", encoding="utf-8")
    (commands / "e2lm").write_text(f'#!/bin/bash\nexec {sys.executable} -m e2lm "$@"\n', encoding="utf-8")
    for file in commands.iterdir():
        file.chmod(0o755)
    return tmp_path


@pytest.fixture
def scratch(tmp_path: Path, tiny_series: Path) -> Path:
    """A run of two checkpoints and two tasks."""
    place = tmp_path / "scratch"
    shutil.copytree(tiny_series, place / "run")
    for step in (20, 30):
        shutil.rmtree(place / "run" / f"checkpoint-{step}")
    (place / "run" / "series.json").unlink()
    for seed, name in enumerate("AB"):
        write_task(place / "tasks", name, seed=seed, items=4)
    return place


@pytest.mark.slow
def test_the_script_for_slurm_does_what_it_says(home: Path, scratch: Path) -> None:
    text = script()
    assert "--jobs $((4 * SLURM_NNODES)) --worker-cpus 8 --worker-gpus 1" in text
    text = text.replace("port=6379", f"port={free_port()}")
    more = f"--include-path {scratch / 'tasks'} --tokens-per-step 100 --quiet"
    text = text.replace("--executor ray", f"{more} --executor ray")
    log = home / "log"
    slurm = {"SLURM_NNODES": "1", "SLURM_JOB_NODELIST": "here", "SLURM_CPUS_PER_TASK": "32", "SCRATCH": str(scratch)}
    env = environment(home, LOG=str(log), **slurm)
    # A token that somebody's earlier work has left does not matter.
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("an-old-token-of-another-cluster-0123456789", encoding="utf-8")
    with running(["bash", "-c", text], env, log) as job:
        assert job.wait(timeout=WITHIN_S) == 0, log.read_text()
    assert (scratch / "out" / "scores.csv").is_file(), log.read_text()
    assert len(list((scratch / "out").glob("units/*/*.json"))) == 4


@pytest.mark.slow
def test_a_cluster_that_wants_a_token_takes_the_one_at_home_and_tells_who_has_none(home: Path, scratch: Path) -> None:
    port, log = free_port(), home / "log"
    env = environment(home, LOG=str(log))
    subprocess.run(["ray", "get-auth-token", "--generate"], env=env, check=True, capture_output=True, timeout=WITHIN_S)
    start = ["ray", "start", "--head", f"--port={port}", "--num-cpus=1", "--include-dashboard=false", "--block"]
    with running(start, env, log):
        deadline = time.monotonic() + WITHIN_S
        while "Ray runtime started" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.5)

        def evaluated(tokens_at: Path, **more: str) -> subprocess.CompletedProcess[str]:
            own = ["e2lm", "eval", scratch / "run", "--tasks", "A", "--include-path", scratch / "tasks", "--quiet"]
            own += ["--out", scratch / "out", "--tokens-per-step", "100"]
            own += ["--executor", "ray", "--address", f"127.0.0.1:{port}"]
            variables = {**env, "HOME": str(tokens_at), **more}
            return subprocess.run(
                list(map(str, own)), env=variables, capture_output=True, text=True, check=False, timeout=WITHIN_S
            )

        nobody = home / "nobody"
        nobody.mkdir()
        refused = evaluated(nobody)
        assert refused.returncode == 2
        (line,) = refused.stderr.splitlines()
        assert line.startswith(f"e2lm: error: --address 127.0.0.1:{port}: this Ray cluster wants a token; ")
        assert "RAY_AUTH_MODE=token" in line
        refused = evaluated(nobody, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="another-token-0123456789")
        assert refused.returncode == 2
        (line,) = refused.stderr.splitlines()
        assert "does not take the token given here" in line
        assert not (scratch / "out").exists()
        done = evaluated(home)
        assert (done.returncode, done.stderr) == (0, "")
        assert len(list((scratch / "out").glob("units/*/*.json"))) == 2
