"""What a reader of results gives: one task at one checkpoint, by one file, with what is known of how it was made."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from e2lm.errors import UserError, one_line
from e2lm.run_record import LeftOut
from e2lm.samples import Samples
from e2lm.scores import ScoreRow
from e2lm.step_name import UNITS, NamedCount

#: What tells series apart beside their names, and what tells tasks apart: fields of :attr:`TaskResult.about`.
SERIES_FIELDS = ("model", "revision", "dtype", "settings")
TASK_FIELDS = (
    *("shots", "limit", "chat_template", "system_prompt", "gen_kwargs", "version", "items", "hash"),
    *("harness", "harness_version", "prompt"),
)


@dataclass(slots=True)  # frozen takes eight times as long to make, and there are thousands
class TaskResult:
    """What ``file`` says of one task at one checkpoint.

    ``about`` holds what is known of :data:`SERIES_FIELDS` and :data:`TASK_FIELDS` (and more, which splits curves only
    where that is asked for), as text. ``higher_is_better`` is by metric, as the file has it. ``when`` sorts
    evaluations of one thing, the newest last. ``count`` is what the name counts where it tells no step, and
    ``counted_series`` the series that this would be a checkpoint of.
    """

    rows: tuple[ScoreRow, ...]
    task: str
    series: str
    step: int
    file: Path
    about: Mapping[str, str] = field(default_factory=dict)
    higher_is_better: Mapping[str, bool] = field(default_factory=dict)
    samples: Samples | None = None
    when: str = ""
    has_step: bool = True
    count: NamedCount | None = None
    counted_series: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class Reading:
    """How a user wants results to be read: ``columns`` of tables, patterns of names, what splits curves.

    Patterns are regular expressions that are searched in the model's address and in the path of the file; the group
    ``step`` or ``series``, or the first one, is what they give. ``split_by`` None: all that differs splits.
    """

    columns: tuple[str, ...] = ()
    step_pattern: str = ""
    series_pattern: str = ""
    split_by: tuple[str, ...] | None = None
    #: Curves of a table that ``key`` alone tells apart get names of their own; else the table is read as it is.
    apart: bool = False

    def step_in(self, *texts: str) -> int | None:
        """The step by :attr:`step_pattern` in the first of ``texts`` that has one.

        >>> Reading(step_pattern=r"it([0-9]+k?)").step_in("main", "run-it16k")
        16000
        """
        found = _searched("--step-pattern", self.step_pattern, "step", texts)
        if found is None:
            return None
        match = re.fullmatch(r"([0-9]{1,18})([kKmMbBtT]?)", found)
        if match is None:
            raise UserError(f"--step-pattern: {found!r} is no step; let the group be digits, as in 'it([0-9]+)'")
        return int(match[1]) * UNITS[match[2].upper()]

    def series_in(self, *texts: str) -> str | None:
        """The series by :attr:`series_pattern` in the first of ``texts`` that has one."""
        return _searched("--series-pattern", self.series_pattern, "series", texts)


def _searched(option: str, pattern: str, group: str, texts: tuple[str, ...]) -> str | None:
    if not pattern:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"{option}: {pattern!r} is no regular expression ({one_line(error)})") from error
    if not compiled.groups:
        raise UserError(f"{option}: {pattern!r} has no group; put what is wanted in brackets, as in 'it([0-9]+)'")
    for text in texts:
        if (match := compiled.search(text)) is not None:
            return match[group if group in compiled.groupindex else 1] or None
    return None


class Notes:
    """What was read how, and what was left out, each thing said once."""

    def __init__(self) -> None:
        self._files: Counter[str] = Counter()
        self.left_out: list[LeftOut] = []

    def say(self, line: str) -> None:
        """Tell ``line``."""
        self._files.setdefault(line, 0)

    def count(self, line: str) -> None:
        """Tell ``line``, and of how many files it is true."""
        self._files[line] += 1

    def leave_out(self, what: str, why: str, file: Path) -> None:
        """Something that is not used, told by :meth:`say` as well."""
        self.left_out.append(LeftOut(what=what, why=why, file=str(file)))

    def lines(self) -> tuple[str, ...]:
        """All of it, in order."""
        return tuple(f"{line}, in {count} files" if count > 1 else line for line, count in self._files.items())
