"""The items of an entry as lm-eval asks them, loaded from the entrant's folder."""

from __future__ import annotations

from pathlib import Path

from e2lm import UserError
from e2lm.asked_items import AskedItem, AskingError, asked_items, loaded_tasks
from e2lm.errors import one_line


def entry_items(folder: Path, name: str) -> list[AskedItem]:
    """The items of all tasks of ``name``; a :class:`UserError` where lm-eval cannot load them."""
    try:
        tasks = loaded_tasks(str(folder), name)
    except Exception as error:  # whatever a task, its code or its data raises
        raise UserError(f"{name}: lm-eval cannot load it ({type(error).__name__}: {one_line(error)})") from error
    try:
        return [item for task in tasks for item in asked_items(task)]
    except AskingError as error:
        raise UserError(str(error)) from error
