"""The self-test of the sandbox: the attacks of :mod:`e2lm_leaderboard.sandbox.attacks`, with something to attack.

Where one gets through, or the sandbox does not start, submissions with code are refused with the reason.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from e2lm.errors import one_line
from e2lm_leaderboard.sandbox.sandbox import SCRIPT, SandboxError, SandboxLimits, missing_part, run_in_sandbox

#: Enough for the attacks, which sleep and fill on purpose.
LIMITS = SandboxLimits(cpu_s=20, wall_s=40.0)

#: Stays until it is told to go; dies of the signal that an attack sends.
VICTIM = "import time; time.sleep(120)"
SECRET_VARIABLE = "E2LM_SANDBOX_SECRET"


@dataclass(frozen=True, slots=True)
class SandboxVerdict:
    """Which attacks were stopped; ``reason`` is None where all were, and code may be run."""

    stopped: dict[str, bool]
    reason: str | None


@cache
def sandbox_verdict() -> SandboxVerdict:
    """The self-test, once per process."""
    missing = missing_part()
    if missing is not None:
        return SandboxVerdict({}, missing)
    with _targets() as (plan, host_saw):
        job = {
            SCRIPT: (files("e2lm_leaderboard.sandbox") / "attacks.py").read_bytes(),
            "plan.json": json.dumps(plan).encode(),
        }
        try:
            done = run_in_sandbox(job, LIMITS)
        except SandboxError as error:
            return SandboxVerdict({}, f"the self-test did not end: {error}")
        try:
            told = json.loads(done.output)
        except ValueError:
            return SandboxVerdict({}, f"the sandbox does not start: {one_line(done.errors)[-300:] or done.code}")
        seen = host_saw()
    stopped = {name: not (got_through or seen.get(name, False)) for name, got_through in told.items()}
    through = [name for name, is_stopped in stopped.items() if not is_stopped]
    return SandboxVerdict(stopped, f"attacks that got through: {', '.join(through)}" if through else None)


@contextmanager
def _targets() -> Iterator[tuple[dict[str, Any], Any]]:
    """A secret, a hidden file, a listener and a process, and a look at what became of them."""
    folder = Path(tempfile.mkdtemp(prefix="e2lm-attack-"))
    folder.chmod(0o777)
    secret, mark = secrets.token_hex(16), f"e2lm-mark-{secrets.token_hex(8)}"
    hidden, outside = folder / "hidden.jsonl", folder / "outside.txt"
    hidden.write_text("the answers", encoding="utf-8")
    before = os.environ.get(SECRET_VARIABLE)
    os.environ[SECRET_VARIABLE] = secret
    victim = subprocess.Popen([sys.executable, "-c", VICTIM], env={**os.environ})
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            plan = {
                "secret": secret,
                "hidden": str(hidden),
                "outside": str(outside),
                "port": listener.getsockname()[1],
                "victim": victim.pid,
                "mark": mark,
            }

            def host_saw() -> dict[str, bool]:
                return {
                    "write_outside": outside.exists(),
                    "signal_parent": victim.poll() is not None,
                    "daemon": _outlives(mark),
                }

            yield plan, host_saw
    finally:
        victim.kill()
        victim.wait()
        if before is None:
            del os.environ[SECRET_VARIABLE]
        else:
            os.environ[SECRET_VARIABLE] = before
        shutil.rmtree(folder, ignore_errors=True)


def _outlives(mark: str) -> bool:
    """Whether a process with ``mark`` is still there once the kernel had time to end its namespace."""
    for _ in range(20):
        if not _is_running(mark):
            return False
        time.sleep(0.1)
    return True


def _is_running(mark: str) -> bool:
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                if mark.encode() in (path / "cmdline").read_bytes():
                    return True
            except OSError:
                continue
    return False
