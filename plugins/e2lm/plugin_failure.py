"""An error that a stranger's plugin raised in the middle of a command: whose it is, so that nobody searches here."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint
from pathlib import Path
from traceback import walk_tb
from types import FrameType

from e2lm.errors import E2LMError, one_line
from e2lm.plugin_manager import PluginRecord

OWN_DISTRIBUTION = "e2lm"


class PluginFailureError(E2LMError):
    """``record``'s code raised; the error itself is ``__cause__``."""

    def __init__(self, record: PluginRecord, error: Exception) -> None:
        super().__init__(
            f"plugin {record.label} raised {type(error).__name__}: {one_line(error)}; this is a fault of the plugin: "
            "tell its authors, or go without it"
        )


def failed_plugin(error: BaseException, records: Iterable[PluginRecord]) -> PluginRecord | None:
    """The plugin of another distribution whose code was running when ``error`` was raised, the innermost one."""
    found = None
    strangers = [record for record in records if record.distribution != OWN_DISTRIBUTION]
    for frame, _ in walk_tb(error.__traceback__):
        found = next((record for record in strangers if _runs(record, frame)), found)
    return found


def _runs(record: PluginRecord, frame: FrameType) -> bool:
    """Whether ``frame`` runs code of the file or the top-level package that ``record`` was loaded from."""
    if record.path is not None:
        return Path(frame.f_code.co_filename) == record.path
    if not isinstance(record.entry_point, EntryPoint):
        return False
    own = record.entry_point.module.partition(".")[0]
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == own
