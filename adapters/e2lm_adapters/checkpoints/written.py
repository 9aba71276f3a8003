"""Writes the checkpoints of a run, whatever its trainer left, as folders that transformers loads, and ``series.json``.

::

    DIR/checkpoint-<step>/     DIR/series.json      one series
    DIR/<series>/...                                several
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from e2lm.atomic_file import whole_folder
from e2lm.checkpoint import Checkpoint
from e2lm.errors import UserError
from e2lm.series import Series
from e2lm_adapters.checkpoints.listing import CHECKPOINT_FILES, matching
from e2lm_adapters.checkpoints.source import CheckpointSource

#: Of a checkpoint's folder: what is read of it, and code of its own.
WRITTEN_FILES = (*CHECKPOINT_FILES, "*.py", "*.tiktoken")


def write_series(
    series: Sequence[Series], source: CheckpointSource, folder: Path, runs: Sequence[Path]
) -> list[tuple[Series, Path]]:
    """Every series with the folder that holds it now; a :class:`UserError` where ``folder`` lies in one of ``runs``.

    A checkpoint that is there already is replaced, whole or not at all.
    """
    for run in runs:
        if folder.resolve().is_relative_to(run.resolve()):
            raise UserError(f"--write {folder}: lies in the run {run} itself; give a folder beside it")
    several = len(series) > 1
    return [(one, _written(one, source, folder / one.name if several else folder)) for one in series]


def _written(series: Series, source: CheckpointSource, folder: Path) -> Path:
    points = []
    for point in series.checkpoints:
        place = folder.resolve() / f"checkpoint-{point.step}"
        _copy(source.folder(point), place)
        points.append(Checkpoint(step=point.step, tokens=point.tokens, path=str(place)))
    series.model_copy(update={"checkpoints": tuple(points)}).write(folder)
    return folder


def _copy(origin: Path, place: Path) -> None:
    """What a checkpoint consists of, and no link: the folder has to outlive the run."""
    names = matching([one.name for one in origin.iterdir() if one.is_file()], WRITTEN_FILES)
    with whole_folder(place) as partial:
        for name in names:
            shutil.copyfile(origin / name, partial / name)


__all__ = ["write_series"]
