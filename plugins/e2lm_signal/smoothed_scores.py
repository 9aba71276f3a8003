"""Checkpoint-averaged and exponentially averaged variants of any signal score.

``NAME.mean3`` is score NAME on curves whose every value is the mean of the last 3 checkpoints (fewer at the start);
``NAME.ema50`` on ``z_k = (1 - a) z_{k-1} + a y_k`` with a = 50 %. Averaging removes noise between checkpoints: Signal
and Noise (Heineman et al. 2025, arXiv 2508.13144), section 5.2, gained 2.4 points of decision accuracy by it.

Averages are linear, so per-item values and standard errors are averaged with the same weights and intervals stay right.
A p-value is withheld: averaging makes checkpoints alike, which is what a test of order must not see.

Shape suffixes: K checkpoints.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from e2lm import Curve, ScoreValue, SignalScore
from e2lm.arrays import Values

VARIANT_NAME = re.compile(r"(?P<name>.+)\.(?P<kind>mean|ema)(?P<number>\d{1,3})")


def mean_weights_KK(checkpoints: int, window: int) -> Values:
    """Row k averages checkpoints k - window + 1 .. k."""
    weights_KK = np.tril(np.ones((checkpoints, checkpoints))) - np.tril(np.ones((checkpoints, checkpoints)), -window)
    return np.asarray(weights_KK / weights_KK.sum(axis=1, keepdims=True))


def ema_weights_KK(checkpoints: int, share: float) -> Values:
    """Row k is the exponential average up to checkpoint k, the newest with weight ``share``.

    >>> ema_weights_KK(3, 0.5)[2].tolist()
    [0.25, 0.25, 0.5]
    """
    lag_KK = np.subtract.outer(np.arange(checkpoints), np.arange(checkpoints))
    weights_KK = np.where(lag_KK >= 0, share * (1.0 - share) ** np.maximum(lag_KK, 0), 0.0)
    weights_KK[:, 0] /= share
    return np.asarray(weights_KK)


def smoothed(curve: Curve, weights_KK: Values) -> Curve:
    """The curve with every value replaced by an average of it and earlier ones."""
    return replace(
        curve,
        values_K=weights_KK @ curve.values_K,
        stderr_K=np.sqrt(weights_KK**2 @ curve.stderr_K**2),
        # a mean of shares of n items is no binomial share of n items any more
        n_items_K=np.zeros(len(curve.n_items_K), dtype=np.int64),
        items_KI=None if curve.items_KI is None else weights_KK @ curve.items_KI,
    )


def variant(score: SignalScore, kind: str, number: int) -> SignalScore:
    """``score`` on averaged curves; ``kind`` is ``mean`` (of ``number`` checkpoints) or ``ema`` (``number``
    percent).
    """

    def average(curve: Curve) -> Curve:
        count = len(curve.values_K)
        return smoothed(
            curve, mean_weights_KK(count, number) if kind == "mean" else ema_weights_KK(count, number / 100)
        )

    def value_of(data: Curve | Sequence[Curve], rng: np.random.Generator) -> ScoreValue:
        smooth = average(data) if isinstance(data, Curve) else [average(curve) for curve in data]
        value = score.score(smooth, rng)
        if value.p is None:
            return value
        reason = "; ".join(filter(None, [value.reason, f"p of an averaged curve is withheld: see {score.name}"]))
        return replace(value, p=None, reason=reason)

    what = f"the mean of {number} checkpoints" if kind == "mean" else f"an exponential average of {number} %"
    return replace(
        score,
        name=f"{score.name}.{kind}{number}",
        description=f"{score.name} on curves smoothed by {what}.",
        score=value_of,
        under=None,  # it would give the score of the curves as they are
    )


def parsed_variant(name: str) -> tuple[str, str, int] | None:
    """``("sq", "mean", 3)`` for ``sq.mean3``; None for a plain name.

    >>> parsed_variant("e2lmc_sq.ema20")
    ('e2lmc_sq', 'ema', 20)
    """
    match = VARIANT_NAME.fullmatch(name)
    if match is None or not 1 <= int(match["number"]) <= 100:
        return None
    return match["name"], match["kind"], int(match["number"])
