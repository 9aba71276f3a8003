"""Series: the ordered checkpoints of one training run."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from e2lm.atomic_file import write_json
from e2lm.checkpoint import Checkpoint
from e2lm.errors import UserError
from e2lm.noun import Noun
from e2lm.weights import WeightIndex, read_weight_index

SERIES_FILE = "series.json"

#: Folder names that say which step they hold: ``checkpoint-100``, ``iter_0002000``, ``step1000``.
STEP_FOLDER = re.compile(r"(?:checkpoint-|iter_|step[-_]?)0*(\d+)")

#: Forward and backward pass of a dense transformer, per parameter and token (Kaplan et al. 2020, section 2.1).
FLOPS_PER_PARAMETER_TOKEN = 6


class Series(Noun):
    """The checkpoints of one run in order of ``step``, with what comparisons between runs need.

    ``params`` counts every weight once (tied ones too), ``params_non_embedding`` all but input embedding and output
    head. ``tokens_per_step`` is None where nobody said.
    """

    schema_version: Literal[1] = 1
    name: Annotated[str, Field(min_length=1, pattern=r"^[^/\x00]+$")]
    params: Annotated[int, Field(gt=0)]
    params_non_embedding: Annotated[int, Field(ge=0)]
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

        >>> s = Series(name="s", params=10, params_non_embedding=5, checkpoints=())
        >>> s.flops(100)
        3000.0
        """
        return float(FLOPS_PER_PARAMETER_TOKEN * self.params_non_embedding * tokens)

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

        Paths of checkpoints come out absolute. ``index_of`` counts the parameters of one. Raises :class:`UserError` for
        a missing folder or an empty series.
        """
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; give the folder of a training run")
        series = cls._described(folder) if (folder / SERIES_FILE).is_file() else cls._found(folder, index_of)
        if not series.checkpoints:
            raise UserError(
                f"{folder}: the series is empty; expected sub-folders named checkpoint-<step>, iter_<step> or "
                f"step<step>, each with model.safetensors, or a {SERIES_FILE} that lists some"
            )
        if tokens_per_step is not None:
            series = series.model_copy(update={"tokens_per_step": tokens_per_step})
        return series

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
        by_step: dict[int, Path] = {}
        for child in sorted(folder.iterdir()):
            match = STEP_FOLDER.fullmatch(child.name)
            if match is None or not child.is_dir():
                continue
            step = int(match.group(1))
            if step in by_step:
                raise UserError(f"{folder}: step {step} is there twice: {by_step[step].name} and {child.name}")
            by_step[step] = child
        checkpoints = tuple(Checkpoint(step=step, path=str(by_step[step].resolve())) for step in sorted(by_step))
        if not checkpoints:
            return cls(name=folder.resolve().name, params=1, params_non_embedding=1, checkpoints=())
        index = index_of(by_step[checkpoints[-1].step])
        return cls(
            name=folder.resolve().name,
            params=index.params,
            params_non_embedding=index.params_non_embedding,
            checkpoints=checkpoints,
        )


def series_folders(folder: Path) -> list[Path]:
    """``folder`` itself if it holds a series, else its sub-folders that do, in order of name."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder of a training run, or a folder of such")
    if _holds_series(folder):
        return [folder]
    inside = [child for child in sorted(folder.iterdir()) if child.is_dir() and _holds_series(child)]
    return inside or [folder]


def _holds_series(folder: Path) -> bool:
    if (folder / SERIES_FILE).is_file():
        return True
    return any(STEP_FOLDER.fullmatch(child.name) and child.is_dir() for child in folder.iterdir())
