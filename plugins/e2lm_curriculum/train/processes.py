"""Training in processes of their own, one or several at once, each with its share of the cores.

Even a single one: how threads wait for each other is decided before torch is loaded. By default they spin, and on two
cores that somebody else uses too a step of a small model then takes 4 to 10 times as long (measured with libgomp).

Runs go in as lines on standard input; out come ``step N`` (of the run at hand), ``done``, ``error TEXT`` and
``machine TEXT`` (what a user, and what the machine has to answer for). When its input ends because the parent is gone,
a process stops at once, and with it the processes that read ahead for it; what it did is in its resume states.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import TextIO

from e2lm.child_process import end_at_once
from e2lm.errors import E2LMError, MachineError, UserError, one_line, system_error
from e2lm_curriculum.train.model_run import ModelRun
from e2lm_curriculum.train.prepared import PreparedCorpus

READ_AT_ONCE = 1 << 16

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
            elif kind == "machine":
                raise MachineError(rest)
        raise _ended_early(run, self._process.wait())


def _ended_early(run: ModelRun, code: int) -> E2LMError:
    """What to say of a process that is gone without a word; that it can go on only where it was killed."""
    if code < 0:
        name = signal.Signals(-code).name
        return MachineError(
            f"{run.folder}: the training process was ended from outside ({name}); run it again to go on"
        )
    return E2LMError(f"{run.folder}: the training process failed (exit code {code}); it said why above")


# -- in the process itself ------------------------------------------------------------------------------------------


def work() -> int:
    """What such a process does: train the runs that come in until told to end; its exit code."""
    lines: SimpleQueue[str] = SimpleQueue()
    # Not sys.stdin: a loader is a fork of this process and closes it, and would wait for ever for a lock that the
    # listening thread, which is not in the fork, held.
    commands = os.dup(sys.stdin.fileno())
    os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
    threading.Thread(target=_listen, args=(commands, lines), daemon=True).start()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    # Whatever a library prints must not be taken for an answer.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    while (line := lines.get()) != NO_MORE:
        run = ModelRun.from_line(line)
        try:
            _train(run, answers)
        except Exception as error:
            told = told_error(error, run)
            if told is None:
                raise
            print("machine" if isinstance(told, MachineError) else "error", one_line(told), file=answers)
            return 2
    return 0


def told_error(error: Exception, run: ModelRun) -> E2LMError | None:
    """What the parent is told of ``error``; None for a fault of the program, which wants a traceback.

    Libraries that write weights have words of their own for a full disk, and lose the number of the error.
    """
    if isinstance(error, E2LMError):
        return error
    if isinstance(error, OSError):
        return system_error(error)
    if isinstance(error, MemoryError):
        return MachineError(f"{run.folder}: out of memory; lower batch_size or sequence_length")
    if any(word in str(error) for word in _WORDS_OF_A_FULL_DISK):
        return system_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(run.folder)))
    if str(error).startswith(_WORDS_OF_A_LOST_LOADER):
        return MachineError(f"{run.folder}: {one_line(error)}; it reads ahead for training; run it again to go on")
    return None


#: Of safetensors (Rust) and of torch.save, which says no more.
_WORDS_OF_A_FULL_DISK = (os.strerror(errno.ENOSPC), "PytorchStreamWriter failed writing", "file write failed")

#: Of torch, where one was killed or found no shared memory.
_WORDS_OF_A_LOST_LOADER = "DataLoader worker (pid"


def _train(run: ModelRun, answers: TextIO) -> None:
    from e2lm_curriculum.train.trainer import train_model

    train_model(run, PreparedCorpus.of(run.out), lambda step: print("step", step, file=answers))
    print("done", file=answers)


def _listen(commands: int, lines: SimpleQueue[str]) -> None:
    """Pass on what comes in, line by line; end the process when the input ends without a last word."""
    waiting = b""
    while found := os.read(commands, READ_AT_ONCE):
        *whole, waiting = (waiting + found).split(b"\n")
        for line in whole:
            lines.put(f"{line.decode()}\n")
            if f"{line.decode()}\n" == NO_MORE:
                return
    end_at_once(1)


if __name__ == "__main__":
    raise SystemExit(work())
