"""What a curriculum takes and gives.

Shape suffixes: X examples, S optimiser steps, B examples per step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from e2lm.name_rule import checked_name


@dataclass(frozen=True, slots=True)
class TrainingBudget:
    """How much is trained: ``steps`` optimiser steps of ``batch_size`` examples of ``sequence_length`` tokens."""

    steps: int
    batch_size: int
    sequence_length: int

    @property
    def tokens(self) -> int:
        """Tokens seen in the whole run."""
        return self.steps * self.batch_size * self.sequence_length


@dataclass(frozen=True, slots=True)
class Plan:
    """The order in which examples are seen, decided before training starts: a pure function of its inputs."""

    indices_SB: NDArray[np.int64]

    @property
    def hash(self) -> str:
        """SHA-256 over shape and indices: two plans with one hash train the same way."""
        digest = sha256(repr(self.indices_SB.shape).encode())
        digest.update(np.ascontiguousarray(self.indices_SB, dtype="<i8").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Curriculum:
    """A named order: ``plan(scores_X, budget, rng)`` gives the :class:`Plan`.

    ``scores_X`` is the difficulty of each example (all zero where the curriculum needs none).
    """

    name: str
    description: str
    plan: Callable[[NDArray[np.float64], TrainingBudget, np.random.Generator], Plan]
    source: str = ""

    def __post_init__(self) -> None:
        checked_name(self.name, "curriculum")
