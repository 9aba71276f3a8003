"""Holds a checkpoint while it is scored: hard links in ``OUT/pinned`` (copies on another disk) no trainer deletes.

What is pinned outlives a kill: the next watch scores it from there, whether the trainer has deleted it or not.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from e2lm.atomic_file import is_partial, remove_leftovers, whole_folder
from e2lm.errors import UserError
from e2lm.series import SERIES_FILE, Series
from e2lm_adapters.checkpoints.identity import TOKENIZER_FILES, has_tokenizer
from e2lm_adapters.checkpoints.source import CheckpointSource
from e2lm_adapters.watch.finished import Finished

PINNED_FOLDER = "pinned"
LABEL_FILE = "label.txt"


def pin(out: Path, found: Finished, source: CheckpointSource) -> Finished:
    """``found`` as it lies under ``OUT/pinned`` now; itself where it is no folder that is read as it lies.

    What has to be converted first is converted into a copy anyway.
    """
    if found.place is None or not source.is_at_hand(found.series.checkpoints[0]):
        return found
    place = _place(out, found)
    with whole_folder(place) as partial:
        _linked(found.place, partial / found.place.name)
        if not has_tokenizer(found.place):  # that of the folder above is read with it
            for file in (one for name in TOKENIZER_FILES for one in found.place.parent.glob(name)):
                if file.is_file() and not (partial / file.name).exists():
                    _link(file, partial / file.name)
        (partial / LABEL_FILE).write_text(found.label, encoding="utf-8")
        point = found.series.checkpoints[0].model_copy(update={"path": found.place.name})
        found.series.model_copy(update={"checkpoints": (point,)}).write(partial)
    return replace(found, series=Series.read(place), place=place / found.place.name)


def unpin(out: Path, found: Finished) -> None:
    """Let go of it: it has been scored."""
    shutil.rmtree(_place(out, found), ignore_errors=True)


def pinned_before(out: Path) -> Iterator[Finished]:
    """What an earlier watch pinned and did not finish."""
    folder = out / PINNED_FOLDER
    if not folder.is_dir():
        return
    remove_leftovers(folder)
    for place in sorted(one for one in folder.glob(f"*/*/{SERIES_FILE}") if not is_partial(one.relative_to(out))):
        try:
            series = Series.read(place.parent)
            label = (place.parent / LABEL_FILE).read_text(encoding="utf-8")
            yield Finished(label, series, (), Path(str(series.checkpoints[0].path)))
        except (UserError, OSError):
            shutil.rmtree(place.parent, ignore_errors=True)


def _place(out: Path, found: Finished) -> Path:
    return out / PINNED_FOLDER / found.series.name / str(found.step)


def _linked(source: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    for file in sorted(source.iterdir()):
        if file.is_file() and not file.name.startswith(("optimizer", "scheduler", "rng_state", "training_args")):
            _link(file, folder / file.name)


def _link(file: Path, name: Path) -> None:
    try:
        os.link(file.resolve(), name)
    except OSError:  # another disk, or one without links
        shutil.copyfile(file, name)
