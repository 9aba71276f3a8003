"""How much of the sorted data (or of the vocabulary) is in play after a share of the training tokens.

Formulas of CLIMB (Diehl Martinez et al. 2023, arXiv 2311.08886), after Wu, Dyer and Neyshabur (ICLR 2021), and the
competence of Platanios et al. (2019, arXiv 1903.09848). Shape suffixes: S points in time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from e2lm.noun import Noun

PacingName = Literal["linear", "quad", "root", "step", "exp", "log", "competence", "constant"]

#: How sharply ``exp`` and ``log`` bend (CLIMB and Wu et al.: 10).
BEND = 10.0

_RISES: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "linear": lambda x_S: x_S,
    "quad": lambda x_S: x_S**2,
    "root": np.sqrt,
    "exp": lambda x_S: np.expm1(BEND * x_S) / np.expm1(BEND),
    "log": lambda x_S: 1.0 + np.log(x_S + np.exp(-BEND)) / BEND,
}


class Pacing(Noun):
    """``kind``, and where it rises: from ``starting_share`` at ``start`` to ``maximum`` at ``end``.

    ``start`` and ``end`` are shares of the training tokens. With x = (t - start) / (end - start), b =
    ``starting_share`` and m = ``maximum``: *linear* b + (m - b) x, *quad* x^2, *root* x^(1/2), *exp* (e^(10 x) - 1) /
    (e^10 - 1) and *log* 1 + ln(x + e^-10) / 10 in place of x; *step* b before ``end``, m from there on; *constant* 1.
    *competence* is ((b^p + x (1 - b^p))^(1/p), Platanios et al., with p = ``power``. b before ``start``, never above m.
    """

    kind: PacingName = "linear"
    start: Annotated[float, Field(ge=0, lt=1)] = 0.0625
    end: Annotated[float, Field(gt=0, le=1)] = 0.875
    starting_share: Annotated[float, Field(gt=0, le=1)] = 0.1
    maximum: Annotated[float, Field(gt=0, le=1)] = 1.0
    power: Annotated[float, Field(gt=0)] = 2.0

    def share(self, fraction_S: NDArray[np.float64]) -> NDArray[np.float64]:
        """The share in [0, 1] that is in play after ``fraction_S`` of the training tokens.

        >>> Pacing(kind="log").share(np.array([0.0, 0.125, 0.25, 0.5])).round(2).tolist()
        [0.1, 0.77, 0.87, 0.94]
        """
        b, m = self.starting_share, self.maximum
        if self.kind == "constant":
            return np.ones_like(fraction_S)
        if self.kind == "step":
            return np.where(fraction_S < self.end, b, m)
        x_S = np.clip((fraction_S - self.start) / max(self.end - self.start, np.finfo(float).tiny), 0.0, 1.0)
        if self.kind == "competence":
            low = b**self.power
            share_S = (low + x_S * (1.0 - low)) ** (1.0 / self.power)
        else:
            share_S = b + (m - b) * _RISES[self.kind](x_S)
        return np.where(fraction_S < self.start, b, np.minimum(share_S, m))


#: CLIMB's shipped values: start 25k, end 350k of 400k steps, a tenth of the data at first.
CLIMB_LINEAR = Pacing(kind="linear")
CLIMB_LOG = Pacing(kind="log")

#: Platanios et al.: a hundredth at first, everything after half the run.
COMPETENCE = Pacing(kind="competence", start=0.0, end=0.5, starting_share=0.01, power=2.0)


def step_fractions(steps: int) -> NDArray[np.float64]:
    """The share of tokens seen before each step: every step has as many tokens as any other."""
    return np.arange(steps) / steps
