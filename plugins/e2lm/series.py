"""Series: the ordered checkpoints of one training run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from e2lm.atomic_file import write_json
from e2lm.checkpoint import Checkpoint
from e2lm.errors import UserError, no_such
from e2lm.noun import Noun
from e2lm.step_name import NamedStep, step_in_path, step_of
from e2lm.weights import OTHER_LAYOUTS, WeightIndex, holds_weights, read_weight_index

log = logging.getLogger("e2lm")

SERIES_FILE = "series.json"

#: Forward and backward pass of a dense transformer, per parameter and token (Kaplan et al. 2020, section 2.1).
FLOPS_PER_PARAMETER_TOKEN = 6


class Series(Noun):
    """The checkpoints of one run in order of ``step``, with what comparisons between runs need.

    ``params`` counts every trained number once (tied ones too), ``params_non_embedding`` all but embeddings and output
    head, ``params_active`` those that one token passes through: fewer in a mixture of experts, None where nobody said.
    ``tokens_per_step`` is None where nobody said.
    """

    schema_version: Literal[1] = 1
    name: Annotated[str, Field(min_length=1, pattern=r"^[^/\x00]+$")]
    params: Annotated[int, Field(gt=0)]
    params_non_embedding: Annotated[int, Field(ge=0)]
    params_active: Annotated[int, Field(gt=0)] | None = None
    tokens_per_step: Annotated[float, Field(gt=0)] | None = None
    data: str = ""
    checkpoints: tuple[Checkpoint, ...]

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, name: str) -> str:
        if name in (".", ".."):
            raise ValueError("the name is used as that of a folder, and '.' and '..' are none")
        return name

    @model_validator(mode="after")
    def _parts_of_a_whole(self) -> Series:
        if self.params_active is not None and not 0 <= self.params - self.params_active <= self.params_non_embedding:
            raise ValueError(
                f"params_active is {self.params_active}: expected at most params ({self.params}) and at least what is "
                f"outside of experts, which hold no embeddings ({self.params - self.params_non_embedding} are)"
            )
        return self

    @model_validator(mode="after")
    def _in_order(self) -> Series:
        steps = [checkpoint.step for checkpoint in self.checkpoints]
        if steps != sorted(set(steps)):
            raise ValueError(f"steps must rise strictly, found {steps[:20]}")
        return self

    def tokens_at(self, checkpoint: Checkpoint) -> float:
        """Training tokens seen at ``checkpoint``; NaN where unknown."""
        if checkpoint.tokens is not None:
            return float(checkpoint.tokens)
        return float("nan") if self.tokens_per_step is None else checkpoint.step * self.tokens_per_step

    def flops(self, tokens: float) -> float:
        """Training FLOPs up to ``tokens``: 6 N D with N the non-embedding parameters (Kaplan et al. 2020, eq. 2.2).

        Of a mixture of experts N are those that a token passes through.

        >>> s = Series(name="s", params=10, params_non_embedding=5, checkpoints=())
        >>> s.flops(100), s.model_copy(update={"params_active": 8}).flops(100)
        (3000.0, 1800.0)
        """
        idle = 0 if self.params_active is None else self.params - self.params_active
        return float(FLOPS_PER_PARAMETER_TOKEN * (self.params_non_embedding - idle) * tokens)

    def write(self, folder: Path) -> None:
        """Write ``series.json`` into ``folder``; paths inside ``folder`` are stored relative to it."""
        data = self.model_dump(mode="json")
        for checkpoint in data["checkpoints"]:
            if checkpoint["path"] is not None:
                path = Path(checkpoint["path"])
                if path.is_absolute() and path.is_relative_to(folder.resolve()):
                    checkpoint["path"] = str(path.relative_to(folder.resolve()))
        write_json(folder / SERIES_FILE, data)

    @classmethod
    def read(
        cls,
        folder: Path,
        tokens_per_step: float | None = None,
        index_of: Callable[[Path], WeightIndex] = read_weight_index,
    ) -> Series:
        """The series in ``folder``: from its ``series.json``, else from the names of its checkpoint folders.

        Paths of checkpoints come out absolute. Tokens in names of folders are rounded, so ``tokens_per_step`` replaces
        them; what ``series.json`` says of a checkpoint stays. ``index_of`` counts the parameters of one. Raises
        :class:`UserError` for a missing folder or an empty series.
        """
        if not folder.is_dir():
            raise UserError(f"{folder}: {no_such(folder, 'folder')}; give the folder of a training run")
        series = cls._described(folder) if (folder / SERIES_FILE).is_file() else cls._found(folder, index_of)
        if not series.checkpoints:
            raise UserError(
                f"{folder}: the series is empty; expected sub-folders named checkpoint-<step>, iter_<step> or "
                f"step<step>, each with model.safetensors, or a {SERIES_FILE} that lists some{_without_step(folder)}; "
                f"{OTHER_LAYOUTS}"
            )
        if tokens_per_step is None:
            return series
        points = series.checkpoints
        if not (folder / SERIES_FILE).is_file():
            points = tuple(point.model_copy(update={"tokens": None}) for point in points)
        return series.model_copy(update={"tokens_per_step": tokens_per_step, "checkpoints": points})

    @classmethod
    def _described(cls, folder: Path) -> Series:
        series = cls.from_json_file(folder / SERIES_FILE)
        located = []
        for checkpoint in series.checkpoints:
            if checkpoint.path is None and checkpoint.repo is None:
                raise UserError(
                    f"{folder / SERIES_FILE}: checkpoint at step {checkpoint.step} has neither path nor repo"
                )
            if checkpoint.path is not None:
                place = (folder / checkpoint.path).resolve()
                if not place.is_dir():
                    raise UserError(f"{folder / SERIES_FILE}: step {checkpoint.step}: folder {place} is missing")
                checkpoint = checkpoint.model_copy(update={"path": str(place)})
            located.append(checkpoint)
        return series.model_copy(update={"checkpoints": tuple(located)})

    @classmethod
    def _found(cls, folder: Path, index_of: Callable[[Path], WeightIndex]) -> Series:
        by_step = _checkpoint_folders(folder)
        if not by_step:
            return cls(name=folder.resolve().name, params=1, params_non_embedding=1, checkpoints=())
        newest, _ = by_step[max(by_step)]
        counted = index_of(newest).parameters()
        for line in counted.assumed:
            log.warning("%s: %s", newest, line)
        named = step_in_path(str(folder.resolve() / newest.name))
        assert named is not None
        return cls(
            name=named[0] or folder.resolve().name,
            params=counted.params,
            params_non_embedding=counted.params_non_embedding,
            params_active=counted.params_active if counted.is_mixture else None,
            checkpoints=tuple(
                Checkpoint(step=step, tokens=one.tokens, path=str(place.resolve()))
                for step, (place, one) in sorted(by_step.items())
            ),
        )


def _checkpoint_folders(folder: Path) -> dict[int, tuple[Path, NamedStep]]:
    """The sub-folders that :func:`step_of` takes for checkpoints, by step; a :class:`UserError` for two of one step.

    Those of a track (``stage1-step500``, ``best-checkpoint-500``) count where there are no others.
    """
    named = _named_folders(folder)
    plain = [(place, one) for place, one in named if not one.track]
    tracks = sorted({one.track for _, one in named if one.track})
    if not plain and len(tracks) > 1:
        raise UserError(
            f"{folder}: its checkpoints are of {len(tracks)} runs or stages: {', '.join(tracks[:5])}; "
            "give each a folder of its own"
        )
    by_step: dict[int, tuple[Path, NamedStep]] = {}
    for place, one in plain or named:
        if one.step in by_step:
            raise UserError(f"{folder}: step {one.step} is there twice: {by_step[one.step][0].name} and {place.name}")
        by_step[one.step] = (place, one)
    return by_step


def _without_step(folder: Path) -> str:
    """A sentence on the folders of weights whose names tell no step for certain, such as ``1000`` or ``epoch-3``."""
    names = [child.name for child in sorted(folder.iterdir()) if child.is_dir() and holds_weights(child)]
    shown = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
    return f"; {shown}: {len(names)} with weights, but which step do the names mean?" if names else ""


def _named_folders(folder: Path) -> list[tuple[Path, NamedStep]]:
    children = ((child, step_of(child.name)) for child in sorted(folder.iterdir()) if child.is_dir())
    return [(child, one) for child, one in children if one is not None and (not one.track or _is_checkpoint(child))]


def _is_checkpoint(folder: Path) -> bool:
    """Whether weights are there, and not those that a run (``tuned-from-step500``) has beside its checkpoints."""
    return holds_weights(folder) and not _named_folders(folder)


def series_folders(folder: Path) -> list[Path]:
    """``folder`` itself if it holds a series, else its sub-folders that do, in order of name."""
    if not folder.is_dir():
        raise UserError(
            f"{folder}: {no_such(folder, 'folder')}; give the folder of a training run, or a folder of such"
        )
    if _holds_series(folder):
        return [folder]
    inside = [child for child in sorted(folder.iterdir()) if child.is_dir() and _holds_series(child)]
    return inside or [folder]


def _holds_series(folder: Path) -> bool:
    if (folder / SERIES_FILE).is_file():
        return True
    return bool(_named_folders(folder))
