"""A judge of what benchmark items are about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from e2lm.kind import checked_name


@dataclass(frozen=True, slots=True)
class Judge:
    """``judge(texts)`` gives one number in [0, 1] per text: how sure it is that the text is about the subject.

    A text is the prompt of an item and its true answer. A judge that asks a service sends it those texts.
    """

    name: str
    description: str
    judge: Callable[[Sequence[str]], Sequence[float]]
    source: str = ""

    def __post_init__(self) -> None:
        checked_name(self.name, "judge")
