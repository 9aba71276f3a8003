"""The scores of FineTasks and of Fluid Benchmarking, each under its paper's name.

FineTasks (Kydlicek et al. 2024), with the thresholds its authors use:

* ``finetasks_monotonicity``: Spearman correlation of step and score, ties shared; at least .5 is wanted.
* ``finetasks_snr``: mean score over seeds at 30 billion tokens (else at the end) / mean over checkpoints of the
  standard deviation between seeds; above 20 is wanted. Needs repeats of one run with other seeds (``...seed0``,
  ``...seed1``).
* ``finetasks_nonrandomness``: ``max over series of (final score - chance) / sigma_final``; above 3 is wanted. sigma is
  the standard deviation between seeds at the end, or, without seeds, the detrended noise between checkpoints.
* ``finetasks_ordering``: mean Kendall tau-b between consecutive checkpoints after 15 billion tokens (all checkpoints of
  a run that is shorter, or whose tokens are unknown); no threshold.

The curve scores of Fluid Benchmarking (Hofmann et al. 2025, arXiv 2509.11106), from its text:

* ``fluid_total_variation = n/(n-1) sum_k |y_k - y_{k-1}| / |y_n - y_1|``: n/(n-1) for a monotone curve, more for a
  jagged one; undefined where the curve ends where it began.
* ``fluid_saturation = |Spearman(step, score)|``: 1 while scores keep moving one way.

Shape suffixes: M series, K checkpoints, S seeds, D draws.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from e2lm import Curve, ScoreValue, SignalScore
from e2lm.arrays import Values
from e2lm_signal.curves import CommonGrid, common_grid
from e2lm_signal.noise import noise_of
from e2lm_signal.resampled_score import resampled
from e2lm_signal.row_order import by_blocks_D, order_and_sorted_DK


def pair_signs_KP(values_MK: Values) -> Values:
    """The sign of every pair of series at every checkpoint."""
    first, second = np.triu_indices(values_MK.shape[0], 1)
    return np.sign(values_MK[first] - values_MK[second]).T


def tau_b_K(signs_KP: Values, reference_P: Values) -> Values:
    """Kendall's tau-b with the reference order at every checkpoint; NaN where all series tie.

    >>> tau_b_K(np.array([[1.0, 1.0, -1.0]]), np.array([1.0, 1.0, 1.0])).round(3)
    array([0.333])
    """
    untied_K = (signs_KP != 0).sum(axis=1)
    scale_K = np.sqrt(untied_K * (reference_P != 0).sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(scale_K > 0, signs_KP @ reference_P / scale_K, np.nan))


SOURCE = "FineTasks (Kydlicek et al. 2024, Hugging Face)"
SNR_TOKENS = 30e9
ORDERING_TOKENS = 15e9
SEED_IN_NAME = re.compile(r"[-_.]?seed[-_]?\d+", re.IGNORECASE)


#: A perfect rise has this correlation, so that atanh stays finite.
HIGHEST_CORRELATION = 1.0 - 1e-9


def order_correlation_D(values_DK: Values) -> Values:
    """Spearman's correlation of every row with the order of its columns, ties sharing ranks; 0 for a constant row.

    >>> order_correlation_D(np.array([[1.0, 2.0, 2.0], [5.0, 5.0, 5.0]])).round(3).tolist()
    [0.866, 0.0]
    """
    n = values_DK.shape[1]
    position_K = np.arange(n) - (n - 1) / 2.0
    order_DK, sorted_DK = order_and_sorted_DK(values_DK)
    tied_D = (sorted_DK[:, 1:] == sorted_DK[:, :-1]).any(axis=1)
    # a sum over values in order, so that ranks of rows without ties need not be put back in their places
    product_D, spread_D = position_K[order_DK] @ position_K, np.full(len(values_DK), n * (n**2 - 1) / 12.0)
    if tied_D.any():
        ranks_DK = _centred_ranks_DK(sorted_DK[tied_D])
        product_D[tied_D] = (ranks_DK * position_K[order_DK[tied_D]]).sum(axis=1)
        spread_D[tied_D] = (ranks_DK**2).sum(axis=1)
    rho_D = product_D / np.sqrt(np.where(spread_D > 0, spread_D, 1.0) * (position_K**2).sum())
    return np.where(spread_D > 0, np.clip(rho_D, -HIGHEST_CORRELATION, HIGHEST_CORRELATION), 0.0)


def _centred_ranks_DK(sorted_DK: Values) -> Values:
    """Ranks of rows that are in order, minus their mean; equal values share the mean of theirs."""
    n = sorted_DK.shape[1]
    differs_DK = np.diff(sorted_DK, axis=1) != 0
    first_DK = np.maximum.accumulate(np.pad(differs_DK * np.arange(1, n), ((0, 0), (1, 0))), axis=1)
    from_end_DK = np.where(differs_DK, np.arange(n - 1), n - 1)[:, ::-1]
    last_DK = np.minimum.accumulate(np.pad(from_end_DK, ((0, 0), (1, 0)), constant_values=n - 1), axis=1)[:, ::-1]
    return np.asarray((first_DK + last_DK - (n - 1)) / 2.0)


def fine_tasks_monotonicity_D(values_DK: Values, positions_K: Values) -> Values:
    """Spearman correlation of position and value, average ranks for ties, 0 for a constant curve."""
    return by_blocks_D(order_correlation_D, values_DK)


def seed_groups(curves: Sequence[Curve]) -> list[list[Curve]]:
    """Curves whose names differ in ``seed<number>`` only, groups of at least two."""
    groups: dict[str, list[Curve]] = {}
    for curve in curves:
        if SEED_IN_NAME.search(curve.series):
            groups.setdefault(SEED_IN_NAME.sub("", curve.series), []).append(curve)
    return [members for members in groups.values() if len(members) > 1]


def _seed_grids(curves: Sequence[Curve]) -> list[CommonGrid]:
    grids = [common_grid(members) for members in seed_groups(curves)]
    return [grid for grid in grids if not isinstance(grid, str)]


NO_SEEDS = "no repeats with other seeds: name them ...seed0, ...seed1"


def fine_tasks_snr(curves: Sequence[Curve], rng: np.random.Generator) -> ScoreValue:
    """Mean score at 30 B tokens over the mean standard deviation between seeds."""
    grids = _seed_grids(curves)
    if not grids:
        return ScoreValue(None, reason=NO_SEEDS)
    ratios = []
    for grid in grids:
        noise = float(grid.values_MK.std(axis=0, ddof=1).mean())
        reached = grid.has_tokens and grid.position_K[-1] >= SNR_TOKENS
        at = int(np.searchsorted(grid.position_K, SNR_TOKENS)) if reached else len(grid.position_K) - 1
        ratios.append(float(grid.values_MK[:, at].mean()) / noise if noise > 0 else np.nan)
    if not np.isfinite(ratios).all():
        return ScoreValue(None, reason="the seeds agree exactly: noise is 0")
    return ScoreValue(float(np.mean(ratios)), reason=f"no interval: {len(grids)} groups of seeds")


def nonrandomness(curves: Sequence[Curve], rng: np.random.Generator) -> ScoreValue:
    """Best final score over chance, in standard deviations."""
    chance = curves[0].chance
    if chance is None:
        return ScoreValue(None, reason="the chance level is unknown: give --chance TASK=LEVEL")
    sign = 1.0 if curves[0].higher_is_better else -1.0
    final = [sign * (float(curve.values_K[-1]) - chance) for curve in curves if np.isfinite(curve.values_K[-1])]
    grids = _seed_grids(curves)
    if grids:
        sigma, how = float(np.mean([grid.values_MK[:, -1].std(ddof=1) for grid in grids])), "between seeds"
    else:
        noises = [noise for noise in (noise_of(curve) for curve in curves) if noise is not None]
        sigma, how = float(np.mean(noises)) if noises else np.nan, "detrended, between checkpoints; there are no seeds"
    if not final or not sigma > 0:
        return ScoreValue(None, reason="the noise is 0 or unknown")
    return ScoreValue(max(final) / sigma, reason=f"sigma {how}; no interval: a maximum over series")


def ordering(curves: Sequence[Curve], rng: np.random.Generator) -> ScoreValue:
    """Mean tau-b between consecutive checkpoints."""
    grid = common_grid(curves)
    if isinstance(grid, str):
        return ScoreValue(None, reason=grid)
    late = grid.has_tokens and (grid.position_K >= ORDERING_TOKENS).sum() > 1
    values_MK = grid.values_MK[:, grid.position_K >= ORDERING_TOKENS] if late else grid.values_MK
    taus = []
    for k in range(values_MK.shape[1] - 1):  # two checkpoints at a time: thousands of series have millions of pairs
        before_P, after_P = pair_signs_KP(values_MK[:, k : k + 2])
        taus.append(float(tau_b_K(before_P[None], after_P)[0]))
    if not np.isfinite(taus).any():
        return ScoreValue(None, reason="all series tie at every checkpoint")
    where = None if late else "over all checkpoints: the run is shorter than 15 B tokens, or its tokens are unknown"
    return ScoreValue(float(np.nanmean(taus)), reason=where)


def fine_tasks_scores() -> list[SignalScore]:
    """The four scores of FineTasks."""
    return [
        SignalScore(
            "finetasks_monotonicity",
            "Spearman correlation of step and score; .5 or more is wanted.",
            resampled(fine_tasks_monotonicity_D, within=(-1.0, 1.0)),
            source=SOURCE,
        ),
        SignalScore(
            "finetasks_snr", "Score at 30 B tokens over noise between seeds.", fine_tasks_snr, "family", SOURCE, "sd"
        ),
        SignalScore(
            "finetasks_nonrandomness", "Best final score over chance, in sd; above 3 is wanted.", nonrandomness,
            "family", SOURCE, "sd",
        ),
        SignalScore(
            "finetasks_ordering", "Mean Kendall tau-b between consecutive checkpoints.", ordering, "family", SOURCE
        ),
    ]  # fmt: skip


FLUID_SOURCE = "Fluid Benchmarking (Hofmann et al. 2025, arXiv 2509.11106)"


def total_variation_D(values_DK: Values, positions_K: Values) -> Values:
    """Normalised total variation, at least n/(n-1); lower is smoother.

    >>> total_variation_D(np.array([[1.0, 2.0, 4.0, 5.0]]), np.arange(4.0)) * 3 / 4
    array([1.])
    """
    count = values_DK.shape[1]
    walked_D = np.abs(np.diff(values_DK, axis=1)).sum(axis=1)
    net_D = np.abs(values_DK[:, -1] - values_DK[:, 0])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(net_D > 0, count / (count - 1) * walked_D / net_D, np.nan))


def saturation_D(values_DK: Values, positions_K: Values) -> Values:
    """Absolute Spearman correlation of step and score."""
    return np.abs(fine_tasks_monotonicity_D(values_DK, positions_K))


def fluid_scores() -> list[SignalScore]:
    """Total variation and saturation."""
    return [
        SignalScore(
            "fluid_total_variation",
            "Way walked over way gained; n/(n-1) for a monotone curve, lower is smoother.",
            resampled(total_variation_D, within=(1.0, math.inf)),
            source=FLUID_SOURCE,
        ),
        SignalScore(
            "fluid_saturation", "Absolute Spearman correlation of step and score.",
            resampled(saturation_D, within=(0.0, 1.0)),
            source=FLUID_SOURCE,
        ),
    ]  # fmt: skip
