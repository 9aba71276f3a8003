"""A process that trains sizes one after the other: runs come in as lines on standard input, steps go out as lines.

Out go ``step N`` (of the run at hand), ``done``, and ``error TEXT``. When standard input ends because the parent is
gone, the worker stops at once; what it did is in its resume states.
"""

from __future__ import annotations

import os
import sys
import threading
from queue import SimpleQueue
from typing import TextIO

from e2lm.errors import E2LMError, one_line
from e2lm_curriculum.corpus.prepared import PreparedCorpus
from e2lm_curriculum.train.size_run import SizeRun

#: Said by the parent when there is no more work; the end of the input without it means that the parent died.
NO_MORE = "end\n"


def main() -> int:
    """Work until told to end."""
    lines: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    # Whatever a library prints must not be taken for an answer.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    while (line := lines.get()) != NO_MORE:
        try:
            _train(SizeRun.from_line(line), answers)
        except E2LMError as error:
            print("error", one_line(error), file=answers)
            return 2
    return 0


def _train(run: SizeRun, answers: TextIO) -> None:
    from e2lm_curriculum.train.size_training import train_size

    prepared = PreparedCorpus.read(run.config.out_folder)
    if prepared is None:
        raise E2LMError(f"{run.config.out_folder}: the prepared corpus is gone")
    train_size(run, prepared, lambda step: print("step", step, file=answers))
    print("done", file=answers)


def _listen(lines: SimpleQueue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
        if line == NO_MORE:
            return
    os._exit(1)


if __name__ == "__main__":
    raise SystemExit(main())
