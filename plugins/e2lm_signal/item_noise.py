"""What finitely many items do to a curve: the covariance of its values, and redraws of them.

Three sources, the best that is there: per-item values (the *paired* bootstrap: one draw of items for all checkpoints,
and for all series of a family), standard errors, or, of an accuracy whose number of items is known, the binomial
formula ``p (1 - p) / n``. The last two take checkpoints as independent, though they share their items; noise of
differences is then overstated (intervals are wide, quality is low), never understated.

Shape suffixes: K checkpoints, I items, D draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from e2lm import Curve
from e2lm.arrays import Values
from e2lm.interval import redrawn_DI

NoiseSource = Literal["items", "stderr", "binomial"]

DRAWS = 1_000
#: Numbers drawn at once, so that they stay in the cache.
COUNTED_AT_ONCE = 50_000
#: Names of metrics that are shares of items.
SHARE_METRICS = ("acc", "exact_match", "em", "pass@")
EXPLAINED: dict[NoiseSource, str] = {
    "items": "paired bootstrap over {items} items",
    "stderr": "reported standard errors, checkpoints taken as independent",
    "binomial": "binomial error of {items} items, checkpoints taken as independent",
}
UNKNOWN = "no interval: neither per-item values, nor standard errors, nor the number of items of an accuracy are known"


@dataclass(frozen=True, slots=True)
class ItemNoise:
    """Covariance of the values over redraws of the items, and where it is known from."""

    covariance_KK: Values
    source: NoiseSource
    items_KI: Values | None
    label: str

    def draws_DK(self, rng: np.random.Generator, draws: int = DRAWS) -> Values:
        """Deviations of redrawn values from the measured ones, mean near 0."""
        if self.items_KI is None:
            normal_DK = rng.standard_normal(size=(draws, len(self.covariance_KK)), dtype=np.float32)
            return np.asarray(normal_DK * np.sqrt(np.diag(self.covariance_KK)), dtype=np.float64)
        return item_bootstrap_DK(self.items_KI, rng, draws)


def item_noise(curve: Curve) -> ItemNoise | None:
    """The item noise of ``curve``, None where nothing is known about it."""
    if curve.items_KI is not None:
        complete_I = np.isfinite(curve.items_KI).all(axis=0)
        items_KI = curve.items_KI[:, complete_I]
        if items_KI.shape[1] > 1:
            covariance_KK = np.atleast_2d(np.cov(items_KI)) / items_KI.shape[1]
            return ItemNoise(covariance_KK, "items", items_KI, EXPLAINED["items"].format(items=items_KI.shape[1]))
    if np.isfinite(curve.stderr_K).all() and (curve.stderr_K > 0).any():
        return ItemNoise(np.diag(curve.stderr_K**2), "stderr", None, EXPLAINED["stderr"])
    if _is_share(curve) and (curve.n_items_K > 0).all():
        variance_K = curve.values_K * (1.0 - curve.values_K) / curve.n_items_K
        if (variance_K > 0).any():
            label = EXPLAINED["binomial"].format(items=int(curve.n_items_K.min()))
            return ItemNoise(np.diag(variance_K), "binomial", None, label)
    return None


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
    means_K = items_KI.mean(axis=1)
    centred_KI = (items_KI - means_K[:, None]).astype(np.float32)
    counts_DI = item_counts_DI(items_KI.shape[1], rng, draws)
    return np.asarray((counts_DI @ centred_KI.T).astype(np.float64) / items_KI.shape[1])


def denoised_K(values_K: Values, positions_K: Values, covariance_KK: Values) -> Values:
    """A curve as wiggly as the truth: deviations from its line, shrunk by the item noise in them.

    A bootstrap around the measured curve adds noise to noise and is too far from a straight line; around this one it
    has about the noise of the measurement itself. Shrink factor: ``sqrt(max(0, 1 - E noise^2 / deviation^2))``.
    """
    design_K2 = np.stack([np.ones(len(values_K)), positions_K - positions_K.mean()], axis=1)
    residual_KK = np.eye(len(values_K)) - design_K2 @ np.linalg.pinv(design_K2)
    deviation_K = residual_KK @ values_K
    squared = float(deviation_K @ deviation_K)
    noise = float(np.trace(residual_KK @ covariance_KK))
    shrink = np.sqrt(max(0.0, 1.0 - noise / squared)) if squared > 0 else 0.0
    return np.asarray(values_K - deviation_K + shrink * deviation_K)
