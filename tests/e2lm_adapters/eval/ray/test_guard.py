"""The guard of a cluster ends what its driver had started, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil

from tests.e2lm_adapters.conftest import ROOT

#: A driver with a process from before, a child that will not be terminated, and a grandchild. It prints their numbers.
DRIVER = """\
import subprocess, sys, time
from e2lm_adapters.eval.ray.guard import ClusterGuard, processes_below

def sleeper(more="import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"):
    code = f"{more}; print(1, flush=True); import time; time.sleep(600)"
    started = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    started.stdout.readline()
    return started

earlier = sleeper()
before = processes_below()
child = sleeper()
guard = ClusterGuard(before)
print(earlier.pid, child.pid, guard._process.pid, flush=True)
if sys.argv[1] == "dismiss":
    guard.dismiss()
    print("dismissed", child.poll() is not None, earlier.poll() is None, flush=True)
time.sleep(600)
"""


def start(how: str) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, how], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert driver.stdout is not None
    return driver, [psutil.Process(int(number)) for number in driver.stdout.readline().split()]


def test_a_killed_drivers_processes_end_and_earlier_ones_stay() -> None:
    driver, (earlier, child, guard) = start("wait")
    try:
        driver.kill()
        driver.wait()
        _, alive = psutil.wait_procs([child, guard], timeout=30)
        assert alive == []
        assert earlier.is_running()
    finally:
        earlier.kill()


def test_a_dismissed_guard_is_gone_and_has_ended_what_was_left() -> None:
    driver, (earlier, child, guard) = start("dismiss")
    try:
        assert driver.stdout is not None
        started = time.monotonic()
        assert driver.stdout.readline() == "dismissed True True\n"
        assert time.monotonic() - started < 60
        assert not guard.is_running() or guard.status() == psutil.STATUS_ZOMBIE
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    finally:
        driver.kill()
        driver.wait()
        earlier.kill()
