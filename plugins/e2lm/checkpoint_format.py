"""What a checkpoint format takes and gives: how one layout that a trainer leaves is known, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from e2lm.errors import E2LMError
from e2lm.kind import checked_name, checked_target

#: What a user may have to give before a format can be read: options of ``e2lm eval`` and ``e2lm checkpoints``.
GIVEN = ("config", "base", "allow_pickle")


@dataclass(frozen=True, slots=True)
class FoundCheckpoint:
    """What lies at one place; ``files`` are those of its weights.

    ``unfinished`` says in a few words why they are not whole (yet), and is empty where they are. ``convert`` is the
    command that makes a folder for transformers of them. ``step``, ``tokens`` and the numbers of parameters are what
    the files themselves say, None where they do not; ``base`` is the model that these weights are a difference to.
    """

    files: tuple[Path, ...]
    unfinished: str = ""
    convert: str = ""
    step: int | None = None
    tokens: int | None = None
    params: int | None = None
    params_non_embedding: int | None = None
    base: str = ""


@dataclass(frozen=True, slots=True)
class CheckpointFormat:
    """A layout of checkpoints; ``look(place)`` gives what a folder or file holds, None where it is none of this format.

    ``look`` reads headers only, imports no torch and runs nothing it finds. ``write`` is
    ``"module:function"``: ``function(place, folder, config, base)`` writes safetensors, configuration and tokenizer
    into ``folder``; ``check``, of the same form and with ``folder`` None, raises a :class:`UserError` where it could
    not. ``needs`` are those of ``"config"``, ``"base"`` and ``"allow_pickle"`` without which it does not work. A format
    without ``write`` is read as it is, unless what it finds says which command converts it.
    """

    name: str
    description: str
    look: Callable[[Path], FoundCheckpoint | None]
    write: str = ""
    check: str = ""
    needs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checked_name(self.name, "checkpoint format")
        for target in filter(None, (self.write, self.check)):
            checked_target(target, f"checkpoint format {self.name!r}")
        unknown = sorted(set(self.needs) - set(GIVEN))
        if unknown:
            raise E2LMError(f"checkpoint format {self.name!r}: needs {unknown[0]!r}, which is none of {GIVEN}")
