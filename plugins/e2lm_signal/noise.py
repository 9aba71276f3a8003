"""Where the noise between checkpoints comes from: the items, the model as a whole, or neither.

Noise is what is left of a value after a straight line through its two neighbours (the estimator below). For the
residual ``e_ki`` of item i at checkpoint k, both scaled to the noise of one checkpoint, the variance of the benchmark's
mean splits into

* *item sampling*, ``mean_k var_i(e_ki) / I``: other items would have given another mean; falls as 1/I.
* *common mode*, what halves of the items share: ``mean_k m_k1 m_k2`` with m_k1, m_k2 the mean residuals of two random
  halves (mean over ``HALVES`` splits). More items do not lower it; checkpoint averages and scores in which it cancels
  do.
* *residual*: the total, ``mean_k m_k^2``, minus both. By construction near 0; far from 0 it says that items are not
  exchangeable (they come in groups that move together).

The *drift ratio* ``sqrt(total / item sampling)`` says how many times larger the noise is than the items explain.

Noise between checkpoints is freed from the trend: each checkpoint is compared with the straight line through its two
neighbours on the axis of training (Gasser, Sroka and Jennen-Steinmetz, Biometrika 73 (1986), 625, equation 2.1)::

    e_k = a_k y_{k-1} + b_k y_{k+1} - y_k,   a_k = (x_{k+1} - x_k) / (x_{k+1} - x_{k-1}),  b_k = 1 - a_k
    sigma^2 = mean_k e_k^2 / (a_k^2 + b_k^2 + 1)

so a trend that is locally straight does not count as noise.

Subtracting a control task cancels what drifts in both: the mean of the control task at each checkpoint is subtracted,
times the slope with which the task's noise follows the control's. The slope is estimated per series from the other
series only, so that no series is cleaned with its own noise.

Shape suffixes: M series, K checkpoints, I items, D draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from e2lm import Curve, SignalScore, UserError
from e2lm.arrays import Values
from e2lm.interval import Interval, normal_quantile, ratio_interval, redrawn_DI
from e2lm_signal.curves import axis_K
from e2lm_signal.item_noise import DRAWS, ROUNDING, neighbour_distances_DR
from e2lm_signal.item_table import ItemTable
from e2lm_signal.resampled_score import resampled
from e2lm_signal.row_order import by_blocks_D

#: Random halves of the items; the Monte Carlo error of the common part is then well below its sampling error.
HALVES = 50
#: Above this drift ratio the common part is more than three quarters of the variance: more items are of little use.
COMMON_RULES = 2.0


@dataclass(frozen=True, slots=True)
class NoiseShares:
    """Standard deviations of one checkpoint's value, in units of the metric, over all series or for one."""

    total: float
    item_sampling: float
    common_mode: float
    residual_share: float

    @property
    def drift_ratio(self) -> float:
        """Total noise over what item sampling explains."""
        return self.total / self.item_sampling if self.item_sampling > 0 else float("inf")

    @property
    def common_share(self) -> float:
        """Share of the variance that is common to the items."""
        return self.common_mode**2 / self.total**2 if self.total > 0 else 0.0


def scaled_residuals_MKI(values_MKI: NDArray[np.float32], positions_K: Values) -> NDArray[np.float32]:
    """Residuals from the line through the neighbours, scaled to the noise of one checkpoint; K - 2 of them."""
    before_K = (positions_K[2:] - positions_K[1:-1]) / (positions_K[2:] - positions_K[:-2])
    after_K = 1.0 - before_K
    scale_K = np.sqrt(before_K**2 + after_K**2 + 1.0)
    weights = [
        (part / scale_K).astype(np.float32)[None, :, None] for part in (before_K, after_K, np.ones_like(scale_K))
    ]
    residual_MKI = values_MKI[:, 1:-1] * -weights[2]
    residual_MKI += values_MKI[:, :-2] * weights[0]
    residual_MKI += values_MKI[:, 2:] * weights[1]
    return residual_MKI


