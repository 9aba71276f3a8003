"""The p-value of one curve, which ``signal_quality`` gives: how easily a curve that goes nowhere seems to rise.

The null, in one sentence: *the skill wanders like a random walk that has no direction, its checkpoints shake, and a
jump is as often down as up.* As a model, for checkpoint k::

    y_k = a + mu_k + e_k,   mu_k = mu_{k-1} + u_k,   Var u = lambda Var e,   e_k = phi e_{k-1} + v_k

The error e is what finitely many items do (phi = 0) and what checkpoints do on top (phi > 0: it lasts; phi < 0: it is
paid back). Nobody knows lambda and phi, so a grid of them is held against the curve. In steps z_k = y_k - y_{k-1},
turned by a sine transform, all of them are independent with a known spectrum, so each model costs two dot products.

The statistic has three parts, each with its question:

* *Drift*, the generalised least-squares slope in every model, as the signed root of its likelihood ratio, averaged with
  weights that take the models' likelihoods with and without a slope to equal parts;
* *What it must reach*, an average over the models of points c, weighted by likelihood without a slope. The points are
  solved by simulation such that curves of every model pass with probability .05: white noise needs less than a walk;
* *End to end*, the same root in the pure walk alone, which sees a late and short rise that a slope does not see.

``p`` is the share of simulated curves of the most likely models without a slope whose statistic is as large. Where
checkpoints are unevenly spaced, a walk by checkpoints and one by tokens are both simulated, and the largest p of all
models that are about as likely is taken. It is never below ``2^(1-K)``: K - 1 steps that are all up are K - 1 coins.

The item noise is estimated with the rest, not read from a file, so p is the same whatever lies beside a curve.

Sources: local-level model, Harvey, Forecasting, Structural Time Series Models (1989), 2.3; one critical value for two
kinds of noise, Vogelsang, Econometrica 66 (1998), 123; critical values by likelihood, Mueller and Watson, Econometrica
76 (2008), 979. Sizes as measured: docs/signal.md.

Shape suffixes: K checkpoints, J frequencies (K - 1), M models of the null, V variants of them (two clocks), D draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product

import numpy as np

from e2lm.arrays import Values

#: Variance of a step of the walk, in units of that of the error's innovations; the last is the walk alone.
WALKS = (0.0, *np.geomspace(0.003, 3.0, 7).tolist(), np.inf)
#: AR(1) coefficients of the error.
PERSISTENCE = (-0.5, 0.0, 0.5, 0.85)
MODELS = tuple((walk, phi) for walk, phi in product(WALKS, PERSISTENCE) if np.isfinite(walk) or phi == 0.0)
LEVEL = 0.95
#: Of the pure walk's end-to-end statistic: what is beyond counts alone.
END_TO_END_LEVEL = 0.97
#: The Monte Carlo error of a p of .05 is then .0035.
NULL_DRAWS = 4_000
#: How sharply the most likely models are preferred where the point to reach is averaged.
SHARPNESS = 2.0
#: Of solving the points: further rounds fit the noise of the draws and cost power.
ROUNDS, PACE = 6, 0.7
#: ``p`` is the largest over models this close to the best in log likelihood; where two clocks are possible, over more.
CLOSE, CLOSE_ON_TWO_CLOCKS = 0.1, 1.0
#: Of the sum of squares: what rounding leaves of a straight line.
ROUNDING = 1e-12
#: Longer curves are thinned to this many checkpoints: more say little about drift, and the tables stay small.
MOST_CHECKPOINTS = 200
SEED = 20_250_614


def autoregressive_DK(phi: float, draws: int, n: int, rng: np.random.Generator) -> Values:
    """Stationary Gaussian AR(1) rows; a random walk for ``phi = 1``."""
    values_DK = rng.normal(size=(draws, n))
    if phi < 1.0:
        values_DK[:, 0] /= np.sqrt(1.0 - phi**2)
    for k in range(1, n):
        values_DK[:, k] += phi * values_DK[:, k - 1]
    return values_DK


@dataclass(frozen=True, slots=True)
class Fits:
    """What the models say of every row: drift, end-to-end drift, and log likelihoods without a slope, best at 0."""

    drift_D: Values
    end_to_end_D: Values
    likelihood_DM: Values


@dataclass(frozen=True)
class Spectra:
    """The models of the null for curves of ``checkpoints`` checkpoints."""

    checkpoints: int

    @cached_property
    def variance_MJ(self) -> Values:
        """Of each sine coefficient of the steps; in units of the error's innovations, of the walk's for the walk."""
        angle_J = np.pi * np.arange(1, self.checkpoints) / self.checkpoints
        rows = []
        for walk, phi in MODELS:
            error_J = (2.0 - 2.0 * np.cos(angle_J)) / (1.0 + phi**2 - 2.0 * phi * np.cos(angle_J))
            rows.append(error_J + walk if np.isfinite(walk) else np.ones_like(angle_J))
        return np.asarray(rows)

    def steps_DJ(self, values_DK: Values) -> Values:
        """Sine coefficients of the steps."""
        from scipy.fft import dst

        return np.asarray(dst(np.diff(values_DK, axis=1), type=1, norm="ortho", axis=1))

    def fits(self, steps_DJ: Values) -> Fits:
        """Every model fitted to every row of sine coefficients."""
        slope_J = self.steps_DJ(np.arange(float(self.checkpoints))[None])[0]
        precision_JM = 1.0 / self.variance_MJ.T
        squares_DM = np.maximum(steps_DJ**2 @ precision_JM, np.finfo(float).tiny)
        product_DM, slope_M = (steps_DJ * slope_J) @ precision_JM, slope_J**2 @ precision_JM
        rest_DM = np.maximum(squares_DM - product_DM**2 / slope_M, ROUNDING * squares_DM)
        volume_M = np.log(self.variance_MJ).sum(axis=1)
        freedom = self.checkpoints - 2
        flat_DM = -0.5 * ((freedom + 1) * np.log(squares_DM) + volume_M)
        sloped_DM = -0.5 * (freedom * np.log(rest_DM) + volume_M + np.log(slope_M))
        root_DM = np.sign(product_DM) * np.sqrt(freedom * np.log(squares_DM / rest_DM))
        drift_D = (_weights_DM((flat_DM + sloped_DM) / 2.0) * root_DM).sum(axis=1)
        return Fits(drift_D, root_DM[:, -1], flat_DM - flat_DM.max(axis=1, keepdims=True))


def _weights_DM(likelihood_DM: Values) -> Values:
    weights_DM = np.exp(likelihood_DM - likelihood_DM.max(axis=1, keepdims=True))
    return np.asarray(weights_DM / weights_DM.sum(axis=1, keepdims=True))


@dataclass(frozen=True, slots=True)
class NullTable:
    """Sorted draws of the statistic under every variant of the null, for curves of one length and spacing."""

    spectra: Spectra
    points_M: Values
    end_to_end_point: float
    model_V: Values
    sorted_VD: Values
    close: float

    def statistic_D(self, fits: Fits) -> Values:
        """The larger of drift and end-to-end drift over what each must reach."""
        reach_D = _weights_DM(SHARPNESS * fits.likelihood_DM) @ self.points_M
        return np.maximum(fits.drift_D - reach_D, fits.end_to_end_D - self.end_to_end_point)

    def p_values_D(self, values_DK: Values) -> Values:
        """One-sided p of every row; the rows must vary."""
        fits = self.spectra.fits(self.spectra.steps_DJ(values_DK))
        statistic_D = self.statistic_D(fits)
        p_D = np.full(len(values_DK), 0.5 ** (values_DK.shape[1] - 1))
        likelihood_VD = fits.likelihood_DM[:, self.model_V].T
        here_VD = likelihood_VD >= -self.close
        for variant in np.flatnonzero(here_VD.any(axis=1)):
            here_D, sorted_D = here_VD[variant], self.sorted_VD[variant]
            beyond_D = len(sorted_D) - np.searchsorted(sorted_D, statistic_D[here_D] - 1e-9, side="left")
            p_D[here_D] = np.maximum(p_D[here_D], (1 + beyond_D) / (1 + len(sorted_D)))
        return p_D


@lru_cache(maxsize=64)
def null_table(n: int, gaps: tuple[float, ...] = ()) -> NullTable:
    """The null distributions for curves of ``n`` checkpoints, the same in every process.

    ``gaps``: tokens between neighbours in units of their mean; empty where checkpoints are evenly spaced.
    """
    spectra = Spectra(n)
    model_V, fits_V = zip(*_simulated(spectra, gaps), strict=True)
    drift_VD, ends_VD = (np.stack([getattr(one, name) for one in fits_V]) for name in ("drift_D", "end_to_end_D"))
    weights_VDM = np.stack([_weights_DM(SHARPNESS * one.likelihood_DM) for one in fits_V])
    end_point = float(_upper_points_V(ends_VD, END_TO_END_LEVEL).max())
    over_VD = ends_VD - end_point
    points_M = _largest_of_model_M(model_V, _upper_points_V(drift_VD, LEVEL))
    for _ in range(ROUNDS):
        missed_V = _upper_points_V(np.maximum(drift_VD - weights_VDM @ points_M, over_VD), LEVEL)
        points_M = points_M + PACE * _largest_of_model_M(model_V, missed_V)
    statistic_VD = np.maximum(drift_VD - weights_VDM @ points_M, over_VD)
    close = CLOSE_ON_TWO_CLOCKS if gaps else CLOSE
    return NullTable(spectra, points_M, end_point, np.asarray(model_V), np.sort(statistic_VD, axis=1), close)


def _simulated(spectra: Spectra, gaps: tuple[float, ...]) -> list[tuple[int, Fits]]:
    """The number of a model, and what all models say of curves drawn from it; a walk on both clocks."""
    n = spectra.checkpoints
    rng = np.random.default_rng([SEED, n])
    errors = {
        phi: spectra.steps_DJ(autoregressive_DK(phi, NULL_DRAWS, n, np.random.default_rng([SEED, n, 1])))
        for phi in PERSISTENCE
    }
    steps_DK = rng.normal(size=(NULL_DRAWS, n))
    clocks = [np.ones(n)] + ([np.sqrt(np.asarray((1.0, *gaps)))] if gaps else [])
    walks = [spectra.steps_DJ(np.cumsum(steps_DK * clock_K, axis=1)) for clock_K in clocks]
    found = []
    for number, (walk, phi) in enumerate(MODELS):
        for walk_DJ in walks[:1] if walk == 0.0 else walks:
            drawn_DJ = errors[phi] + np.sqrt(walk) * walk_DJ if np.isfinite(walk) else walk_DJ
            found.append((number, spectra.fits(drawn_DJ)))
    return found


def _upper_points_V(statistic_VD: Values, level: float) -> Values:
    at = int(level * statistic_VD.shape[1])
    return np.asarray(np.partition(statistic_VD, at, axis=1)[:, at])


def _largest_of_model_M(model_V: tuple[int, ...], number_V: Values) -> Values:
    largest_M = np.full(len(MODELS), -np.inf)
    np.maximum.at(largest_M, np.asarray(model_V), number_V)
    return largest_M


@dataclass(frozen=True, slots=True)
class TrendTest:
    """``p``: see the module. ``p_randomised`` is drawn by lot (seeded) for a constant curve, for which ``p`` is 1."""

    p: float
    p_randomised: float


#: Gaps that differ by less are the same spacing: tables are made for few of them.
GAP_DIGITS = 1


def trend_test(values_K: Values, rng: np.random.Generator, positions_K: Values | None = None) -> TrendTest:
    """Test of "this curve goes nowhere"; ``positions_K``: tokens (or steps) of its checkpoints, None if even.

    >>> rising = trend_test(np.arange(14.0), np.random.default_rng(0))
    >>> rising.p < 0.001
    True
    >>> trend_test(np.full(14, 0.25), np.random.default_rng(0)).p
    1.0
    """
    lot = float(rng.uniform())
    if np.ptp(values_K) == 0:
        return TrendTest(1.0, lot)
    if len(values_K) > MOST_CHECKPOINTS:
        kept_K = np.linspace(0, len(values_K) - 1, MOST_CHECKPOINTS).round().astype(int)
        values_K, positions_K = values_K[kept_K], None if positions_K is None else positions_K[kept_K]
    scaled_K = (values_K - values_K.mean()) / np.ptp(values_K)
    p = _p_once(scaled_K.astype(np.float64).tobytes(), gaps_of(positions_K))
    return TrendTest(p, p)


@lru_cache(maxsize=1024)
def _p_once(scaled: bytes, gaps: tuple[float, ...]) -> float:
    """The p-value of the curve in these bytes: several scores ask it of one curve."""
    scaled_K = np.frombuffer(scaled)
    return float(null_table(len(scaled_K), gaps).p_values_D(scaled_K[None])[0])


def gaps_of(positions_K: Values | None) -> tuple[float, ...]:
    """Spacing in units of its mean, on a grid of powers; () where it is even."""
    if positions_K is None or (np.diff(positions_K) <= 0).any():
        return ()
    gaps_J = np.diff(positions_K)
    rounded_J = np.exp2(np.log2(gaps_J / gaps_J.mean()).round(GAP_DIGITS))
    return () if np.ptp(rounded_J) == 0 else tuple(rounded_J.tolist())
