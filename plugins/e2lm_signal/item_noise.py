"""What finitely many items, and the shaking of checkpoints, do to a curve: covariance, redraws, a de-noised curve.

Three sources for the items, the best that is there: per-item values (the *paired* bootstrap: one draw of items for all
checkpoints, and for all series of a family), standard errors, or, of an accuracy whose number of items is known, the
binomial formula ``p (1 - p) / n``. The last two take checkpoints as independent, though they share their items; noise
of differences is then overstated (intervals are wide), never understated. An error of 0 where an accuracy lies inside
(0, 1), or at 0 or 1, is no certainty: with n items, that of ``(right + 1) / (n + 2)`` stands in.

Checkpoints shake by more than their items say. How much is seen between neighbours in time: the median distance of a
checkpoint from the line through its neighbours, less what the items explain, where it is clearly more.

Shape suffixes: K checkpoints, I items, D draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from e2lm import Curve
from e2lm.arrays import Values
from e2lm.interval import redrawn_DI

NoiseSource = Literal["items", "stderr", "binomial"]

DRAWS = 1_000
#: Neighbouring distances share checkpoints: their squares are worth this many times fewer independent ones.
OVERLAP = 1.94
#: Checkpoints shake beyond their items where their squared distances are larger by this many standard errors.
CLEARLY_MORE = 2.0
#: The median absolute value of a standard normal error.
MEDIAN_OF_NORMAL = 0.6745
#: Segments of a curve whose means differ by less, in standard errors, are taken as one.
TOLD_APART = 2.0
#: Distances of segments that agree to so many parts of one are equal.
TIES = 1e9
#: Numbers drawn at once, so that they stay in the cache.
COUNTED_AT_ONCE = 50_000
#: Names of metrics that are shares of items.
SHARE_METRICS = ("acc", "exact_match", "em", "pass@")
EXPLAINED: dict[NoiseSource, str] = {
    "items": "paired bootstrap over {items} items",
    "stderr": "reported standard errors, checkpoints taken as independent",
    "binomial": "binomial error of {items} items, checkpoints taken as independent",
}
SHAKING = "noise between neighbouring checkpoints, as the items are not known"
#: Two distances from neighbours at least.
LEAST_TO_SHAKE = 4
#: Of the largest value: what a straight curve leaves, whose values are each rounded once and its errors three times.
ROUNDING = 4 * float(np.finfo(np.float64).eps)
UNKNOWN = "no interval: neither per-item values, nor standard errors, nor the number of items of an accuracy are known"


@dataclass(frozen=True, slots=True)
class ItemNoise:
    """Covariance of the values over redraws of the items, and where it is known from."""

    covariance_KK: Values
    source: NoiseSource | None
    items_KI: Values | None
    label: str
    shaking: float = 0.0

    @property
    def variance_K(self) -> Values:
        """Of a checkpoint where it is held against its neighbour: half that of their difference, shaking included."""
        own_K, shared_K = np.diag(self.covariance_KK), np.diag(self.covariance_KK, 1)
        step_K = np.maximum(own_K[1:] + own_K[:-1] - 2.0 * shared_K, 0.0) / 2.0
        return np.asarray(self.shaking**2 + (np.r_[step_K[:1], step_K] + np.r_[step_K, step_K[-1:]]) / 2.0)

    def draws_DK(self, rng: np.random.Generator, draws: int = DRAWS) -> Values:
        """Deviations of redrawn values from the measured ones, mean near 0; those of shaking with its own doubt."""
        drawn_DK = self._of_items_DK(rng, draws)
        if self.shaking == 0.0:
            return drawn_DK
        freedom = max(1.0, (len(self.covariance_KK) - 2) / OVERLAP)
        scale_D1 = self.shaking * np.sqrt(freedom / rng.chisquare(freedom, size=(draws, 1)))
        return np.asarray(drawn_DK + scale_D1 * rng.standard_normal(size=drawn_DK.shape))

    def _of_items_DK(self, rng: np.random.Generator, draws: int) -> Values:
        if self.items_KI is None:
            normal_DK = _normal_DK(rng, draws, len(self.covariance_KK))
            return np.asarray(normal_DK * np.sqrt(np.diag(self.covariance_KK)), dtype=np.float64)
        if draws != DRAWS:
            return item_bootstrap_DK(self.items_KI, rng, draws)
        return _bootstrap_once_DK(_Same(self.items_KI), _seed_of(rng))


@dataclass(frozen=True, eq=False, slots=True)
class _Same:
    """An array that equals itself alone, so that what is worked out of it is worked out once for all scores."""

    array: Values

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.array is self.array

    def __hash__(self) -> int:
        return id(self.array)


def _seed_of(rng: np.random.Generator) -> int:
    """The seed that the user gave: streams differ by task and score, the redraw of the items shall not."""
    entropy = getattr(rng.bit_generator.seed_seq, "entropy", 0)
    first = entropy[0] if isinstance(entropy, Sequence) else entropy
    return int(first or 0)


def _normal_DK(rng: np.random.Generator, draws: int, checkpoints: int) -> NDArray[np.float32]:
    """Standard normal numbers, not to be written to; the same stream, as all series of a task have, is drawn once."""
    if not isinstance(rng.bit_generator, np.random.PCG64):
        return rng.standard_normal(size=(draws, checkpoints), dtype=np.float32)
    state = rng.bit_generator.state
    whole = state["state"]["state"], state["state"]["inc"], state["has_uint32"], state["uinteger"]
    normal_DK, rng.bit_generator.state = _normal_once_DK(whole, draws, checkpoints)
    return normal_DK


@lru_cache(maxsize=16)
def _normal_once_DK(whole: tuple[int, int, int, int], draws: int, checkpoints: int) -> tuple[NDArray[np.float32], Any]:
    """The numbers that a generator in this state draws, and its state after."""
    bits = np.random.PCG64()
    state, increment, has_half, half = whole
    inner = {"state": state, "inc": increment}
    before: Any = {"bit_generator": "PCG64", "state": inner, "has_uint32": has_half, "uinteger": half}
    bits.state = before
    normal_DK = np.random.Generator(bits).standard_normal(size=(draws, checkpoints), dtype=np.float32)
    return normal_DK, bits.state


@lru_cache(maxsize=2)
def _bootstrap_once_DK(items: _Same, seed: int) -> Values:
    counts_DI = _counts_once_DI(items.array.shape[1], seed)
    return _deviations_DK(items.array, counts_DI)


@lru_cache(maxsize=4)
def _counts_once_DI(items: int, seed: int) -> NDArray[np.float32]:
    return item_counts_DI(items, np.random.default_rng([seed, items]), DRAWS)


@lru_cache(maxsize=2)
def _noise_of_items(items: _Same) -> ItemNoise | None:
    complete_I = np.isfinite(items.array).all(axis=0)
    items_KI = items.array if complete_I.all() else items.array[:, complete_I]
    if items_KI.shape[1] < 2:
        return None
    covariance_KK = np.atleast_2d(np.cov(items_KI)) / items_KI.shape[1]
    return ItemNoise(covariance_KK, "items", items_KI, EXPLAINED["items"].format(items=items_KI.shape[1]))


def item_noise(curve: Curve) -> ItemNoise | None:
    """The item noise of ``curve``, None where nothing is known about it."""
    if curve.items_KI is not None and (found := _noise_of_items(_Same(curve.items_KI))) is not None:
        return found
    if np.isfinite(curve.stderr_K).all() and (curve.stderr_K > 0).any():
        known_K = np.where(curve.stderr_K > 0, curve.stderr_K**2, _binomial_variance_K(curve))
        # an error of 0 that the number of items cannot replace is at least that of the other checkpoints
        variance_K = np.where(known_K > 0, known_K, known_K[known_K > 0].max())
        return ItemNoise(np.diag(variance_K), "stderr", None, EXPLAINED["stderr"])
    variance_K = _binomial_variance_K(curve)
    if (variance_K > 0).all():
        label = EXPLAINED["binomial"].format(items=int(curve.n_items_K.min()))
        return ItemNoise(np.diag(variance_K), "binomial", None, label)
    return None


def _binomial_variance_K(curve: Curve) -> Values:
    """``p (1 - p) / n`` of an accuracy; at 0 and 1 that of one more item right and one more wrong; 0 if not known."""
    if not _is_share(curve) or not (curve.n_items_K > 0).all():
        return np.zeros(len(curve.values_K))
    n_K = curve.n_items_K.astype(np.float64)
    edge_K = (curve.values_K <= 0) | (curve.values_K >= 1)
    share_K = np.where(edge_K, (curve.values_K * n_K + 1.0) / (n_K + 2.0), curve.values_K)
    return np.asarray(share_K * (1.0 - share_K) / np.where(edge_K, n_K + 2.0, n_K))


def curve_noise(curve: Curve, positions_K: Values) -> ItemNoise | None:
    """The item noise of ``curve`` and the shaking of its checkpoints; None where neither is known or seen."""
    found = item_noise(curve)
    count = len(curve.values_K)
    covariance_KK = np.zeros((count, count)) if found is None else found.covariance_KK
    if count < LEAST_TO_SHAKE:
        return found
    contrast_RK = neighbour_contrasts_RK(positions_K)
    seen = float(np.median(np.abs(contrast_RK @ curve.values_K))) / MEDIAN_OF_NORMAL
    explained = float(((contrast_RK @ covariance_KK) * contrast_RK).sum()) / len(contrast_RK)
    if seen <= ROUNDING * float(np.abs(curve.values_K).max()):
        return found
    beyond = seen**2 > explained * (1.0 + CLEARLY_MORE * np.sqrt(2.0 * OVERLAP / len(contrast_RK)))
    shaking = float(np.sqrt(seen**2 - explained)) if beyond else 0.0
    if found is not None:
        return replace(found, shaking=shaking)
    return ItemNoise(covariance_KK, None, None, SHAKING, shaking)


def neighbour_contrasts_RK(positions_K: Values) -> Values:
    """Row k: the distance of checkpoint k + 1 from the line through its neighbours; sd 1 for white noise of sd 1.

    >>> (neighbour_contrasts_RK(np.array([0.0, 1.0, 2.0])) * np.sqrt(6)).round(3).tolist()
    [[1.0, -2.0, 1.0]]
    """
    count = len(positions_K)
    before_R = (positions_K[2:] - positions_K[1:-1]) / (positions_K[2:] - positions_K[:-2])
    contrast_RK = np.zeros((count - 2, count))
    at_R = np.arange(count - 2)
    contrast_RK[at_R, at_R], contrast_RK[at_R, at_R + 1], contrast_RK[at_R, at_R + 2] = before_R, -1.0, 1.0 - before_R
    return np.asarray(contrast_RK / np.sqrt((contrast_RK**2).sum(axis=1, keepdims=True)))


def neighbour_distances_DR(values_DK: Values, positions_K: Values) -> Values:
    """``neighbour_contrasts_RK`` of every row of values, from the three checkpoints that each is of.

    >>> neighbour_distances_DR(np.array([[1.0, 0.0, 1.0]]), np.arange(3.0)).round(3).tolist()
    [[0.816]]
    """
    contrast_RK = neighbour_contrasts_RK(positions_K)
    before_R, own_R, after_R = (np.diagonal(contrast_RK, lag) for lag in (0, 1, 2))
    return np.asarray(values_DK[:, :-2] * before_R + values_DK[:, 1:-1] * own_R + values_DK[:, 2:] * after_R)


def _is_share(curve: Curve) -> bool:
    inside = bool(((curve.values_K >= 0) & (curve.values_K <= 1)).all())
    return inside and curve.metric.lower().startswith(SHARE_METRICS)


def item_counts_DI(items: int, rng: np.random.Generator, draws: int) -> NDArray[np.float32]:
    """How often each item is in each bootstrap draw of ``items`` items."""
    counts_DI = np.empty((draws, items), dtype=np.float32)
    rows = max(1, COUNTED_AT_ONCE // items)
    for start in range(0, draws, rows):
        count = min(rows, draws - start)
        drawn = redrawn_DI(items, count, rng) + items * np.arange(count)[:, None]
        counts_DI[start : start + count] = np.bincount(drawn.ravel(), minlength=count * items).reshape(count, items)
    return counts_DI


def item_bootstrap_DK(items_KI: Values, rng: np.random.Generator, draws: int = DRAWS) -> Values:
    """Deviations of the means over redrawn items from the means over all; one redraw serves every row of ``items_KI``.

    Rows may be the checkpoints of one series or of many: what shares items must be drawn together.
    """
    return _deviations_DK(items_KI, item_counts_DI(items_KI.shape[1], rng, draws))


def _deviations_DK(items_KI: Values, counts_DI: NDArray[np.float32]) -> Values:
    centred_KI = (items_KI - items_KI.mean(axis=1, keepdims=True)).astype(np.float32)
    return np.asarray((counts_DI @ centred_KI.T).astype(np.float64) / items_KI.shape[1])


def denoised_K(values_K: Values, positions_K: Values, covariance_KK: Values) -> Values:
    """A curve as wiggly as the truth: deviations from its line, shrunk by the item noise in them.

    A bootstrap around the measured curve adds noise to noise and is too far from a straight line; around this one it
    has about the noise of the measurement itself. Shrink factor: ``sqrt(max(0, 1 - E noise^2 / deviation^2))``.
    """
    residual_KK = _off_line_KK(np.asarray(positions_K, dtype=np.float64).tobytes())
    deviation_K = residual_KK @ values_K
    squared = float(deviation_K @ deviation_K)
    noise = float((residual_KK * covariance_KK).sum())
    shrink = np.sqrt(max(0.0, 1.0 - noise / squared)) if squared > 0 else 0.0
    return np.asarray(values_K - deviation_K + shrink * deviation_K)


@lru_cache(maxsize=16)
def _off_line_KK(positions: bytes) -> Values:
    """What leaves of values at the positions in these bytes how far they are from their line; not to be written to."""
    positions_K = np.frombuffer(positions)
    design_K2 = np.stack([np.ones(len(positions_K)), positions_K - positions_K.mean()], axis=1)
    return np.asarray(np.eye(len(positions_K)) - design_K2 @ np.linalg.pinv(design_K2))


def in_segments_K(values_K: Values, variance_K: Values) -> Values:
    """A curve in steps: neighbours are joined, the most alike first, while their means are not told apart.

    A bootstrap around it has the ties that a flat stretch truly has; around a line it has none.

    >>> in_segments_K(np.array([1.0, 1.2, 1.1, 5.0]), np.full(4, 0.01)).round(6).tolist()
    [1.1, 1.1, 1.1, 5.0]
    """
    spread = float(np.ptp(values_K))
    if spread == 0.0:
        return values_K.astype(np.float64)
    mean_S: list[float] = values_K.astype(np.float64).tolist()
    weight_S: list[float] = (1.0 / np.maximum(variance_K / spread / spread, ROUNDING**2)).tolist()
    length_S = [1] * len(mean_S)

    def apart(at: int) -> float:
        first, second = weight_S[at], weight_S[at + 1]
        if not (first and second):
            return 0.0
        return abs(mean_S[at + 1] - mean_S[at]) / spread / math.sqrt(1.0 / first + 1.0 / second)

    apart_S = [apart(at) for at in range(len(mean_S) - 1)]
    rounded_S = [round(one * TIES) for one in apart_S]
    while apart_S:
        at = rounded_S.index(min(rounded_S))  # of equal ones the first, whatever rounding made of them
        if apart_S[at] > TOLD_APART + 1e-9:
            break
        first, second = weight_S[at], weight_S.pop(at + 1)
        here, next_mean = mean_S[at], mean_S.pop(at + 1)
        mean_S[at] = (here * first + next_mean * second) / (first + second) if first + second else here
        weight_S[at] = first + second
        length_S[at] += length_S.pop(at + 1)
        del apart_S[at], rounded_S[at]
        for near in range(max(at - 1, 0), min(at + 1, len(apart_S))):
            apart_S[near] = apart(near)
            rounded_S[near] = round(apart_S[near] * TIES)
    return np.repeat(mean_S, length_S)
