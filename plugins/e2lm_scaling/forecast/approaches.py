"""The three ways of Hoffmann et al. 2022 to the best size for a budget, side by side: how far they agree.

Approach 1 reads the lower envelope of training curves, approach 2 the lowest point of every budget (isoFLOP), approach
3 a law of N and D. Shape suffixes: G budgets, R runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from e2lm.errors import UserError
from e2lm.interval import Interval, percentile_interval, student_quantile
from e2lm.scaling_predictor import LossTable
from e2lm_scaling.forecast.table import check_split
from e2lm_scaling.laws.fit import bootstrap, fit
from e2lm_scaling.laws.law import FLOPS_PER_PARAMETER_TOKEN
from e2lm_scaling.laws.objective import Array
from e2lm_scaling.laws.optimum import (
    IsoFlop,
    budgets_of,
    envelope_optima,
    isoflop_optima,
    optimum,
    power_fit,
)

#: The law of approach 3.
LAW = "chinchilla"
#: Budgets that a line with an error of its slope takes.
FEWEST_BUDGETS = 3


@dataclass(frozen=True, slots=True)
class Approach:
    """N* at the budget and its exponent in compute, with intervals; or ``reason`` why this way says nothing.

    ``budgets`` are those that the line goes through. An envelope has no interval: its points are not independent.
    """

    name: str
    exponent: float | None = None
    exponent_interval: Interval | None = None
    params: float | None = None
    params_interval: Interval | None = None
    budgets: int = 0
    reason: str = ""

    def tokens(self, flops: float) -> float | None:
        """D* at the budget."""
        return None if self.params is None else flops / FLOPS_PER_PARAMETER_TOKEN / self.params


def approaches(
    table: LossTable, flops: float, draws: int, rng: np.random.Generator, coverage: float
) -> tuple[Approach, Approach, Approach]:
    """All three on one table, at ``flops``."""
    return (
        _told("1 envelope", lambda: _envelope(table, flops)),
        _told("2 isoFLOP", lambda: _isoflop(table, flops, coverage)),
        _told("3 law", lambda: _law(table, flops, draws, rng, coverage)),
    )


def _told(name: str, find: Callable[[], Approach]) -> Approach:
    try:
        return find()
    except UserError as error:
        return Approach(name, reason=str(error))


def _envelope(table: LossTable, flops: float) -> Approach:
    """Where the smallest or the largest size is the best, a smaller or larger one might be: not in the line."""
    found = envelope_optima(table)
    inside_G = (found.params_G > table.params_R.min()) & (found.params_G < table.params_R.max())
    distinct = len(np.unique(found.params_G[inside_G]))
    if distinct < FEWEST_BUDGETS:
        raise UserError(
            f"the envelope of the training curves goes along {distinct} sizes only, the smallest and the largest "
            f"left out; give the checkpoints of at least {FEWEST_BUDGETS + 2} sizes, with S=..."
        )
    law = power_fit(found.flops_G[inside_G], found.params_G[inside_G])
    return Approach("1 envelope", law.exponent, None, law.at(flops), None, distinct)


def _isoflop(table: LossTable, flops: float, coverage: float) -> Approach:
    """A line through the lowest points of the curves; its errors by Student's t, of the points about it."""
    found = isoflop_optima(table)
    if len(found.flops_G) < FEWEST_BUDGETS:
        law = found.params_law
        return Approach("2 isoFLOP", law.exponent, None, law.at(flops), None, len(found.flops_G))
    slope, at = _line(found, flops, coverage)
    middle = found.params_law.exponent
    params = found.params_law.at(flops)
    return Approach(
        "2 isoFLOP", middle, Interval(middle - slope, middle + slope), params,
        Interval(params * float(np.exp(-at)), params * float(np.exp(at))), len(found.flops_G),
    )  # fmt: skip


def _line(found: IsoFlop, flops: float, coverage: float) -> tuple[float, float]:
    """Half-widths of the slope of ln N* in ln C, and of ln N* at the budget."""
    x_G, y_G = np.log(found.flops_G), np.log(found.params_G)
    centred_G = x_G - x_G.mean()
    residual_G = y_G - np.polyval(np.polyfit(centred_G, y_G, 1), centred_G)
    free, squares = len(x_G) - 2, float((centred_G**2).sum())
    wide = float(student_quantile(free, coverage)) * float(np.sqrt((residual_G**2).sum() / free))
    away = float(np.log(flops) - x_G.mean())
    return wide / float(np.sqrt(squares)), wide * float(np.sqrt(1 / len(x_G) + away**2 / squares))


def _law(table: LossTable, flops: float, draws: int, rng: np.random.Generator, coverage: float) -> Approach:
    check_split(table, "the runs")
    best = fit(table, LAW)
    if best.at_bound:
        raise UserError(f"the fit of {LAW} lies at its bound in {', '.join(best.at_bound)}")
    exponent, params = _optimum_of(best.theta_T[None], flops)
    intervals: tuple[Interval | None, Interval | None] = (None, None)
    if draws:
        drawn = bootstrap(best, draws, rng)
        of_draws: Array = optimum(drawn.theta_BT, flops).params_B
        intervals = (
            percentile_interval(drawn.params_exponent_B, coverage).holding(exponent),
            percentile_interval(of_draws, coverage).holding(params),
        )
    return Approach("3 law", exponent, intervals[0], params, intervals[1], len(budgets_of(table)))


def _optimum_of(theta_1T: Array, flops: float) -> tuple[float, float]:
    here, there = (float(optimum(theta_1T, one).params_B[0]) for one in (flops, np.e * flops))
    return float(np.log(there / here)), here
