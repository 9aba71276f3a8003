"""Loss-to-loss prediction: Brandfonbrener et al. 2024 (arXiv 2411.12925).

Losses of models that share N and D lie on a shifted power law, L_1 = K (L_0 - E_0)^kappa + E_1: train-to-train (two
corpora), train-to-test (one model, its own corpus and a test), test-to-test (two corpora, one test).
Shape suffix: P pairs of runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import curve_fit

from e2lm.errors import UserError
from e2lm.scaling_predictor import LossTable
from e2lm_scaling.laws.fit import Fit
from e2lm_scaling.laws.law import SKALING
from e2lm_scaling.laws.objective import Array
from e2lm_scaling.laws.power_sum import NO_FLOOR, A, B, E, K

FEWEST_PAIRS = 4
#: Steps of the grid over a floor that is not known.
FLOOR_STEPS = 100


@dataclass(frozen=True, slots=True)
class LossToLoss:
    """L_1 = factor (L_0 - floor_from)^exponent + floor_to."""

    exponent: float
    factor: float
    floor_from: float
    floor_to: float
    r_squared: float
    pairs: int

    def translate(self, loss_from: Array | float) -> Array:
        """The other loss; a loss at or below ``floor_from`` gives ``floor_to``.

        >>> law = LossToLoss(1.0, 2.0, 1.0, 0.5, 1.0, 9)
        >>> float(law.translate(3.0))
        4.5
        """
        above = np.maximum(np.asarray(loss_from, dtype=np.float64) - self.floor_from, 0.0)
        result: Array = self.factor * above**self.exponent + self.floor_to
        return result

    def translate_fit(self, fit: Fit) -> Fit:
        """The whole law of the first loss as a law of the second: N*(C) stays as it is.

        With L_0 = E_0 + (sum)^k, L_1 = E_1 + K (sum)^(k kappa): the outer power takes kappa and the inner sum
        K^(1/(k kappa)). ``fit`` must have the floor that this translation was fitted with.
        """
        if not np.isclose(fit.params.get("E", 0.0), self.floor_from, rtol=1e-6, atol=1e-9):
            raise UserError(
                f"the law has E = {fit.params.get('E', 0.0):.6g} and the translation was fitted with "
                f"{self.floor_from:.6g}; fit the translation with this law's own E"
            )
        theta_T = fit.theta_T.copy()
        theta_T[K] = fit.theta_T[K] * self.exponent
        inner = np.log(self.factor) / theta_T[K]
        theta_T[A] += inner
        theta_T[B] += inner
        theta_T[E] = np.log(self.floor_to) if self.floor_to > 0 else NO_FLOOR
        law = fit.law if fit.law.free_power else SKALING
        return replace(fit, law=law, theta_T=theta_T)


def fit_known_floors(from_P: Array, to_P: Array, floor_from: float, floor_to: float) -> LossToLoss:
    """Both floors known (from laws with a floor): least squares of ln(L_1 - E_1) on ln(L_0 - E_0)."""
    _check(from_P, to_P)
    _check_above(from_P, floor_from, "first")
    _check_above(to_P, floor_to, "second")
    exponent, log_factor = np.polyfit(np.log(from_P - floor_from), np.log(to_P - floor_to), 1)
    return _judged(float(exponent), float(np.exp(log_factor)), floor_from, floor_to, from_P, to_P)


def fit_known_first_floor(from_P: Array, to_P: Array, floor_from: float) -> LossToLoss:
    """E_0 known, E_1 fitted with the rest: least squares in loss, all three at least 0 and E_1 below every L_1."""
    _check(from_P, to_P)
    _check_above(from_P, floor_from, "first")

    def law(loss: Array, exponent: float, factor: float, floor: float) -> Array:
        return factor * (loss - floor_from) ** exponent + floor

    bounds = ([0.0, 0.0, 0.0], [np.inf, np.inf, float(to_P.min())])
    found, _ = curve_fit(law, from_P, to_P, p0=(1.0, 1.0, 0.0), bounds=bounds, maxfev=1000000)
    exponent, factor, floor = (float(value) for value in found)
    return _judged(exponent, factor, floor_from, floor, from_P, to_P)


def fit_unknown_floors(from_P: Array, to_P: Array) -> LossToLoss:
    """No floor known: a grid of both, with least squares at each, chosen by the squared error of the loss."""
    _check(from_P, to_P)
    shares = np.arange(FLOOR_STEPS) / FLOOR_STEPS
    best: tuple[float, LossToLoss] | None = None
    for floor_from in shares * from_P.min():
        x_P = np.log(from_P - floor_from)
        x_mean = x_P.mean()
        y_FP = np.log(to_P - (shares * to_P.min())[:, None])
        slope_F = ((x_P - x_mean) * (y_FP - y_FP.mean(axis=1, keepdims=True))).sum(axis=1) / ((x_P - x_mean) ** 2).sum()
        level_F = y_FP.mean(axis=1) - slope_F * x_mean
        predicted_FP = np.exp(level_F[:, None] + slope_F[:, None] * x_P) + (shares * to_P.min())[:, None]
        error_F = ((predicted_FP - to_P) ** 2).mean(axis=1)
        winner = int(np.argmin(error_F))
        if best is None or error_F[winner] < best[0]:
            law = _judged(
                float(slope_F[winner]), float(np.exp(level_F[winner])), float(floor_from),
                float(shares[winner] * to_P.min()), from_P, to_P,
            )  # fmt: skip
            best = (float(error_F[winner]), law)
    assert best is not None
    return best[1]


def fit_without_floors(from_P: Array, to_P: Array) -> LossToLoss:
    """No floors at all: a straight line through the logarithms, which no loss lies below."""
    return fit_known_floors(from_P, to_P, 0.0, 0.0)


def fit_best_floors(from_P: Array, to_P: Array) -> LossToLoss:
    """With fitted floors or without any, whichever is nearer to the pairs of lowest loss where it has not seen them."""
    held, kept = lowest_and_rest(from_P)
    if len(kept) < FEWEST_PAIRS:
        return fit_without_floors(from_P, to_P)

    def missed(fit: Callable[[Array, Array], LossToLoss]) -> float:
        law = fit(from_P[kept], to_P[kept])
        return float(np.max(np.abs(law.translate(from_P[held]) / to_P[held] - 1)))

    return min((fit_without_floors, fit_unknown_floors), key=missed)(from_P, to_P)


def _judged(
    exponent: float, factor: float, floor_from: float, floor_to: float, from_P: Array, to_P: Array
) -> LossToLoss:
    law = LossToLoss(exponent, factor, floor_from, floor_to, 0.0, len(from_P))
    residual = float(((law.translate(from_P) - to_P) ** 2).sum())
    total = float(((to_P - to_P.mean()) ** 2).sum())
    return replace(law, r_squared=1.0 - residual / total if total > 0 else 0.0)


def _check(from_P: Array, to_P: Array) -> None:
    if len(from_P) < FEWEST_PAIRS:
        raise UserError(
            f"{len(from_P)} pairs of losses share N and D; a loss-to-loss law needs at least {FEWEST_PAIRS}; "
            "train both on the same sizes and tokens"
        )
    if np.ptp(from_P) == 0.0:
        raise UserError("every pair has the same first loss; a loss-to-loss law needs runs of different loss")


def _check_above(loss_P: Array, floor: float, which: str) -> None:
    if loss_P.min() <= floor:
        raise UserError(f"the {which} loss reaches {loss_P.min():.4g}, below its floor E = {floor:.4g}; refit the law")


#: Share of the pairs, those of lowest first loss, that are held out to judge a translation.
HELD_OUT_SHARE = 0.2
#: Relative difference of N and of D below which two runs count as a pair.
SAME_SIZE = 0.01


def paired_losses(first: LossTable, second: LossTable) -> tuple[Array, Array]:
    """Losses of the runs of both tables that share N and D, within 1 %."""
    pairs = []
    for n, d, loss in zip(second.params_R, second.tokens_R, second.loss_R, strict=True):
        distance_R = np.maximum(np.abs(np.log(first.params_R / n)), np.abs(np.log(first.tokens_R / d)))
        nearest = int(np.argmin(distance_R))
        if distance_R[nearest] <= SAME_SIZE:
            pairs.append((first.loss_R[nearest], loss))
    if len(pairs) < FEWEST_PAIRS:
        raise UserError(
            f"{len(pairs)} runs of the second table share N and D with one of the first; at least {FEWEST_PAIRS} are "
            "needed; train both on the same sizes and tokens"
        )
    from_P, to_P = np.array(pairs).T
    return from_P, to_P


def lowest_and_rest(from_P: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of the lowest first losses, which judge a translation, and of the others."""
    count = max(int(HELD_OUT_SHARE * len(from_P)), 1)
    order_P = np.argsort(from_P)
    return order_P[:count], order_P[count:]


def leave_lowest_out_error(law: LossToLoss, from_P: Array, to_P: Array) -> float | None:
    """Largest relative error on the pairs of lowest first loss, with kappa and K fitted to the others; None if too few.

    The floors stay: they come from laws of the whole tables.
    """
    held, kept = lowest_and_rest(from_P)
    if len(kept) < FEWEST_PAIRS or to_P[kept].min() <= law.floor_to or from_P[kept].min() <= law.floor_from:
        return None
    refitted = fit_known_floors(from_P[kept], to_P[kept], law.floor_from, law.floor_to)
    return float(np.max(np.abs(refitted.translate(from_P[held]) / to_P[held] - 1)))
