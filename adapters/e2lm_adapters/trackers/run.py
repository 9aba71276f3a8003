"""What a tracker is: a run per series that takes points, each once. A new one: a file here, named in ``TRACKERS``.

That table is in ``tracker.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from e2lm.series import Series


@dataclass(frozen=True, slots=True)
class TrackedPoint:
    """What is logged at once: ``values`` by ``task/metric`` and ``task/metric_stderr``, at a step and after tokens."""

    number: int
    step: int
    tokens: int | None
    values: dict[str, float]


class TrackerRun(Protocol):
    """A run at a tracker, open for writing."""

    def log(self, point: TrackedPoint, repeated: bool) -> None:
        """Log ``point``, safe from the death of this process when done.

        A ``repeated`` one may have been logged under the same number before, and counts once all the same.
        """

    def close(self) -> None:
        """Nothing more is logged."""


#: Opens the run of a series: begins it, or goes on with it. Takes the output folder, the series and the run's id.
OpenRun = Callable[[Path, Series, str], TrackerRun]
