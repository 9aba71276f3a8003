"""Checkpoint: the weights of a model at one training step."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from e2lm.noun import Noun


class Checkpoint(Noun):
    """Weights at ``step``, after ``tokens`` training tokens, and where they are.

    Either ``path`` (a local folder) is set, or ``repo`` (a Hub name) with ``revision`` or ``subfolder`` or both.
    """

    step: Annotated[int, Field(ge=0)]
    tokens: Annotated[int, Field(ge=0)] | None = None
    path: str | None = None
    repo: str | None = None
    revision: str | None = None
    subfolder: str | None = None

    @property
    def folder(self) -> Path | None:
        """The local folder, if the checkpoint is local."""
        return None if self.path is None else Path(self.path)

    @property
    def label(self) -> str:
        """A name that is unique within a series and safe as a folder name."""
        return f"checkpoint-{self.step}"

    @property
    def location(self) -> str:
        """Where it is, for people."""
        if self.path is not None:
            return self.path
        revision = f"@{self.revision}" if self.revision else ""
        subfolder = f"/{self.subfolder}" if self.subfolder else ""
        return f"{self.repo}{revision}{subfolder}"
