"""What a fit minimises: a sum over rows of a penalty of the residual.

Shape suffixes: B problems solved at once, R rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from e2lm.errors import UserError, nearest_names

Array = NDArray[np.float64]
Kind = Literal["huber", "l1", "mse"]
Space = Literal["log", "loss"]

#: Hoffmann et al. 2022 (arXiv 2203.15556), section 3.3.
CHINCHILLA_DELTA = 1e-3
#: log-L1 is solved as the last of these Huber problems, each started from the one before; the last one lies far below
#: the noise of any loss that people publish. Wider steps than half a decade lose the way between two kinks.
L1_DELTAS = (1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 3e-7, 1e-7, 3e-8, 1e-8)
KINDS: tuple[Kind, ...] = ("huber", "l1", "mse")


@dataclass(frozen=True, slots=True)
class Objective:
    """``sum_i w_i rho(r_i)`` with ``r = ln predicted - ln observed`` (space ``log``) or ``predicted - observed``.

    ``huber``: ``r^2/2`` up to ``delta``, then ``delta (|r| - delta/2)``. ``l1``: ``|r|``. ``mse``: ``r^2/2``.

    >>> Objective("huber", 1.0).value(np.array([0.5, 3.0])).tolist()
    [0.125, 2.5]
    """

    kind: Kind = "huber"
    delta: float = CHINCHILLA_DELTA
    space: Space = "log"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"objective {self.kind!r} is unknown. {nearest_names(str(self.kind), KINDS)}")
        if self.kind == "huber" and not self.delta > 0:
            raise UserError(f"delta {self.delta!r} is not allowed: it must be above 0 (the usual value is 1e-3)")

    @property
    def stages(self) -> tuple[Objective, ...]:
        """The smooth problems to solve one after the other; the last one is the objective itself, or as good as."""
        if self.kind == "l1":
            return tuple(Objective("huber", delta, self.space) for delta in L1_DELTAS)
        return (self,)

    def value(self, residual: Array) -> Array:
        """The penalty of each residual."""
        size = np.abs(residual)
        if self.kind == "l1":
            return size
        if self.kind == "mse":
            return 0.5 * residual**2
        inner = np.minimum(size, self.delta)
        return inner * (size - 0.5 * inner)

    def derivatives(self, residual: Array) -> tuple[Array, Array]:
        """First and (generalised) second derivative of the penalty; not defined for ``l1``, which has ``stages``."""
        if self.kind == "mse":
            return residual, np.ones_like(residual)
        return np.clip(residual, -self.delta, self.delta), (np.abs(residual) <= self.delta).astype(np.float64)
