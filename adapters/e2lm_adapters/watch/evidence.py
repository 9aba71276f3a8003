"""The statistics of verdicts, made for being looked at again and again.

*Paired items* (guaranteed). At look k, item i says ``x = (base - run - margin) / (1 + margin)``, the difference of the
probabilities that both give its true choice among its choices: at least -1. Under the null of that look (over the
population that the items are drawn from, the run is not more than ``margin`` below the baseline), the mean of ``x`` is
at most 0, and ``E_k = mean over bets b of prod_i (1 + b x_i)`` has a mean of at most 1, whatever the distribution of x
(Waudby-Smith and Ramdas 2024, JRSS B 86(1)). At look k
the smallest ``E`` of the later half of all looks (five at least) is taken, ``M_k``: an e-value against "at one of these
looks the run was not below". With ``w_k = 1 / (k (k + 1))``, which sum to 1, ``w_k M_k`` ever reaches ``1 / alpha`` at
a look whose null holds in at most ``alpha`` of all runs, however looks depend on each other (Markov's inequality and
the sum over looks). ``1 - 1 / (w_k M_k)`` is what is compared with the share of the rule. That the run *ends* below is
more than that: lines through these differences, in steps and in ln(steps), must stay below 0 up to the end
(:func:`end_of_differences`), and with that the rate of wrong stops is measured by simulation and replay.

*Forecasts* (measured by simulation and replay): ``alpha`` is spent in equal parts over :data:`CELLS` parts of the way
to the end, each of which is looked at once, at its first point. A curve does not know of a decay of the learning rate
that is still to come: "above" a level is said of a forecast that is above it by what such a decay takes off besides.

Shape suffixes: I items, K looks or points.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import logsumexp
from scipy.stats import norm

from e2lm.arrays import Values
from e2lm.interval import student_quantile

BETS = (0.05, 0.1, 0.2, 0.4, 0.8)
#: Looks before an end is judged.
FEWEST_LOOKS = 5
#: Of the interval around the end of a line, which is looked at again and again.
END_CONFIDENCE = 0.98
CELLS = 20
#: What a decay of the learning rate takes off ln L: .026 to .042 in the runs of MultiPowerLaw (Luo et al. 2025).
DECAY_TO_COME = math.log(1.05)
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
    """What holds of the later half of the looks with these ln E; false over all looks in at most ``1 - it`` of runs.

    >>> surely_below(np.zeros(6)), surely_below(np.full(6, 12.0)) > 0.99, surely_below(np.full(3, 12.0))
    (0.0, True, 0.0)
    """
    looks = len(log_e_K)
    if looks < FEWEST_LOOKS:
        return 0.0
    least = float(log_e_K[_late(looks)].min()) - math.log(looks * (looks + 1))
    return 1.0 - math.exp(-least) if least > 0 else 0.0


def _late(looks: int) -> slice:
    return slice(looks - max(looks // 2, FEWEST_LOOKS), None)


def end_of_differences(steps_K: Values, run_minus_base_K: Values, end: float) -> float:
    """The highest difference that the end may have: of lines in steps and in ln(steps), with their errors.

    Infinite for fewer than five looks: nothing is known of where a difference goes.
    """
    if len(steps_K) < FEWEST_LOOKS or steps_K[0] <= 0:
        return math.inf
    late = _late(len(steps_K))
    x_K, y_K = steps_K[late], run_minus_base_K[late]
    end = max(end, float(x_K[-1]))
    return max(_highest_end(x_K, y_K, end), _highest_end(np.log(x_K), y_K, math.log(end)))


def _highest_end(x_K: Values, y_K: Values, x_end: float) -> float:
    """The upper end of the interval around a straight line at ``x_end``."""
    centred_K = x_K - x_K.mean()
    spread = float((centred_K**2).sum())
    slope = float((centred_K * y_K).sum()) / spread
    residual_K = y_K - y_K.mean() - slope * centred_K
    free = len(x_K) - 2
    noise = math.sqrt(float((residual_K**2).sum()) / free)
    reach = x_end - float(x_K.mean())
    error = noise * math.sqrt(1.0 / len(x_K) + reach**2 / spread)
    return float(y_K.mean()) + slope * reach + float(student_quantile(free, END_CONFIDENCE)) * error


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


def probability_above(value: float, log_half_width: float, level: float, half_width_z: float) -> float:
    """The probability that a forecast, normal in ln L with a 90 % interval of this half width, ends above ``level``."""
    if not 0 < log_half_width < math.inf:
        return math.nan
    return float(norm.sf((math.log(level) - math.log(value)) / (log_half_width / half_width_z)))


def surely_past(value: float, log_half_width: float, level: float, sign: str, half_width_z: float) -> float:
    """What is left, when all looks are counted, of the probability that the loss ends past ``level``.

    >>> [round(surely_past(3.0, 0.02, level, ">", 1.64), 2) for level in (2.5, 2.9, 3.2)]
    [1.0, 0.0, 0.0]
    """
    low = value / math.exp(DECAY_TO_COME) if sign == ">" else value
    above = probability_above(low, log_half_width, level, half_width_z)
    return spent(above if sign == ">" else 1.0 - above)


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
