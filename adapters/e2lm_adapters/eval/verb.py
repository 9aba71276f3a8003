"""``e2lm.evaluate(...)`` from Python: it answers as ``e2lm eval`` does at the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

from e2lm.answer import Answer
from e2lm_adapters.eval.command import EVAL_COMMAND

Run = str | PathLike[str]


def evaluate(runs: Run | Sequence[Run], tasks: str | Sequence[str], *, out: Run, **options: Any) -> Answer:
    """The Scores of every checkpoint of ``runs``, which are also in the folder ``out``: ``to_frame()`` is the table.

    ``options`` are those of ``e2lm eval``, with ``_`` for ``-``; a check asked for that failed is ``code`` 1.
    """
    names = tasks if isinstance(tasks, str) else ",".join(tasks)
    paths = [runs] if isinstance(runs, str | PathLike) else list(runs)
    return EVAL_COMMAND.answer({"runs": [str(one) for one in paths], "tasks": names, "out": out, **options})
