"""``e2lm.train(...)`` from Python: it answers as ``e2lm train`` does at the terminal."""

from __future__ import annotations

from os import PathLike
from typing import Any

from e2lm.answer import Answer
from e2lm_curriculum.cli.command import TRAIN_COMMAND


def train(config: str | PathLike[str] | None = None, **options: Any) -> Answer:
    """The series that were trained, or the comparison that ``config`` asks for.

    ``options`` are those of ``e2lm train``, with ``_`` for ``-``; they win over ``config``.
    """
    return TRAIN_COMMAND.answer({"config": config, **options})
