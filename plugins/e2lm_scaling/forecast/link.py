"""From one loss to what follows from it (another loss, an accuracy), and forecasts sent through such a link.

Shape suffix: P pairs of runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from e2lm.errors import UserError
from e2lm.scaling_predictor import Forecast
from e2lm_scaling.laws.downstream import AccuracyLaw, fit_accuracy_law
from e2lm_scaling.laws.loss_to_loss import (
    FEWEST_PAIRS,
    HELD_OUT_SHARE,
    LossToLoss,
    leave_lowest_out_error,
    lowest_and_rest,
)
from e2lm_scaling.laws.objective import Array

#: The interval is this times the largest error on the held-out pairs: losses asked for lie further out than those.
ERROR_FACTOR = 2.0
HELD_OUT_METHOD = "twice the largest error on the lowest losses, held out"


@dataclass(frozen=True, slots=True)
class LossLink:
    """``apply`` gives what follows from a loss, monotone; ``error`` is its 90 % half-width, None where unknown.

    ``relative`` says that ``error`` is a share of the value, else it is in its units. No interval leaves ``limits``.
    Nothing follows from a loss at or below ``floor``; ``lowest`` is the lowest loss of the pairs.
    """

    apply: Callable[[Array | float], Array]
    error: float | None
    relative: bool
    limits: tuple[float, float] = (0.0, float("inf"))
    floor: float = 0.0
    lowest: float = 0.0
    held_out_reach: float = 1.0

    def half_width(self, value: float, loss: float | None = None) -> float | None:
        """90 % half-width of the link itself at ``value``, which follows from ``loss``.

        Below the lowest loss it grows with the way, in units of that which the held-out pairs lay below the others.
        """
        if self.error is None:
            return None
        beyond = 0.0 if loss is None or self.lowest <= 0 else max(float(np.log(self.lowest / loss)), 0.0)
        error = self.error * float(np.hypot(1.0, beyond / self.held_out_reach))
        return error * value if self.relative else error


def loss_link(law: LossToLoss, from_P: Array, to_P: Array) -> LossLink:
    """The link of a loss-to-loss law with its held-out error."""
    error = leave_lowest_out_error(law, from_P, to_P)
    factor = None if error is None else ERROR_FACTOR * error
    held, kept = lowest_and_rest(from_P)
    reach = float(np.log(from_P[kept].min() / from_P[held].min())) if len(kept) else 0.0
    lowest = float(from_P.min())
    return LossLink(law.translate, factor, True, floor=law.floor_from, lowest=lowest, held_out_reach=max(reach, 1e-3))


def accuracy_link(from_P: Array, accuracy_P: Array, chance: float) -> tuple[AccuracyLaw, LossLink]:
    """The sigmoid from bits per byte to accuracy, and its link: refitted without the pairs of lowest loss."""
    if not (accuracy_P.min() >= 0.0 and accuracy_P.max() <= 1.0):
        raise UserError(
            f"accuracies go from {accuracy_P.min():g} to {accuracy_P.max():g}; --link accuracy wants shares, 0 to 1"
        )
    law = fit_accuracy_law(from_P, accuracy_P, chance)
    order_P = np.argsort(from_P)
    held, kept = np.split(order_P, [max(int(HELD_OUT_SHARE * len(from_P)), 1)])
    error = None
    if len(kept) >= FEWEST_PAIRS:
        refitted = fit_accuracy_law(from_P[kept], accuracy_P[kept], chance)
        error = ERROR_FACTOR * float(np.abs(refitted.accuracy(from_P[held]) - accuracy_P[held]).max())

    def apply(loss: Array | float) -> Array:
        return law.accuracy(np.asarray(loss, dtype=np.float64))

    return law, LossLink(apply, error, relative=False, limits=(0.0, 1.0))


def chained(first: Forecast, link: LossLink) -> Forecast:
    """``first`` sent through ``link``: what its interval becomes and the link's own error, added in squares.

    Either side for itself, since links are not straight. Without either interval there is none, and the reason says so.

    >>> chained(Forecast(2.0, 1.9, 2.2), LossLink(lambda x: 10 * x, 0.0, True)).low
    19.0
    """
    if first.value <= link.floor:
        raise UserError(
            f"a first loss of {first.value:.4g} lies at or below the floor E_from = {link.floor:.4g} of the "
            "translation, which therefore says nothing about it; use --floors zero, or runs of lower loss"
        )
    value = float(link.apply(first.value))
    own = link.half_width(value, first.value)
    if first.low is None or first.high is None:
        return Forecast(value, reason=f"the first loss has no interval: {first.reason}")
    if own is None:
        return Forecast(value, reason="too few pairs to hold some out: the link has no interval")
    ends = sorted(float(link.apply(edge)) for edge in (first.low, first.high))
    low, high = value - float(np.hypot(value - ends[0], own)), value + float(np.hypot(ends[1] - value, own))
    low, high = max(low, link.limits[0]), min(high, link.limits[1])
    return Forecast(value, low, high, method=f"{first.method or 'given interval'}; sent through the link, whose own "
                    f"error ({HELD_OUT_METHOD}) is added in squares")  # fmt: skip