def noise_shares(residual_MKI: NDArray[np.float32], rng: np.random.Generator) -> NoiseShares:
    """The split of the noise of the mean over items; over all series and checkpoints given."""
    items = residual_MKI.shape[2]
    mean_MK = residual_MKI.mean(axis=2, dtype=np.float64)
    total = float((mean_MK**2).mean())
    sampling = float(residual_MKI.var(axis=2, ddof=1, dtype=np.float64).mean()) / items
    flat_RI = residual_MKI.reshape(-1, items)
    products = []
    for _ in range(HALVES):
        first_I = np.zeros(items, dtype=np.float32)
        first_I[rng.permutation(items)[: items // 2]] = 1.0
        half_R = (flat_RI @ first_I).astype(np.float64) / (items // 2)
        other_R = (mean_MK.reshape(-1) * items - half_R * (items // 2)) / (items - items // 2)
        products.append(float((half_R * other_R).mean()))
    common = max(0.0, float(np.mean(products)))
    residual = (total - sampling - common) / total if total > 0 else 0.0
    return NoiseShares(float(np.sqrt(total)), float(np.sqrt(sampling)), float(np.sqrt(common)), residual)


@dataclass(frozen=True, slots=True)
class NoiseReport:
    """The split for all series together and each, with an interval of the drift ratio and what to do."""

    task: str
    metric: str
    items: int
    overall: NoiseShares
    ratio_low: float
    ratio_high: float
    by_series: dict[str, NoiseShares]
    advice: str


def decomposed(table: ItemTable, rng: np.random.Generator) -> NoiseReport:
    """The noise of one table; the interval of the drift ratio comes from redrawing series."""
    positions_K = table.tokens_K if np.isfinite(table.tokens_K).all() else table.steps_K.astype(np.float64)
    residual_MKI = scaled_residuals_MKI(table.values_MKI, positions_K)
    overall = noise_shares(residual_MKI, rng)
    by_series = {name: noise_shares(residual_MKI[m : m + 1], rng) for m, name in enumerate(table.series_M)}
    low, high = _ratio_interval(list(by_series.values()), overall.drift_ratio, rng)
    return NoiseReport(
        table.task, table.metric, table.shape[2], overall, low, high, by_series, advice_on(overall, table.metric)
    )


def _ratio_interval(shares: list[NoiseShares], centre: float, rng: np.random.Generator) -> Interval:
    """Central 90 % interval of the drift ratio over redrawn series, on the log scale; NaN below 4 series."""
    if len(shares) < 4:
        return Interval(float("nan"), float("nan"))
    totals = np.asarray([share.total**2 for share in shares])
    samplings = np.asarray([share.item_sampling**2 for share in shares])
    chosen_DM = redrawn_DI(len(shares), DRAWS, rng)
    ratios_D = 0.5 * np.log(totals[chosen_DM].sum(axis=1) / samplings[chosen_DM].sum(axis=1))
    return ratio_interval(centre, normal_quantile() * float(ratios_D.std()))


def advice_on(shares: NoiseShares, metric: str) -> str:
    """Which of more items, checkpoint averages or a contrast would lower the noise, with the size of each effect."""
    no_items = 1.0 - np.sqrt(max(0.0, 1.0 - shares.item_sampling**2 / shares.total**2)) if shares.total > 0 else 0.0
    items = f"infinitely many items would lower the noise by {no_items:.0%}"
    averaging = "averaging 3 checkpoints by up to 42 %"  # 1 - 1/sqrt(3), if noise is white between checkpoints
    if shares.drift_ratio >= COMMON_RULES:
        contrast = "a score in which what items share cancels (truth minus wrong choices, or a control task subtracted)"
        return f"common drift rules ({shares.common_share:.0%} of the variance): {items}, {averaging}; try {contrast}"
    return f"item sampling rules: {items}; {averaging}"


SOURCE = "this package, docs/signal.md"


def detrended_noise_D(values_DK: Values, positions_K: Values) -> Values:
    """Standard deviation of the noise of single checkpoints; NaN below 3 checkpoints, 0 below rounding.

    >>> detrended_noise_D(np.array([[0.1, 0.2, 0.3, 0.4]]), np.arange(4.0))
    array([0.])
    """
    if len(positions_K) < 3:
        return np.full(len(values_DK), np.nan)
    noise_D = by_blocks_D(
        lambda rows_DK: np.sqrt((neighbour_distances_DR(rows_DK, positions_K) ** 2).mean(axis=1)), values_DK
    )
    return np.where(noise_D <= ROUNDING * np.abs(values_DK).max(axis=1), 0.0, noise_D)


def noise_of(curve: Curve) -> float | None:
    """The detrended noise of one curve; None where it is undefined."""
    if len(curve.values_K) < 3 or not np.isfinite(curve.values_K).all():
        return None
    return float(detrended_noise_D(curve.values_K[None], axis_K(curve, "tokens"))[0])


def _quarter(count: int) -> int:
    return max(1, count // 4)


def gain_over_noise_D(values_DK: Values, positions_K: Values) -> Values:
    """(mean of the last quarter - mean of the first quarter of checkpoints) / noise; 0 for a constant curve."""
    quarter = _quarter(values_DK.shape[1])
    gain_D = values_DK[:, -quarter:].mean(axis=1) - values_DK[:, :quarter].mean(axis=1)
    noise_D = detrended_noise_D(values_DK, positions_K)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(gain_D == 0, 0.0, gain_D / noise_D))


def gain_over_chance_D(values_DK: Values, positions_K: Values, chance: float) -> Values:
    """(mean of the last quarter of checkpoints - chance) / standard error of that mean from the noise between them."""
    quarter = _quarter(values_DK.shape[1])
    gain_D = values_DK[:, -quarter:].mean(axis=1) - chance
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(gain_D / (detrended_noise_D(values_DK, positions_K) / np.sqrt(quarter)))


def checkpoint_noise_scores() -> list[SignalScore]:
    """Detrended noise, and the size of the effect over it and over chance."""
    return [
        SignalScore(
            "detrended_noise",
            "Noise of single checkpoints around the local trend.",
            resampled(detrended_noise_D, least=3, within=(0.0, math.inf)),
            source="Gasser, Sroka and Jennen-Steinmetz (1986), Biometrika 73, 625",
            unit="units of the metric",
        ),
        SignalScore(
            "gain_over_noise",
            "Last quarter of checkpoints minus first quarter, in units of detrended noise.",
            resampled(gain_over_noise_D, least=4),
            source=SOURCE,
            unit="sd",
        ),
        SignalScore(
            "gain_over_chance",
            "Last quarter of checkpoints minus chance, in standard errors of that mean.",
            resampled(gain_over_chance_D, least=4, with_chance=True),
            source=SOURCE,
            unit="standard errors",
        ),
    ]


def without_control(table: ItemTable, control: ItemTable) -> tuple[ItemTable, Values]:
    """``table`` with ``slope_m (control_mk - mean_k control_mk)`` subtracted from every item, and the slopes M."""
    if table.series_M != control.series_M or not np.array_equal(table.steps_K, control.steps_K):
        raise UserError(
            f"the control {control.task!r} has other series or checkpoints than {table.task!r}: "
            f"{len(control.series_M)} x {len(control.steps_K)} against {len(table.series_M)} x {len(table.steps_K)}"
        )
    positions_K = table.steps_K.astype(np.float64)
    ours_MK, theirs_MK = (
        scaled_residuals_MKI(one.values_MKI.mean(axis=2, keepdims=True), positions_K)[:, :, 0].astype(np.float64)
        for one in (table, control)
    )
    product_M, square_M = (ours_MK * theirs_MK).sum(axis=1), (theirs_MK**2).sum(axis=1)
    slope_M = (product_M.sum() - product_M) / (square_M.sum() - square_M)
    drift_MK = control.values_MKI.mean(axis=2, dtype=np.float64)
    drift_MK = slope_M[:, None] * (drift_MK - drift_MK.mean(axis=1, keepdims=True))
    cleaned_MKI = table.values_MKI - drift_MK[:, :, None].astype(np.float32)
    return replace(table, values_MKI=cleaned_MKI, metric=f"{table.metric}-minus-{control.task}"), slope_M
