"""Training in processes of their own, one or several at once, each with its share of the cores.

Even a single one: how threads wait for each other is decided before torch is loaded. By default they spin, and on two
cores that somebody else uses too a step of a small model then takes 4 to 10 times as long (measured with libgomp).

Runs go in as lines on standard input; out come ``step N`` (of the run at hand), ``done``, and ``error TEXT``. When its
input ends because the parent is gone, a process stops at once; what it did is in its resume states.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import TextIO

from e2lm.errors import E2LMError, UserError, one_line
from e2lm_curriculum.train.model_run import ModelRun
from e2lm_curriculum.train.prepared import PreparedCorpus

StepReport = Callable[[ModelRun, int], None]

#: Said by the parent when there is no more work; the end of the input without it means that the parent died.
NO_MORE = "end\n"


def threads_per_job(jobs: int) -> int:
    """Torch threads of each of ``jobs`` processes: the cores this process may use, divided, within OMP_NUM_THREADS."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    share = max(1, cores // jobs)
    return min(share, int(limit)) if limit.isdigit() and int(limit) > 0 else share


def train_in_processes(runs: Sequence[ModelRun], jobs: int, report: StepReport) -> None:
    """Train ``runs``, the most expensive first, in ``jobs`` processes; the first failure stops all and is raised."""
    waiting: SimpleQueue[ModelRun] = SimpleQueue()
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
        self, waiting: SimpleQueue[ModelRun], report: StepReport, failures: list[E2LMError], threads: int
    ) -> None:
        super().__init__(daemon=True)
        self._waiting = waiting
        self._report = report
        self._failures = failures
        self._process = subprocess.Popen(
            [sys.executable, "-m", "e2lm_curriculum.train.processes"],
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

    def _follow(self, run: ModelRun) -> None:
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


# -- in the process itself ------------------------------------------------------------------------------------------


def work() -> int:
    """What such a process does: train the runs that come in until told to end; its exit code."""
    lines: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    # Whatever a library prints must not be taken for an answer.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    while (line := lines.get()) != NO_MORE:
        try:
            _train(ModelRun.from_line(line), answers)
        except E2LMError as error:
            print("error", one_line(error), file=answers)
            return 2
    return 0


def _train(run: ModelRun, answers: TextIO) -> None:
    from e2lm_curriculum.train.trainer import train_model

    train_model(run, PreparedCorpus.of(run.out), lambda step: print("step", step, file=answers))
    print("done", file=answers)


def _listen(lines: SimpleQueue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
        if line == NO_MORE:
            return
    os._exit(1)


if __name__ == "__main__":
    raise SystemExit(work())
