"""``e2lmc_sq``, the NeurIPS 2025 E2LM competition's signal score, as its scoring notebook computes it.

``SQ = (monotonicity + autocorrelation) / 2`` per series, on the values in order of step, nothing corrected. It rewards
a falling line with 0.5 and a rise of 0.0001 with 1.0, and takes no account of noise; :mod:`e2lm_signal.signal_quality`
does. It stays because published numbers use it.

Tie rule. The notebook ranks with numpy's default ``argsort``, whose order among equal values depends on the numpy
version. Here equal values are ranked in order of step (a stable sort): the earlier checkpoint gets the lower rank.
Where no two values of a series are equal, every version agrees with this one.

Which checkpoints. The competition scores every 4,000th iteration up to 206 billion tokens, 14 of them, and the number
depends on it: over checkpoints every 2,000 iterations it differs by .03 in the median and by up to .34. So a curve that
has at least 8 checkpoints there is scored at those, whatever file it came from, and the value says which were taken;
one that has not is scored at all of its checkpoints, and says that.

Shape suffixes: K checkpoints of one series, D draws (any number of curves scored at once).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from e2lm import Curve, ScoreValue, SeriesRoles, SignalScore
from e2lm.arrays import Values

SOURCE = "E2LM competition, starter kit 5_Scoring.ipynb"
OFFICIAL_NAMES = ("e2lmc_monotonicity", "e2lmc_autocorrelation", "e2lmc_sq")
TIE_RULE = "equal values are ranked in order of step (stable sort)"

#: The competition scores every 4,000th iteration up to 206 billion tokens: 14 checkpoints.
SELECTED_STEP = 4000
SELECTED_TOKENS = 206e9

#: The last of them in the competition's runs, and how many there are: what counts where tokens are unknown.
SELECTED_LAST_STEP = 56_000
SELECTED_COUNT = 14

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


def official_checkpoints(curve: Curve) -> tuple[Curve, str | None]:
    """The curve at the checkpoints that the competition scores, and which these are; None where they are all of 14.

    All of the curve where fewer than 8 of its checkpoints are such.
    """
    kept_K, said = official_selection_K(curve.steps_K, curve.tokens_K)
    return curve if kept_K.all() else curve.at(kept_K), said


def official_selection_K(steps_K: NDArray[np.int64], tokens_K: Values) -> tuple[NDArray[np.bool_], str | None]:
    """Which checkpoints are scored, and a sentence about them, as :func:`official_checkpoints` takes them."""
    kept_K = (steps_K % SELECTED_STEP == 0) & np.where(
        np.isnan(tokens_K), steps_K <= SELECTED_LAST_STEP, tokens_K <= SELECTED_TOKENS
    )
    count, there = int(kept_K.sum()), len(kept_K)
    rule = f"every {SELECTED_STEP:,}th step up to {SELECTED_TOKENS / 1e9:g} billion tokens"
    if count < LEAST_CHECKPOINTS:
        said = f"over all {there} checkpoints, not the competition's ({rule}: {count} of them)"
        return np.ones(there, dtype=np.bool_), said
    if count == there == SELECTED_COUNT:
        return kept_K, None
    said = f"over {count} of {there} checkpoints: {rule}"
    return kept_K, said if count == SELECTED_COUNT else f"{said}; the competition has {SELECTED_COUNT} there"


@dataclass(frozen=True, slots=True)
class Official:
    """One of the three formulas as a score: over the official checkpoints, or over all of them."""

    statistic: Callable[[Values], Values]
    needs_lags: bool = True
    selects: bool = True

    def __call__(self, curve: Curve, rng: np.random.Generator) -> ScoreValue:
        """The value, with the checkpoints that it is over and its ties in the reason."""
        chosen, which = official_checkpoints(curve) if self.selects else (curve, None)
        if reason := _undefined(chosen, self.needs_lags):
            return ScoreValue(None, reason=reason)
        value = float(self.statistic(rising_values(chosen)[None])[0])
        if np.isnan(value):
            return ScoreValue(None, reason="the curve, or a part of it as long as a lag leaves, is constant")
        return ScoreValue(value, reason="; ".join(filter(None, (which, _ties_reason(chosen)))) or None)


def _undefined(curve: Curve, needs_lags: bool) -> str | None:
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


#: The competition's SQ of one curve.
score_sq = Official(official_sq_D)


def official_scores(selects: bool = True) -> list[SignalScore]:
    """The three official scores; without ``selects`` over all checkpoints of a curve."""
    return [
        _official(
            "e2lmc_monotonicity", "Official: rank correlation of value and step, negative ones cut to 0.",
            Official(official_monotonicity_D, needs_lags=False, selects=selects),
        ),
        _official(
            "e2lmc_autocorrelation", "Official: mean absolute autocorrelation over lags 1 to n/4 - 1.",
            Official(official_autocorrelation_D, selects=selects),
        ),
        _official(
            "e2lmc_sq", "Official: mean of monotonicity and autocorrelation.", Official(official_sq_D, selects=selects)
        ),
    ]  # fmt: skip


def _official(name: str, description: str, score: Official) -> SignalScore:
    """In a competition of one's own the formula is for its early checkpoints, whichever those are."""

    def under(roles: SeriesRoles) -> SignalScore:
        return SignalScore(name, description, lambda curve, rng: score_early(score, curve, roles, rng), source=SOURCE)

    return SignalScore(name, description, score, source=SOURCE, under=under)


def score_early(score: Official, curve: Curve, roles: SeriesRoles, rng: np.random.Generator) -> ScoreValue:
    """The score of the early part of a curve: where ``roles`` say where early ends, that and nothing else counts."""
    if roles.early_tokens is None:
        return score(curve, rng)
    return replace(score, selects=False)(curve.until(roles.early_tokens), rng)
