"""``e2lm.evaluate(...)`` and ``e2lm.watch(...)`` from Python: they answer as ``e2lm eval`` and ``watch`` do."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

from e2lm.answer import Answer
from e2lm_adapters.eval.command import EVAL_COMMAND
from e2lm_adapters.watch.command import WATCH_COMMAND

Run = str | PathLike[str]


def evaluate(runs: Run | Sequence[Run], tasks: str | Sequence[str], *, out: Run, **options: Any) -> Answer:
    """The Scores of every checkpoint of ``runs``, which are also in the folder ``out``: ``to_frame()`` is the table.

    ``options`` are those of ``e2lm eval``, with ``_`` for ``-``; a check asked for that failed is ``code`` 1.
    """
    return EVAL_COMMAND.answer({"runs": _names(runs), "tasks": tasks, "out": out, **options})


def watch(runs: Run | Sequence[Run], tasks: str | Sequence[str], *, out: Run, **options: Any) -> Answer:
    """What was scored beside live runs and the verdicts on them: ``to_frame()`` is the Scores table so far.

    It comes back with ``once=True``, or after ``until_idle`` seconds without anything new; ``code`` is 10 for a stop,
    11 for an alert. ``options`` are those of ``e2lm watch``, with ``_`` for ``-``.
    """
    return WATCH_COMMAND.answer({"runs": _names(runs), "tasks": tasks, "out": out, **options})


def _names(runs: Run | Sequence[Run]) -> list[str]:
    return [str(one) for one in ([runs] if isinstance(runs, str | PathLike) else runs)]
