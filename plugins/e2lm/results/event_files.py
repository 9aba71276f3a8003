"""The scalars in TensorBoard's event files, ``RUN/events.out.tfevents.*``, by TensorBoard's own reader.

A run is a folder, as in TensorBoard, and called by its path. The tag ``eval/arc_easy/acc`` is the metric ``acc`` of the
task ``eval/arc_easy``. Of what a run that was resumed wrote twice, the later file counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from e2lm.errors import UserError, one_line
from e2lm.results.result import TaskResult
from e2lm.results.result_format import ResultFile, ResultFormat
from e2lm.scores import ScoreRow

#: What ``e2lm eval --log-to tensorboard`` writes a second time, with tokens for steps.
_BY_TOKENS = "by_tokens/"
#: The task of a tag without one.
_RUN = "run"


def read_events(file: ResultFile) -> list[TaskResult] | None:
    """One result for each step of each task; a :class:`UserError` where TensorBoard is not installed."""
    folder = file.path.parent
    series = folder.relative_to(file.root).as_posix() if folder.is_relative_to(file.root) else folder.name
    series = file.root.name or _RUN if series == "." else series
    kept: dict[tuple[str, int], dict[str, ScoreRow]] = {}
    repeated = 0
    for tag, step, value in _scalars(file):
        if tag.startswith(_BY_TOKENS):
            continue
        if step < 0:
            file.notes.count(f"{file.path}: a value was logged at a step below 0; left out")
            file.notes.leave_out(f"{tag} at step {step}", "a step below 0", file.path)
            continue
        above, _, metric = tag.rpartition("/")
        task = above or _RUN
        rows = kept.setdefault((task, step), {})
        repeated += metric in rows
        rows[metric or "value"] = ScoreRow(series, step, task, metric or "value", value)
    if repeated:
        file.notes.say(f"{file.path}: {repeated} values were logged again at the same step; the later ones count")
        file.notes.leave_out(f"{repeated} values", "logged again at the same step", file.path)
    stamp = re.search(r"tfevents\.(\d+)", file.path.name)
    when = "" if stamp is None else stamp[1].zfill(20)
    about = {"harness": "tensorboard"}
    return [
        TaskResult(tuple(rows.values()), task, series, step, file.path, about=about, when=when)
        for (task, step), rows in kept.items()
    ]


def _scalars(file: ResultFile) -> Iterator[tuple[str, int, float]]:
    """Tag, step and value in the order in which they were logged."""
    try:
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    except ImportError as error:
        raise UserError(
            f"{file.path}: event files are read by TensorBoard, which is not installed; pip install 'e2lm[tensorboard]'"
        ) from error
    try:
        for event in EventFileLoader(str(file.path)).Load():
            for value in event.summary.value:
                if (number := _number(value)) is not None:
                    yield str(value.tag), int(event.step), number
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        raise UserError(f"{file.path}: cannot be read as an event file ({one_line(error)})") from error


def _number(value: Any) -> float | None:
    """The scalar, None for pictures, histograms and texts."""
    from tensorboard.util.tensor_util import make_ndarray

    if value.metadata.plugin_data.plugin_name != "scalars" or not value.HasField("tensor"):
        return None
    numbers = make_ndarray(value.tensor)
    return float(numbers.item()) if numbers.size == 1 and numbers.dtype.kind in "fiu" else None


EVENT_FILES = ResultFormat(
    "tensorboard", "Scalars of TensorBoard's event files.", read_events, patterns=(), own=("*tfevents.*",)
)
