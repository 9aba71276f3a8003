"""What a score of early signal takes and gives: a curve, or several with their parts in a competition, and a value.

Shape suffixes: K checkpoints of one series, M series, I items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from e2lm.kind import checked_name, lock_arrays


@dataclass(frozen=True, slots=True)
class SeriesRoles:
    """``control`` holds patterns of names of the series that others must beat, such as ones trained on web data.

    ``early_tokens`` is where early ends: a score that foretells looks at the checkpoints up to there, one that compares
    rankings at those after it. None leaves that to the score.
    """

    control: tuple[str, ...] = ()
    early_tokens: float | None = None

    def is_control(self, series: str) -> bool:
        """Whether the series of this name is one to be beaten.

        >>> SeriesRoles(("web*",)).is_control("web-500m"), SeriesRoles().is_control("web-500m")
        (True, False)
        """
        return any(fnmatchcase(series, pattern) for pattern in self.control)


@dataclass(frozen=True, slots=True)
class Curve:
    """The values of one task x metric at the checkpoints of one series, ordered by step.

    ``tokens_K`` may hold NaN where unknown; ``stderr_K`` is NaN where unknown; ``n_items_K`` is 0 where unknown.
    ``items_KI`` holds per-item values where Samples exist. ``key`` is what is known of how it was evaluated (JSON text,
    as in the Scores table), ``""`` for nothing. All arrays are read-only: many scores see one curve.
    """

    series: str
    task: str
    metric: str
    steps_K: NDArray[np.int64]
    tokens_K: NDArray[np.float64]
    values_K: NDArray[np.float64]
    stderr_K: NDArray[np.float64]
    n_items_K: NDArray[np.int64]
    params: float = float("nan")
    chance: float | None = None
    higher_is_better: bool = True
    items_KI: NDArray[np.float64] | None = None
    key: str = ""

    def __post_init__(self) -> None:
        lock_arrays(self, "steps_K", "tokens_K", "values_K", "stderr_K", "n_items_K", "items_KI")

    def until(self, tokens: float | None) -> Curve:
        """The curve up to that many tokens, or all of it; a checkpoint of unknown tokens stays."""
        if tokens is None or not (late_K := self.tokens_K > tokens).any():
            return self
        return self.at(~late_K)

    def at(self, kept_K: NDArray[np.bool_]) -> Curve:
        """The curve at the checkpoints that ``kept_K`` says."""
        return replace(
            self,
            steps_K=self.steps_K[kept_K],
            tokens_K=self.tokens_K[kept_K],
            values_K=self.values_K[kept_K],
            stderr_K=self.stderr_K[kept_K],
            n_items_K=self.n_items_K[kept_K],
            items_KI=None if self.items_KI is None else self.items_KI[kept_K],
        )


@dataclass(frozen=True, slots=True)
class ScoreValue:
    """A number with what one needs to believe it; ``value`` is None where the score is undefined, with a ``reason``."""

    value: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    reason: str | None = None
    details: Mapping[str, float | str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SignalScore:
    """A named score of early signal.

    ``scope="curve"``: ``score(curve, rng)`` is called once per series x task x metric.
    ``scope="family"``: ``score(curves, rng)`` is called once per task x metric with the curves of all series.
    ``rng`` is a ``numpy.random.Generator``; nothing else may be a source of randomness.

    ``under(roles)``, where a score has it, gives the score of the same name that knows the parts which the series of a
    competition play. A family score that has it is given the control series too; no other ever sees them.

    ``value(curve)``, or ``value(curves)``, where a score has it, gives the value alone, without interval and p: for
    whoever scores a thousand redrawn curves.
    """

    name: str
    description: str
    score: Callable[..., ScoreValue]
    scope: Literal["curve", "family"] = "curve"
    source: str = ""
    unit: str = ""
    under: Callable[[SeriesRoles], SignalScore] | None = None
    value: Callable[..., float | None] | None = None

    def __post_init__(self) -> None:
        checked_name(self.name, "signal score")
