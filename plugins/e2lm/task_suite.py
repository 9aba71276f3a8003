"""A folder of lm-eval task YAML that a plugin brings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from e2lm.errors import E2LMError
from e2lm.kind import checked_name


@dataclass(frozen=True, slots=True)
class TaskSuite:
    """Task files found under ``folder``; lm-eval scans it as it scans its own tree.

    Precedence: lm-eval's own tasks < suites of plugins < the user's ``--include_path``.
    """

    name: str
    folder: Path
    description: str

    def __post_init__(self) -> None:
        checked_name(self.name, "task suite")
        if not Path(self.folder).is_dir():
            raise E2LMError(f"task suite {self.name!r}: folder {self.folder} does not exist")
