"""Where a run will end, from its first checkpoints; and which of two runs will end above the other.

Shape suffixes: K checkpoints, J steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from e2lm.errors import UserError
from e2lm.interval import normal_quantile, ratio_interval
from e2lm.scaling_predictor import Forecast, ScalingPredictor, UnfinishedRun
from e2lm_scaling.forecast.table import table_of
from e2lm_scaling.laws.fit import fitted
from e2lm_scaling.laws.law import LAWS
from e2lm_scaling.laws.objective import Array, Objective
from e2lm_scaling.laws.schedule import (
    DROP_RATIO,
    SHAPE,
    MultiPowerLaw,
    ObservedCurve,
    Steps,
    fit_multi_power,
    multi_power_drop,
)

FEWEST_CHECKPOINTS = 6
#: Share of the observed curve that is held out, its end, to see how far off the forecast is.
HELD_OUT_SHARE = 1 / 3
#: Checkpoints averaged at the end of a noisy score curve.
SMOOTHED = 3
#: Residual drift of ln L per e-folding of tokens beyond the last checkpoint (half of that between models of different
#: size, see ``predictors.DRIFT``: one run keeps its recipe).
CURVE_DRIFT = 0.004
#: Standard deviation of the change that is still to come, as a share of it, where the schedule is unknown: of runs of
#: three public corpora forecast from 30 and 50 % it covers nine in ten (docs/scaling.md).
CHANGE_DOUBT = 0.35
#: A rise of the last third by so many standard errors, and so much of ln L, is one.
RISE_NOISES, SMALLEST_RISE = 5.0, 0.005
#: Standard deviation of the drop that is still to come, as a share of it: the spread of published drop ratios.
DROP_DOUBT = 0.15


def forecast_with_schedule(rates_S: Array, steps_J: Array | Steps, loss_J: Array) -> Forecast:
    """Loss at the last step of a schedule of learning rates by the multi-power law, with an interval.

    The interval holds the error on the last third of the observed curve, held out, a drift, and a share of the drop
    that the schedule still has to make.
    """
    step_J: Steps = np.asarray(steps_J, dtype=np.int64)
    _check(step_J, loss_J, "loss")
    steps = len(rates_S) - 1
    if step_J.max() > steps:
        raise UserError(f"step {step_J.max()} lies beyond the schedule's {steps} steps")

    def learned(kept: slice) -> MultiPowerLaw:
        return fit_multi_power([ObservedCurve(rates_S, step_J[kept], loss_J[kept])], drop_ratio=DROP_RATIO)

    cut = int(len(step_J) * (1 - HELD_OUT_SHARE))
    held = learned(slice(0, cut)).loss(rates_S, step_J[cut:])
    error = float(np.sqrt(np.mean((np.log(held) - np.log(loss_J[cut:])) ** 2)))
    law = learned(slice(None))
    end = np.array([steps])
    value = float(law.loss(rates_S, end)[0])
    now_then = multi_power_drop(rates_S, np.array([step_J[-1], steps]), SHAPE)
    drop = abs(float(law.drop * (now_then[1] - now_then[0]))) / value
    total = np.cumsum(rates_S)
    distance = float(np.log(total[-1] / total[step_J[-1]]))
    return _forecast(
        float(np.log(value)), error, distance, "multi-power law under the known schedule", DROP_DOUBT * drop
    )


def forecast_without_schedule(tokens_K: Array, loss_K: Array, target_tokens: float) -> Forecast:
    """Loss at ``target_tokens``: mean of ln L of E + A/D^alpha and A/D^alpha, with an interval.

    Without the schedule the final drop of the learning rate is not foreseen, so a run that still has to anneal will end
    lower; the reason says so.
    """
    _check(tokens_K, loss_K, "loss")
    _check_falling(loss_K)

    def predict(kept: slice, wanted: Array) -> Array | None:
        tokens, loss = tokens_K[kept], loss_K[kept]
        table = table_of(np.full(len(tokens), 1e9), tokens, loss)
        fits = [fitted(LAWS[name], table, Objective(), np.ones(len(loss)), 4) for name in ("power-d", "power-d-floor")]
        found = [np.log(one.loss(1e9, wanted)) for one in fits if one is not None]
        return np.mean(found, axis=0) if found else None

    cut = int(len(tokens_K) * (1 - HELD_OUT_SHARE))
    held = predict(slice(0, cut), tokens_K[cut:])
    value = predict(slice(None), np.array([float(target_tokens)]))
    if held is None or value is None:
        raise UserError("the curve follows no power law of tokens yet; give more checkpoints, or --schedule")
    error = float(np.sqrt(np.mean((held - np.log(loss_K[cut:])) ** 2)))
    distance = float(np.log(target_tokens / tokens_K[-1]))
    words = "power laws of tokens (annealing still to come is not foreseen), and a share of the change itself"
    doubt = CHANGE_DOUBT * abs(float(value[0]) - float(np.log(np.median(loss_K[-SMOOTHED:]))))
    return _forecast(float(value[0]), error, distance, words, doubt)


def _forecast(log_loss: float, error: float, distance: float, words: str, doubt: float = 0.0) -> Forecast:
    # The held-out third reaches about ln 1.5 beyond its training part; errors grow with the distance.
    reach = max(distance, 0.0)
    growth = max(reach / np.log(1 / (1 - HELD_OUT_SHARE)), 1.0)
    half = normal_quantile() * float(np.sqrt(error**2 * growth + (CURVE_DRIFT * reach) ** 2 + doubt**2))
    value = float(np.exp(log_loss))
    method = (
        f"{words}; error on the last third of the curve, held out, grown with the square root of distance, and drift"
    )
    return Forecast(value, *ratio_interval(value, half), method=method)


def _multi_power(run: UnfinishedRun, rng: np.random.Generator) -> Forecast:
    if run.rates_J is None:
        raise UserError("multi-power needs the learning rate of every step: give --schedule, or --model token-power")
    return forecast_with_schedule(run.rates_J, run.curve.steps_K, run.curve.values_K)


def _token_power(run: UnfinishedRun, rng: np.random.Generator) -> Forecast:
    return forecast_without_schedule(run.at_K, run.curve.values_K, run.end)


MULTI_POWER = ScalingPredictor(
    "multi-power", "where a run ends by the multi-power law of its learning-rate schedule", None,
    "Luo et al. 2025 (arXiv 2503.12811)", end_of_run=_multi_power,
)  # fmt: skip
TOKEN_POWER = ScalingPredictor(
    "token-power", "where a run ends by power laws of its tokens, mean of ln L with and without a floor", None,
    "Kaplan et al. 2020 (arXiv 2001.08361), eq. 1.2", end_of_run=_token_power,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class EndComparison:
    """Difference A - B now, its standard deviation at the end, and the probability that A ends above B."""

    difference: float
    stderr: float
    above_probability: float
    checkpoints: int


def compare_ends(tokens_K: Array, first_K: Array, second_K: Array, target_tokens: float) -> EndComparison:
    """Will the first curve end above the second? Values at the same tokens; any score or loss.

    The difference is taken to persist (mean of the last three checkpoints) and to wander: as much per e-folding of
    tokens as it has done so far. Slopes are not extrapolated: see ``comparison``.

    >>> d = np.array([1e9, 2e9, 3e9, 4e9, 5e9, 6e9])
    >>> compare_ends(d, 0.5 + 0.0 * d, 0.4 + 1e-11 * d, 2e10).above_probability > 0.5
    True
    """
    _check(tokens_K, first_K, "value", positive=False)
    difference_K = np.asarray(first_K, dtype=np.float64) - np.asarray(second_K, dtype=np.float64)
    if np.any(np.diff(tokens_K) <= 0):
        raise UserError("tokens must rise from checkpoint to checkpoint")
    noise = float(np.var(difference_K[-2 * SMOOTHED :], ddof=1))
    now = float(difference_K[-SMOOTHED:].mean())
    # From the mean of the first half to that of the second: noise cancels in the long difference.
    half = len(difference_K) // 2
    moved = float(difference_K[half:].mean() - difference_K[:half].mean())
    span = float(np.log(tokens_K[half:]).mean() - np.log(tokens_K[:half]).mean())
    reach = max(float(np.log(target_tokens / tokens_K[-1])), 0.0)
    # Noise of the mean now, noise of the value at the end, and the wandering in between.
    variance = noise / SMOOTHED + noise + moved**2 / span * reach
    stderr = float(np.sqrt(max(variance, (1e-9 + 1e-6 * abs(now)) ** 2)))
    return EndComparison(now, stderr, float(norm.cdf(now / stderr)), len(difference_K))


def check_ahead(last: float, end: float) -> None:
    """Raise a :class:`UserError` where the end of a run is not still to come."""
    if end <= last:
        raise UserError(
            f"the end at {end:g} does not lie beyond the last checkpoint, at {last:g}: nothing is left to forecast"
        )


def _check_falling(loss_K: Array) -> None:
    """Raise a :class:`UserError` where the last third lies above the one before, beyond what its noise explains."""
    before_K, last_K = np.array_split(np.log(loss_K), 3)[1:]
    rise = float(np.median(last_K) - np.median(before_K))
    # Second differences leave a trend out; the median of |normal| is .6745, the variance of a second difference 6.
    noise = float(np.median(np.abs(np.diff(np.log(loss_K), 2)))) / 0.6745 / np.sqrt(6 * len(last_K))
    if rise > max(RISE_NOISES * noise, SMALLEST_RISE):
        raise UserError(
            f"the loss rises over the last third of the curve (by {np.expm1(rise):.1%}): the run diverges, and no "
            "power law says where it ends; go back to a checkpoint before the rise"
        )


def _check(at_K: Array | Steps, values_K: Array, what: str, positive: bool = True) -> None:
    if len(at_K) != len(values_K) or len(at_K) < FEWEST_CHECKPOINTS:
        raise UserError(f"{len(at_K)} checkpoints are too few for a curve; give at least {FEWEST_CHECKPOINTS}")
    bad = np.flatnonzero(~np.isfinite(values_K) | ((values_K <= 0) if positive else False))
    if len(bad):
        raise UserError(
            f"{what} is {values_K[bad[0]]:g} at checkpoint {bad[0] + 1}; it must be a finite number above 0"
        )
