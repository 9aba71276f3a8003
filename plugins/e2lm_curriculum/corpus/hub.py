"""Data sets of the Hugging Face Hub, or as ``save_to_disk`` leaves them, as a corpus has them: one split, opened.

The library ``datasets`` keeps them in its own cache, memory-mapped; what is downloaded there is read without a network.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from e2lm.errors import MachineError, UserError, nearest_names, one_line

#: What a corpus entry begins with that is no file: hub:OWNER/NAME, hub:OWNER/NAME@REVISION, then :CONFIG and :SPLIT.
HUB = "hub:"

SPLIT = "train"

#: A folder that ``save_to_disk`` wrote has one of these: of a data set, of several splits.
SAVED, SAVED_SPLITS = "state.json", "dataset_dict.json"


def is_data_set(file: Path) -> bool:
    """Whether a corpus entry names a data set and no file of text."""
    return str(file).startswith(HUB) or (file / SAVED).is_file() or (file / SAVED_SPLITS).is_file()


@cache
def opened_data_set(file: Path) -> Any:
    """The ``datasets.Dataset`` that a corpus entry names.

    A :class:`UserError` says what there is where it names none, a :class:`e2lm.errors.MachineError` that the Hub cannot
    be reached.
    """
    import datasets

    name, split = str(file), SPLIT
    try:
        if not name.startswith(HUB):
            found = datasets.load_from_disk(name)
            return found if isinstance(found, datasets.Dataset) else found[_known(split, list(found), file)]
        name, config, split = _parts(name)
        repository, _, revision = name.partition("@")
        return datasets.load_dataset(repository, config or None, split=split, revision=revision or None)
    except (datasets.exceptions.DatasetsError, ValueError, FileNotFoundError) as error:
        raise UserError(
            f"{file}: {one_line(error)}; --corpus takes {HUB}OWNER/NAME[@REVISION][:CONFIG[:SPLIT]]"
        ) from error
    except (ConnectionError, OSError) as error:
        raise MachineError(f"{file}: the Hub cannot be reached and no copy is kept ({one_line(error)})") from error


def _parts(entry: str) -> tuple[str, str, str]:
    """Repository (with revision), configuration and split.

    >>> _parts("hub:a/b"), _parts("hub:a/b@main:small"), _parts("hub:a/b::test")
    (('a/b', '', 'train'), ('a/b@main', 'small', 'train'), ('a/b', '', 'test'))
    """
    name, *more = entry.removeprefix(HUB).split(":")
    config, split = (*more, "", "")[:2]
    if not name or len(more) > 2:
        raise ValueError("not the name of a data set")
    return name, config, split or SPLIT


def _known(split: str, splits: list[str], file: Path) -> str:
    if split not in splits:
        raise UserError(f"{file}: no split {split!r}. {nearest_names(split, splits)}")
    return split
