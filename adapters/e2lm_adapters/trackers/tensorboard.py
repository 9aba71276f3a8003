"""Scores as TensorBoard events: ``OUT/tensorboard/<series>``, for ``tensorboard --logdir OUT/tensorboard``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from e2lm.atomic_file import whole_file
from e2lm.series import Series

if TYPE_CHECKING:
    from e2lm_adapters.trackers.run import TrackedPoint

#: TensorBoard has one whole number as x, the step; the same curves over training tokens stand under this name.
BY_TOKENS = "by_tokens"
FILE_VERSION = "brain.Event:2"


class TensorBoardRun:
    """A folder of event files, one per point and named by its number: what is written again takes the old one's place.

    TensorBoard reads them in order of name, and sees a new one within its reload interval. In a ``folder`` of somebody
    else's they are named by step instead, so that a late one stands in its place.
    """

    def __init__(self, out: Path, series: Series, run_id: str, folder: Path | None = None) -> None:
        self._folder = out / "tensorboard" / series.name if folder is None else folder
        self._by_step = folder is not None
        self._run_id = run_id

    def log(self, point: TrackedPoint, repeated: bool) -> None:
        """Write the point's event file, whole or not at all; a repeated one is the same file."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        now = time.time()

        def event(x: int, prefix: str) -> bytes:
            values = [Summary.Value(tag=prefix + name, simple_value=value) for name, value in point.values.items()]
            return bytes(Event(wall_time=now, step=x, summary=Summary(value=values)).SerializeToString())

        events = [Event(wall_time=now, file_version=FILE_VERSION).SerializeToString(), event(point.step, "")]
        if point.tokens is not None:
            events.append(event(point.tokens, f"{BY_TOKENS}/"))
        place = f"{point.step:012d}.{point.number:08d}" if self._by_step else f"{point.number:08d}"
        path = self._folder / f"events.out.tfevents.{place}.{self._run_id}"
        with whole_file(path) as partial, open(partial, "wb") as handle:
            writer = RecordWriter(handle)
            for one in events:
                writer.write(one)
            writer.flush()

    def close(self) -> None:
        """Nothing is open."""
