"""Is the irreducible loss E determined at all? The best objective for each fixed E."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from e2lm_scaling.fit import Fit, fitted
from e2lm_scaling.power_sum import E

#: The likelihood-ratio bound of a 95 % interval for one parameter (chi-square, 1 degree of freedom, halved).
HALF_CHI_SQUARE = 1.92
#: E as shares of the fitted one.
SHARES = (0.5, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1)


@dataclass(frozen=True, slots=True)
class FloorProfile:
    """Objective of the refitted law at each fixed floor; ``determined`` says whether both ends lie clearly higher."""

    floors: tuple[float, ...]
    objectives: tuple[float, ...]
    determined: bool


def floor_profile(fit: Fit) -> FloorProfile | None:
    """The profile of E; None for a law without a floor or with E at its bound.

    ``determined``: with the objective taken as a negative log-likelihood of Laplace or normal residuals of the scale
    that the fit itself has, both ends of the profile lie above the bound of a 95 % interval.
    """
    best = fit.params.get("E", 0.0)
    if not fit.law.has_floor or best <= 0 or "E" in fit.at_bound:
        return None
    lowest = float(fit.table.loss_R.min())
    weights_R = np.ones(len(fit.table.loss_R))
    floors, objectives = [], []
    for share in SHARES:
        floor = share * best
        if floor >= 0.999 * lowest:
            continue
        found = fitted(fit.law.face({E: float(np.log(floor))}), fit.table, fit.objective, weights_R, 4)
        if found is not None:
            floors.append(floor)
            objectives.append(found.value)
    if len(floors) < 2:
        return None
    # value = scale x negative log-likelihood, and at the optimum value / scale is about half the number of rows.
    bound = fit.value * (1 + 2 * HALF_CHI_SQUARE / len(weights_R))
    determined = objectives[0] > bound and objectives[-1] > bound
    return FloorProfile(tuple(floors), tuple(objectives), determined)
