"""A pool's processes end with the command, also when it is killed while they wait for work."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import psutil

DRIVER = """\
    import os, sys, time
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context
    from e2lm.child_process import end_with_parent

    def number_and_a_child():
        import subprocess
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        return os.getpid(), child.pid

    if __name__ == "__main__":
        with ProcessPoolExecutor(1, get_context("spawn"), end_with_parent) as pool:
            print(*pool.submit(number_and_a_child).result(), flush=True)
            time.sleep(600)
"""


def test_an_idle_process_and_what_it_started_end_after_a_kill(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(textwrap.dedent(DRIVER), encoding="utf-8")
    driver = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    below = [psutil.Process(int(number)) for number in driver.stdout.readline().split()]
    try:
        assert len(below) == 2
        driver.kill()
        driver.wait()
        _, alive = psutil.wait_procs(below, timeout=30)
        assert alive == []
    finally:
        for one in below:
            if one.is_running():
                one.kill()
