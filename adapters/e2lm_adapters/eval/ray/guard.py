"""Ends the cluster that a driver started here when the driver is killed: Ray's own agents live on for minutes.

``python -m e2lm_adapters.eval.ray.guard`` reads process numbers from its standard input, which ends when the driver
does, and then ends those processes and all that they have started.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Iterable

import psutil

#: What Ray's processes get to end by themselves.
GRACE_S = 3.0


class ClusterGuard:
    """A process beside the driver that survives it; :meth:`dismiss` it once the cluster is shut down."""

    def __init__(self, before: Collection[psutil.Process]) -> None:
        """Take charge of every process below this one that is not among ``before``."""
        own = [one for one in processes_below() if one not in before]
        # In a session of its own: what kills the driver's group is not to kill its guard.
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, start_new_session=True, text=True
        )
        assert self._process.stdin is not None
        self._process.stdin.write("".join(f"{one.pid} {one.create_time()!r}\n" for one in own))
        self._process.stdin.flush()

    def dismiss(self) -> None:
        """End the guard; what is still alive of its charges ends too."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def processes_below() -> list[psutil.Process]:
    """What this process has started, and what that has."""
    return list(psutil.Process().children(recursive=True))


def end_all(roots: Iterable[psutil.Process], grace_s: float = GRACE_S) -> None:
    """Terminate ``roots`` and all below them, and kill after ``grace_s`` what has not ended."""
    every: dict[int, psutil.Process] = {}
    for root in roots:
        try:
            every |= {one.pid: one for one in (root, *root.children(recursive=True))}
        except psutil.NoSuchProcess:
            continue
    for one in every.values():
        _asked(one.terminate)
    _, alive = psutil.wait_procs(list(every.values()), timeout=grace_s)
    for one in alive:
        _asked(one.kill)


def _asked(action: object) -> None:
    try:
        action()  # type: ignore[operator]
    except psutil.NoSuchProcess:
        return


def _charge(line: str) -> psutil.Process | None:
    """The process that ``line`` stands for, None if it has ended and its number belongs to another one or none."""
    pid, created = line.split()
    try:
        found = psutil.Process(int(pid))
        return found if found.create_time() == float(created) else None
    except psutil.NoSuchProcess:
        return None


def main() -> None:
    """Wait for the driver's end, then end its cluster."""
    lines = sys.stdin.readlines()
    end_all(found for line in lines if (found := _charge(line)) is not None)


if __name__ == "__main__":
    main()
