"""How far the parameters of a fit would move if the runs were drawn again: the pair bootstrap.

It knows the noise inside the data only; beyond the data see :mod:`e2lm_scaling.calibration`.
Shape suffixes: B draws, R rows, S series, T family parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from e2lm_scaling.fit import Fit, refitted
from e2lm_scaling.objective import Array
from e2lm_scaling.power_sum import ALPHA, BETA

#: Fewer converged draws than this share make the standard errors worthless.
FEWEST_CONVERGED = 0.5


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Parameters of the fits of resampled runs; only converged ones are kept."""

    fit: Fit
    theta_BT: Array
    draws: int

    @property
    def converged_share(self) -> float:
        """Share of draws whose fit converged."""
        return len(self.theta_BT) / self.draws

    @property
    def samples(self) -> dict[str, Array]:
        """Draws of every printed parameter by name."""
        found = [self.fit.law.natural(theta_T) for theta_T in self.theta_BT]
        return {name: np.array([one[name] for one in found]) for name in self.fit.params}

    @property
    def stderr(self) -> dict[str, float]:
        """Standard deviation of the draws, NaN-free; infinite where too few converged or some ran away."""
        if self.converged_share < FEWEST_CONVERGED or len(self.theta_BT) < 2:
            return dict.fromkeys(self.fit.params, float("inf"))
        return {
            name: float(np.std(values, ddof=1)) if np.isfinite(values).all() else float("inf")
            for name, values in self.samples.items()
        }

    def interval(self, name: str, coverage: float = 0.95) -> tuple[float, float]:
        """Percentile interval of one printed parameter."""
        with np.errstate(invalid="ignore"):  # between two infinite draws
            low, high = np.quantile(self.samples[name], [(1 - coverage) / 2, (1 + coverage) / 2])
        return float(np.nan_to_num(low, nan=np.inf)), float(np.nan_to_num(high, nan=np.inf))

    @property
    def params_exponent_B(self) -> Array:
        """Exponent of compute in the optimal N, beta / (alpha + beta), of every draw."""
        alpha_B, beta_B = self.theta_BT[:, ALPHA], self.theta_BT[:, BETA]
        result: Array = beta_B / (alpha_B + beta_B)
        return result

    def loss(self, params_R: Array, tokens_R: Array) -> Array:
        """Predicted losses of every draw, shape (B, R)."""
        result: Array = np.exp(self.fit.law.log_loss(self.theta_BT, params_R, tokens_R))
        return result


def bootstrap(fit: Fit, draws: int, rng: np.random.Generator) -> Bootstrap:
    """``draws`` fits of the runs drawn with replacement; all checkpoints of one series are drawn together.

    Besiroglu et al. 2024 (arXiv 2404.10102) for the pair bootstrap of this law.
    """
    weights_BR = _weights(fit.table.series_R, draws, rng)
    theta_BT, converged_B = refitted(fit, weights_BR)
    usable_B = converged_B & np.all(np.isfinite(theta_BT), axis=1)
    return Bootstrap(fit, theta_BT[usable_B], draws)


def _weights(series_R: tuple[str, ...], draws: int, rng: np.random.Generator) -> Array:
    names, member_R = np.unique(np.array(series_R), return_inverse=True)
    counts_BS = rng.multinomial(len(names), np.full(len(names), 1.0 / len(names)), size=draws)
    return counts_BS[:, member_R].astype(np.float64)
