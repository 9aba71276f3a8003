"""The statistics of verdicts, made for being looked at again and again.

*Paired items* (guaranteed). At look k, item i says ``x = (base - run - margin) / (1 + margin)``, the difference of the
probabilities that both give its true choice among its choices: at least -1. Under the null of that look (over the
population that the items are drawn from, the run is not more than ``margin`` below the baseline), the mean of ``x`` is
at most 0, and ``E_k = mean over bets b of prod_i (1 + b x_i)`` has a mean of at most 1, whatever the distribution of x
(Waudby-Smith and Ramdas 2024, JRSS B 86(1)). ``S_k = sum_{j<=k} w_j E_j`` with ``w_j = 1 / (j (j + 1))``, which sum to
1, only grows and has a mean of at most 1, however looks depend on each other; by Markov's inequality it ever reaches
``1 / alpha`` in at most ``alpha`` of all runs for which every null holds. ``1 - 1 / S_k`` is what is compared with the
share of the rule. That the run *ends* below is more than that: the differences must not be closing either
(:func:`end_of_differences`), and with that the rate of wrong stops is measured by replay, not guaranteed.

*Forecasts* (measured by replay): ``alpha`` is spent in equal parts over :data:`CELLS` parts of the way to the end, each
of which is looked at once, at its first point.

Shape suffixes: I items, K looks or points.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import norm

Values = NDArray[np.float64]

BETS = (0.05, 0.1, 0.2, 0.4, 0.8)
#: Looks before an end is judged, and standard errors that it must lie below 0.
FEWEST_LOOKS, END_ERRORS = 4, 1.645
CELLS = 20
#: Points before a jump of the loss is judged, and the width of the running median.
FEWEST_POINTS, WINDOW = 12, 15
#: A spike is so many robust standard deviations of the loss before it, and at least so much of ln L.
SPIKE_DEVIATIONS, SMALLEST_SPIKE = 12.0, math.log(1.1)


def log_e_value(below_I: Values, margin: float = 0.0) -> float:
    """Logarithm of the e-value of one look against "not below by more than ``margin``"; ``below_I`` is base minus run.

    >>> log_e_value(np.full(200, 0.1)) > math.log(20), log_e_value(np.full(200, -0.1)) < 0
    (True, True)
    """
    x_I = (below_I - margin) / (1.0 + margin)
    logs = [float(np.log1p(bet * x_I).sum()) for bet in BETS]
    return float(logsumexp(logs)) - math.log(len(BETS))


def surely_below(log_e_K: Values) -> float:
    """``1 - 1 / S`` after the looks with these ln E: what holds with at most ``1 - it`` of false claims over all looks.

    >>> surely_below(np.array([0.0])), surely_below(np.array([0.0, 12.0])) > 0.99
    (0.0, True)
    """
    number_K = np.arange(1, len(log_e_K) + 1, dtype=np.float64)
    total = float(logsumexp(log_e_K - np.log(number_K * (number_K + 1.0))))
    return 1.0 - math.exp(-total) if total > 0 else 0.0


def end_of_differences(steps_K: Values, run_minus_base_K: Values, end: float) -> float:
    """The highest difference that the end may have: the line through the later half, in ln(step), and its error.

    Infinite for fewer than four looks: nothing is known of where a difference goes.
    """
    if len(steps_K) < FEWEST_LOOKS or steps_K[0] <= 0:
        return math.inf
    late = slice(min(len(steps_K) // 2, len(steps_K) - FEWEST_LOOKS), None)
    x_K, y_K = np.log(steps_K[late]), run_minus_base_K[late]
    x_end = math.log(max(end, float(steps_K[-1])))
    centred_K = x_K - x_K.mean()
    spread = float((centred_K**2).sum())
    slope = float((centred_K * y_K).sum()) / spread
    residual_K = y_K - y_K.mean() - slope * centred_K
    noise = math.sqrt(float((residual_K**2).sum()) / max(len(x_K) - 2, 1))
    reach = x_end - float(x_K.mean())
    error = noise * math.sqrt(1.0 / len(x_K) + reach**2 / spread)
    return float(y_K.mean()) + slope * reach + END_ERRORS * error


def spent(probability: float) -> float:
    """What is left of a probability when alpha is spent over all cells.

    >>> round(spent(0.999), 3), spent(0.5)
    (0.98, 0.0)
    """
    return max(0.0, 1.0 - CELLS * (1.0 - probability))


def first_of_cell(at_K: Values, end: float) -> int:
    """How many of the points belong to the newest look: up to the first one in the newest cell."""
    cells_K = np.floor(CELLS * at_K / end).astype(np.int64)
    return int(np.argmax(cells_K == cells_K[-1])) + 1


def probability_above(value: float, log_half_width: float, level: float, quantile: float) -> float:
    """The probability that a forecast, normal in ln L with a 90 % interval of this half width, ends above ``level``."""
    if not 0 < log_half_width < math.inf:
        return math.nan
    return float(norm.sf((math.log(level) - math.log(value)) / (log_half_width / quantile)))


def thinned(at_K: Values, loss_K: Values, points: int = 40, skipped: float = 0.03) -> tuple[Values, Values]:
    """The curve after its first ``skipped`` share, as medians of at most ``points`` equal parts of ln(tokens)."""
    kept_K = at_K > skipped * at_K[-1]
    at_K, loss_K = at_K[kept_K], loss_K[kept_K]
    if len(at_K) <= points:
        return at_K, loss_K
    log_K = np.log(at_K)
    part_K = np.minimum((points * (log_K - log_K[0]) / (log_K[-1] - log_K[0])).astype(np.int64), points - 1)
    parts = [part_K == part for part in np.unique(part_K)]
    return np.array([at_K[one].mean() for one in parts]), np.array([np.median(loss_K[one]) for one in parts])


def spikes(loss_K: Values) -> list[tuple[int, float]]:
    """Where a spike begins, and how many robust deviations it is high; later points of the same one do not count."""
    log_K = np.log(np.maximum(loss_K, 1e-12))
    found: list[tuple[int, float]] = []
    residuals: list[float] = []
    last = -WINDOW
    for k in range(1, len(log_K)):
        before = log_K[max(0, k - WINDOW) : k]
        above = float(log_K[k] - np.median(before))
        if k >= FEWEST_POINTS:
            recent = np.abs(residuals[-4 * WINDOW :])
            deviation = max(1.4826 * float(np.median(recent)), 1e-6)
            if above > max(SPIKE_DEVIATIONS * deviation, SMALLEST_SPIKE):
                if k - last > WINDOW:
                    found.append((k, above / deviation))
                last = k
                continue
        residuals.append(above)
    return found
