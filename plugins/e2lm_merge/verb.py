"""``e2lm.merge(...)`` from Python: it answers as ``e2lm merge`` does at the terminal."""

from __future__ import annotations

from os import PathLike
from typing import Any

from e2lm.answer import Answer
from e2lm_merge.cli.command import MERGE_COMMAND


def merge(config: str | PathLike[str], out: str | PathLike[str], **options: Any) -> Answer:
    """What was merged into the folder ``out``; ``options`` are those of ``e2lm merge``, with ``_`` for ``-``."""
    return MERGE_COMMAND.answer({"config": config, "output": out, **options})
