"""A model adapter for ``lm_eval run --model NAME``."""

from __future__ import annotations

from dataclasses import dataclass

from e2lm.kind import checked_name, checked_target


@dataclass(frozen=True, slots=True)
class EvaluationModel:
    """The class behind ``--model name``: ``target`` is ``"module:Class"``, imported on first use."""

    name: str
    target: str
    description: str

    def __post_init__(self) -> None:
        checked_name(self.name, "evaluation model")
        checked_target(self.target, f"evaluation model {self.name!r}", "Class")
