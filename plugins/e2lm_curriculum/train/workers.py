"""Trains sizes in processes of their own, one or several at once, each with its share of the cores.

Even a single one: how threads wait for each other is decided before torch is loaded. By default they spin, and on two
cores that somebody else uses too a step of a small model then takes 4 to 10 times as long (measured with libgomp).
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from e2lm.errors import E2LMError, UserError
from e2lm_curriculum.train.size_run import SizeRun
from e2lm_curriculum.train.size_worker import NO_MORE

StepReport = Callable[[SizeRun, int], None]


def threads_per_job(jobs: int) -> int:
    """Torch threads of each of ``jobs`` processes: the cores this process may use, divided, within OMP_NUM_THREADS."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    share = max(1, cores // jobs)
    return min(share, int(limit)) if limit.isdigit() and int(limit) > 0 else share


def train_in_processes(runs: Sequence[SizeRun], jobs: int, report: StepReport) -> None:
    """Train ``runs``, the most expensive first, in ``jobs`` processes; the first failure stops all and is raised."""
    waiting: SimpleQueue[SizeRun] = SimpleQueue()
    for run in sorted(runs, key=lambda run: run.cost, reverse=True):
        waiting.put(run)
    failures: list[E2LMError] = []
    workers = [_Worker(waiting, report, failures, threads_per_job(jobs)) for _ in range(min(jobs, len(runs)))]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            while worker.is_alive():
                worker.join(timeout=0.2)
                if failures:
                    raise failures[0]
        if failures:
            raise failures[0]
    finally:
        for worker in workers:
            worker.stop()


class _Worker(threading.Thread):
    """Feeds one process with runs and passes on what it answers."""

    def __init__(
        self, waiting: SimpleQueue[SizeRun], report: StepReport, failures: list[E2LMError], threads: int
    ) -> None:
        super().__init__(daemon=True)
        self._waiting = waiting
        self._report = report
        self._failures = failures
        self._process = subprocess.Popen(
            [sys.executable, "-m", "e2lm_curriculum.train.size_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "OMP_NUM_THREADS": str(threads)},
            # An interrupt is for the parent, which then ends its workers.
            start_new_session=True,
        )

    def run(self) -> None:
        """Until no run is waiting or one failed."""
        try:
            while True:
                try:
                    run = self._waiting.get_nowait()
                except Empty:
                    self._send(NO_MORE)
                    return
                self._send(run.to_line() + "\n")
                self._follow(run)
        except E2LMError as error:
            self._failures.append(error)

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        if self._process.poll() is None and self.is_alive():
            self._process.kill()
        self._process.wait()
        self.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise E2LMError(f"a training process ended early (exit code {self._process.wait()})") from error

    def _follow(self, run: SizeRun) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            kind, _, rest = line.rstrip("\n").partition(" ")
            if kind == "step":
                self._report(run, int(rest))
            elif kind == "done":
                return
            elif kind == "error":
                raise UserError(rest)
        code = self._process.wait()
        raise UserError(f"{run.folder}: the training process ended early (exit code {code}); the same command goes on")
