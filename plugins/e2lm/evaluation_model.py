"""A model adapter for ``lm_eval run --model NAME``."""

from __future__ import annotations

from dataclasses import dataclass

from e2lm.errors import E2LMError
from e2lm.kind import checked_name


@dataclass(frozen=True, slots=True)
class EvaluationModel:
    """The class behind ``--model name``: ``target`` is ``"module:Class"``, imported on first use."""

    name: str
    target: str
    description: str

    def __post_init__(self) -> None:
        checked_name(self.name, "evaluation model")
        module, colon, attribute = self.target.partition(":")
        if not (module and colon and attribute):
            raise E2LMError(f"evaluation model {self.name!r}: target {self.target!r} is not of the form 'module:Class'")
