"""The signal score of the NeurIPS 2025 E2LM competition, as its scoring notebook computes it.

``SQ = (monotonicity + autocorrelation) / 2`` per series, on the values in order of step, nothing corrected. It rewards
a falling line with 0.5 and a rise of 0.0001 with 1.0, and takes no account of noise; :mod:`e2lm_signal.signal_quality`
does. It stays because published numbers use it.

Tie rule. The notebook ranks with numpy's default ``argsort``, whose order among equal values depends on the numpy
version. Here equal values are ranked in order of step (a stable sort): the earlier checkpoint gets the lower rank.
Where no two values of a series are equal, every version agrees with this one.

Shape suffixes: K checkpoints of one series, D draws (any number of curves scored at once).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from e2lm import Curve, ScoreValue, SeriesRoles, SignalScore
from e2lm.arrays import Values

SOURCE = "E2LM competition, starter kit 5_Scoring.ipynb"
TIE_RULE = "equal values are ranked in order of step (stable sort)"

#: The competition scores every 4,000th iteration up to 206 billion tokens: 14 checkpoints.
SELECTED_STEP = 4000
SELECTED_TOKENS = 206e9

#: Below 8 checkpoints ``range(1, n // 4)`` is empty: the formula has no lag to average over.
LEAST_CHECKPOINTS = 8


def official_monotonicity_D(values_DK: Values) -> Values:
    """``max(0, 1 - 6 sum d^2 / (n (n^2 - 1)))`` with d = position minus rank, in [0, 1]; ties by the rule above.

    >>> official_monotonicity_D(np.arange(14.0)[None])
    array([1.])
    """
    n = values_DK.shape[1]
    rank_DK = np.argsort(np.argsort(values_DK, axis=1, kind="stable"), axis=1, kind="stable")
    difference_DK = np.arange(n) - rank_DK
    return np.asarray(np.maximum(0.0, 1.0 - 6.0 * (difference_DK**2).sum(axis=1) / (n * (n**2 - 1))))


def official_autocorrelation_D(values_DK: Values) -> Values:
    """Mean over the lags 1 .. n//4 - 1 of ``|corr(y[k:], y[:n-k])|``, in [0, 1]; NaN if a part is constant or n < 8."""
    n = values_DK.shape[1]
    lags = range(1, n // 4)
    if not lags:
        return np.full(len(values_DK), np.nan)
    return np.asarray(np.mean([np.abs(_correlation_D(values_DK[:, k:], values_DK[:, : n - k])) for k in lags], axis=0))


def official_sq_D(values_DK: Values) -> Values:
    """``SQ = (monotonicity + autocorrelation) / 2``, in [0, 1]; NaN where the autocorrelation is."""
    return (official_monotonicity_D(values_DK) + official_autocorrelation_D(values_DK)) / 2.0


def _correlation_D(first_DK: Values, second_DK: Values) -> Values:
    first_DK = first_DK - first_DK.mean(axis=1, keepdims=True)
    second_DK = second_DK - second_DK.mean(axis=1, keepdims=True)
    norm_D = np.sqrt((first_DK**2).sum(axis=1) * (second_DK**2).sum(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(norm_D > 0, (first_DK * second_DK).sum(axis=1) / norm_D, np.nan)


def rising_values(curve: Curve) -> Values:
    """The values, turned over where lower is better, so that progress rises."""
    return curve.values_K if curve.higher_is_better else -curve.values_K


def _reason(curve: Curve, needs_lags: bool) -> str | None:
    """Why the official formula gives no number here, if it does not."""
    if not np.isfinite(curve.values_K).all():
        step = int(curve.steps_K[~np.isfinite(curve.values_K)][0])
        return f"the value at step {step} is not a number"
    if len(curve.values_K) < 2:
        return "a single checkpoint has no order"
    if needs_lags and len(curve.values_K) < LEAST_CHECKPOINTS:
        return f"{len(curve.values_K)} checkpoints; the official formula has no lags below {LEAST_CHECKPOINTS}"
    return None


def _ties_reason(curve: Curve) -> str | None:
    ties = len(curve.values_K) - len(np.unique(curve.values_K))
    return f"{ties} tied values; {TIE_RULE}" if ties else None


def score_monotonicity(curve: Curve, rng: np.random.Generator) -> ScoreValue:
    """The competition's monotonicity of one curve."""
    if reason := _reason(curve, needs_lags=False):
        return ScoreValue(None, reason=reason)
    return ScoreValue(float(official_monotonicity_D(rising_values(curve)[None])[0]), reason=_ties_reason(curve))


def score_autocorrelation(curve: Curve, rng: np.random.Generator) -> ScoreValue:
    """The competition's autocorrelation of one curve."""
    return _with_lags(curve, official_autocorrelation_D)


def score_sq(curve: Curve, rng: np.random.Generator) -> ScoreValue:
    """The competition's SQ of one curve."""
    value = _with_lags(curve, official_sq_D)
    return value if value.value is None else ScoreValue(value.value, reason=_ties_reason(curve))


def _with_lags(curve: Curve, statistic: Callable[[Values], Values]) -> ScoreValue:
    if reason := _reason(curve, needs_lags=True):
        return ScoreValue(None, reason=reason)
    value = float(statistic(rising_values(curve)[None])[0])
    if np.isnan(value):
        return ScoreValue(None, reason="the curve, or a part of it as long as a lag leaves, is constant")
    return ScoreValue(value)


def official_scores() -> list[SignalScore]:
    """The three official scores."""
    return [
        _official(
            "e2lmc_monotonicity", "Official: rank correlation of value and step, negative ones cut to 0.",
            score_monotonicity,
        ),
        _official(
            "e2lmc_autocorrelation", "Official: mean absolute autocorrelation over lags 1 to n/4 - 1.",
            score_autocorrelation,
        ),
        _official("e2lmc_sq", "Official: mean of monotonicity and autocorrelation.", score_sq),
    ]  # fmt: skip


def _official(name: str, description: str, score: Callable[[Curve, np.random.Generator], ScoreValue]) -> SignalScore:
    """In a competition the formula is for the early checkpoints: the official ones end at 206 billion tokens."""

    def under(roles: SeriesRoles) -> SignalScore:
        return SignalScore(
            name, description, lambda curve, rng: score(curve.until(roles.early_tokens), rng), source=SOURCE
        )

    return SignalScore(name, description, score, source=SOURCE, under=under)
