"""What a scaling predictor takes and gives.

Shape suffix: R rows, one per (model, checkpoint).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from e2lm.kind import checked_name, lock_arrays


@dataclass(frozen=True, slots=True)
class LossTable:
    """Losses of trained models: parameters N, training tokens D, loss L (lower is better), and which run it was.

    The arrays are read-only: many predictors see one table.
    """

    params_R: NDArray[np.float64]
    tokens_R: NDArray[np.float64]
    loss_R: NDArray[np.float64]
    series_R: tuple[str, ...]

    def __post_init__(self) -> None:
        lock_arrays(self, "params_R", "tokens_R", "loss_R")


@dataclass(frozen=True, slots=True)
class Forecast:
    """A forecast with its interval; ``low`` and ``high`` are None only with a ``reason``.

    ``method`` says in words how the interval was made.
    """

    value: float
    low: float | None = None
    high: float | None = None
    reason: str | None = None
    method: str | None = None


class FittedPredictor(Protocol):
    """A predictor after its fit."""

    def predict(self, params: float, tokens: float) -> Forecast:
        """The loss of a model of ``params`` parameters after ``tokens`` tokens."""
        ...


@dataclass(frozen=True, slots=True)
class ScalingPredictor:
    """A named way to forecast the loss of a big run: ``fit(table, rng)`` gives a :class:`FittedPredictor`.

    ``fit`` raises :class:`e2lm.UserError` where the table cannot identify the law.
    """

    name: str
    description: str
    fit: Callable[[LossTable, np.random.Generator], FittedPredictor]
    source: str = ""
    is_baseline: bool = False

    def __post_init__(self) -> None:
        checked_name(self.name, "scaling predictor")
