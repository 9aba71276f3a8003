"""Scores as a Trackio run per series; project ``TRACKIO_PROJECT`` (default e2lm), local or ``TRACKIO_SPACE_ID``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2lm.series import Series

if TYPE_CHECKING:
    from e2lm_adapters.trackers.run import TrackedPoint

PROJECT = "e2lm"


class TrackioRun:
    """``step`` is Trackio's own x, ``tokens`` is logged beside it and can be chosen instead.

    Opened for every point and closed after it (0.05 s), which is how Trackio says that the point is on disk. The
    name carries a piece of the id, for Trackio knows runs by name.
    """

    def __init__(self, out: Path, series: Series, run_id: str, project: str = "", name: str = "") -> None:
        self._name = name or f"{series.name}-{run_id[:6]}"
        self._project = project or os.environ.get("TRACKIO_PROJECT", PROJECT)
        self._config = {
            "series": series.name,
            "params": series.params,
            "params_non_embedding": series.params_non_embedding,
            "data": series.data,
            "out": str(out),
        }

    def log(self, point: TrackedPoint, repeated: bool) -> None:
        """Write the point."""
        if repeated and self._is_there(point):
            return
        x = {} if point.tokens is None else {"tokens": point.tokens}
        with self._opened() as run:
            run.log({**x, **point.values}, step=point.step)

    def close(self) -> None:
        """Nothing is open."""

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        import trackio

        with redirect_stdout(StringIO()):  # it prints how to look at the dashboard, at every point
            run = trackio.init(
                project=self._project,
                name=self._name,
                resume="allow",
                config=self._config,
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
            try:
                yield run
            finally:
                run.finish()
                trackio.context_vars.current_run.set(None)

    def _is_there(self, point: TrackedPoint) -> bool:
        """Whether a process that died had got the point to the local store."""
        from trackio.sqlite_storage import SQLiteStorage

        return any(
            entry.get("step") == point.step and set(point.values) <= set(entry)
            for entry in SQLiteStorage.get_logs(self._project, self._name)
        )
