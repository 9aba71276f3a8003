"""``e2lm.demo(...)`` from Python: it answers as ``e2lm demo`` does at the terminal."""

from __future__ import annotations

from os import PathLike
from typing import Any

from e2lm.answer import Answer
from e2lm_demo.command import DEMO_COMMAND


def demo(out: str | PathLike[str] | None = None, **options: Any) -> Answer:
    """What told the better recipe, and when; ``options`` are those of ``e2lm demo``."""
    return DEMO_COMMAND.answer({"out": out, **options})
