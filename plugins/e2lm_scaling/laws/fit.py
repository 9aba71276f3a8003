"""``fit``: the optimum of a law on a table of losses, or an error; never a stop on the way.

Beside it: is the irreducible loss E determined at all (the best objective for each fixed E), and how far would the
parameters move if the runs were drawn again? The pair bootstrap knows the noise inside the data only; beyond the data
see :mod:`e2lm_scaling.forecast.calibration`. Shape suffixes: R rows, S starts or series, B draws, T family parameters,
P free parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2lm.errors import UserError
from e2lm.interval import Interval, normal_quantile, percentile_interval, redrawn_counts_DI
from e2lm.scaling_predictor import LossTable
from e2lm_scaling.forecast.table import check_identifiable, checked
from e2lm_scaling.laws.law import EXPONENT_BOUNDS, Law, law_named
from e2lm_scaling.laws.objective import Array, Objective
from e2lm_scaling.laws.power_sum import ALPHA, BETA, E, K, Rows, gradient_log_loss, recentred, uncentred
from e2lm_scaling.laws.solver import VALUE_FLOOR, solve, starts

#: Points of the exponent grid that are polished; with 16 the optimum was found on every public set tried.
POLISHED_STARTS = 16
#: Starts that end within this share of the best value count as having found it.
SAME_OPTIMUM = 1e-6
#: E below exp(-9) of the lowest loss: it has run into its bound 0.
LOWEST_LOG_FLOOR = -9.0


@dataclass(frozen=True, slots=True)
class Fit:
    """A law with its parameters at the optimum of an objective.

    ``value`` is the summed objective; ``starts_at_optimum`` the share of polished starts that ended there;
    ``condition`` the condition number of the scaled Hessian (above 1e8: some direction is free).
    """

    law: Law
    objective: Objective
    theta_T: Array
    value: float
    starts_at_optimum: float
    condition: float
    at_bound: tuple[str, ...]
    table: LossTable

    @property
    def params(self) -> Mapping[str, float]:
        """Parameters as printed, by name."""
        return self.law.natural(self.theta_T)

    def loss(self, params: Array | float, tokens: Array | float) -> Array:
        """Predicted loss at N and D (arrays of one shape, or numbers)."""
        n_R, d_R = np.broadcast_arrays(np.asarray(params, dtype=np.float64), np.asarray(tokens, dtype=np.float64))
        flat = self.law.log_loss(self.theta_T[None], n_R.ravel(), d_R.ravel())[0]
        result: Array = np.exp(flat).reshape(n_R.shape)
        return result

    @property
    def residual_R(self) -> Array:
        """Logarithm of predicted minus logarithm of observed loss."""
        result: Array = np.log(self.loss(self.table.params_R, self.table.tokens_R)) - np.log(self.table.loss_R)
        return result


def fit(
    table: LossTable,
    law: Law | str = "chinchilla",
    objective: Objective | None = None,
    weights_R: Array | None = None,
    source: str = "table",
) -> Fit:
    """The fit of ``law``; :class:`e2lm.UserError` where the table is not usable or no start converges.

    >>> rng = np.random.default_rng(0)
    >>> n, d = 10 ** rng.uniform(7, 10, 40), 10 ** rng.uniform(8, 12, 40)
    >>> table = LossTable(n, d, 1.69 + 406.4 / n**0.34 + 410.7 / d**0.28, ("run",) * 40)
    >>> round(fit(table).params["alpha"], 6)
    0.34
    """
    law = law_named(law) if isinstance(law, str) else law
    objective = Objective() if objective is None else objective
    check_identifiable(checked(table, source), law, source)
    weights_R = np.ones(len(table.loss_R)) if weights_R is None else weights_R
    best = fitted(law, table, objective, weights_R)
    if best is None:
        raise UserError(
            f"{source}: no start of law {law.name!r} converged with objective {objective.kind!r}; the rows do not "
            "determine it; use a law with fewer parameters or a larger delta"
        )
    return best


def fitted(
    law: Law, table: LossTable, objective: Objective, weights_R: Array, count: int = POLISHED_STARTS
) -> Fit | None:
    """Like :func:`fit` without its checks; None where nothing converged."""
    plain = law.rows(table.params_R, table.tokens_R, table.loss_R)
    rows, x_mean, y_mean = plain.centred()
    start_ST = starts(law, rows, weights_R, objective, count)
    best = _best(law, (), rows, start_ST, weights_R, objective)
    floorless = law.faces.get(("E",))
    if floorless is not None and (best is None or best.log_floor - float(rows.log_loss_R.min()) < LOWEST_LOG_FLOOR):
        best = _better(best, _best(floorless, ("E",), rows, start_ST, weights_R, objective))
    if best is None:  # the optimum lies on a bound: try each face
        for names, face in law.faces.items():
            best = _better(best, _best(face, names, rows, start_ST, weights_R, objective))
    if best is None:
        return None
    theta_T = uncentred(best.law.theta(best.z_P[None]), x_mean, y_mean)[0]
    exact = float(objective.value(_residual(law, theta_T, table, objective)) @ weights_R)
    if exact > _value_of_constant(table, weights_R, objective):
        return None  # a stationary point at infinity, not an optimum
    condition = _condition(best.law, rows, best.z_P, weights_R)
    return Fit(law, objective, theta_T, exact, best.share, condition, best.at_bound, table)


def _value_of_constant(table: LossTable, weights_R: Array, objective: Objective) -> float:
    """Objective of the median loss as the prediction for all."""
    constant = float(np.median(table.loss_R[weights_R > 0]))
    in_log = objective.space == "log"
    residual_R = np.log(constant) - np.log(table.loss_R) if in_log else constant - table.loss_R
    return float(objective.value(residual_R) @ weights_R)


@dataclass(frozen=True, slots=True)
class _Ended:
    """The best converged end of all starts on one face of a law."""

    law: Law
    at_bound: tuple[str, ...]
    z_P: Array
    value: float
    share: float

    @property
    def log_floor(self) -> float:
        return float(self.law.theta(self.z_P[None])[0, E])


def _best(
    law: Law, at_bound: tuple[str, ...], rows: Rows, start_ST: Array, weights_R: Array, objective: Objective
) -> _Ended | None:
    solution = solve(law, rows, law.reduced(start_ST), weights_R[None], objective)
    theta_ST = law.theta(solution.z_BP)
    good_S = solution.converged_B & np.isfinite(solution.value_B) & _within_bounds(theta_ST)
    if not good_S.any():
        return None
    value_S = np.where(good_S, solution.value_B, np.inf)
    winner = int(np.argmin(value_S))
    value = float(value_S[winner])
    share = float(np.mean(value_S <= value * (1 + SAME_OPTIMUM) + VALUE_FLOOR))
    return _Ended(law, at_bound, solution.z_BP[winner], value, share)


def _better(first: _Ended | None, second: _Ended | None) -> _Ended | None:
    if first is None or second is None:
        return first or second
    return second if second.value <= first.value * (1 + SAME_OPTIMUM) else first


@dataclass(frozen=True, slots=True)
class Refits:
    """Family parameters of a law under other row weights, which of them are optima, and which of those on a bound."""

    theta_BT: Array
    usable_B: NDArray[np.bool_]
    on_bound_B: NDArray[np.bool_]


def refitted(fit: Fit, weights_BR: Array) -> Refits:
    """The fit's law under other row weights: free first, and on each face of its bounds where that leads nowhere.

    A fit on a bound binds its draws to nothing: they start from the inside, and may end on any face.
    """
    plain = fit.law.rows(fit.table.params_R, fit.table.tokens_R, fit.table.loss_R)
    rows, x_mean, y_mean = plain.centred()
    best = _Best.none(len(weights_BR), len(fit.theta_T))
    start_ST = recentred(fit.theta_T[None], x_mean, y_mean)
    inside_ST = start_ST
    if fit.at_bound:
        inside_ST = starts(fit.law, rows, np.ones(len(fit.table.loss_R)), fit.objective, FREE_STARTS)
    for start_T in inside_ST:
        best.improve(fit.law, rows, start_T, weights_BR, fit.objective, False)
    if fit.at_bound:
        best.improve(fit.law.faces[fit.at_bound], rows, start_ST[0], weights_BR, fit.objective, True)
    for face in fit.law.faces.values():
        best.improve(face, rows, start_ST[0], weights_BR, fit.objective, True, ~np.isfinite(best.value_B))
    theta_BT = uncentred(best.theta_BT, x_mean, y_mean)
    # A factor of no term stays what it is: minus infinity in words, a large negative number here.
    return Refits(theta_BT, np.isfinite(best.value_B) & ~np.isnan(theta_BT).any(axis=1), best.on_bound_B)


#: Starts inside the bounds for draws of a fit that lies on one.
FREE_STARTS = 2


@dataclass(slots=True)
class _Best:
    """The best end of every draw so far, on whichever face of the law."""

    theta_BT: Array
    value_B: Array
    on_bound_B: NDArray[np.bool_]

    @classmethod
    def none(cls, draws: int, parameters: int) -> _Best:
        return cls(np.full((draws, parameters), np.nan), np.full(draws, np.inf), np.zeros(draws, dtype=bool))

    def improve(
        self, law: Law, rows: Rows, start_T: Array, weights_BR: Array, objective: Objective, on_bound: bool,
        wanted_B: NDArray[np.bool_] | None = None,
    ) -> None:  # fmt: skip
        """Take what ``law`` ends at where it is better; only the ``wanted_B`` draws are tried."""
        index_B = np.arange(len(self.value_B)) if wanted_B is None else np.flatnonzero(wanted_B)
        if not len(index_B):
            return
        start_BP = np.repeat(law.reduced(start_T[None]), len(index_B), axis=0)
        solution = solve(law, rows, start_BP, weights_BR[index_B], objective)
        theta_BT = law.theta(solution.z_BP)
        usable_B = solution.converged_B & np.isfinite(solution.value_B) & _within_bounds(theta_BT)
        # A face is worth as much as its bound is not: it must beat what lies inside.
        better_B = usable_B & (solution.value_B < self.value_B[index_B] * (1 - SAME_OPTIMUM if on_bound else 1))
        chosen_B = index_B[better_B]
        self.theta_BT[chosen_B], self.value_B[chosen_B] = theta_BT[better_B], solution.value_B[better_B]
        self.on_bound_B[chosen_B] = on_bound


def _residual(law: Law, theta_T: Array, table: LossTable, objective: Objective) -> Array:
    predicted_R = law.log_loss(theta_T[None], table.params_R, table.tokens_R)[0]
    if objective.space == "log":
        result: Array = predicted_R - np.log(table.loss_R)
        return result
    difference_R: Array = np.exp(predicted_R) - table.loss_R
    return difference_R


def _within_bounds(theta_BT: Array) -> NDArray[np.bool_]:
    """Exponents within their bounds, power above 0."""
    low, high = EXPONENT_BOUNDS
    exponents_B2 = theta_BT[:, [ALPHA, BETA]]
    inside_B2 = (exponents_B2 >= low - 1e-9) & (exponents_B2 <= high + 1e-9)
    inside_B: NDArray[np.bool_] = inside_B2.all(axis=1) & (theta_BT[:, K] > 0)
    return inside_B


def _condition(law: Law, rows: Rows, z_P: Array, weights_R: Array) -> float:
    """Condition number of J^T W J with unit diagonal, J the derivatives of ln L at centred rows."""
    jacobian_RP = gradient_log_loss(law.theta(z_P[None])[0], rows.x_R, rows.y_R) @ law.embedding_TP
    gram_PP = (jacobian_RP.T * weights_R) @ jacobian_RP
    scale_P = np.sqrt(np.diag(gram_PP))
    if not np.all(scale_P > 0):
        return float("inf")
    return float(np.linalg.cond(gram_PP / np.outer(scale_P, scale_P)))


#: Of the likelihood-ratio interval of one parameter; its bound is the squared normal quantile (chi-square, 1 degree).
PROFILE_CONFIDENCE = 0.95
#: E as shares of the fitted one.
SHARES = (0.5, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1)


@dataclass(frozen=True, slots=True)
class FloorProfile:
    """Objective of the refitted law at each fixed floor; ``determined`` says whether both ends lie clearly higher."""

    floors: tuple[float, ...]
    objectives: tuple[float, ...]
    determined: bool


def floor_profile(fit: Fit) -> FloorProfile | None:
    """The profile of E; None for a law without a floor or with E at its bound.

    ``determined``: with the objective taken as a negative log-likelihood of Laplace or normal residuals of the scale
    that the fit itself has, both ends of the profile lie above the bound of a 95 % interval.
    """
    best = fit.params.get("E", 0.0)
    if not fit.law.has_floor or best <= 0 or "E" in fit.at_bound:
        return None
    lowest = float(fit.table.loss_R.min())
    weights_R = np.ones(len(fit.table.loss_R))
    floors, objectives = [], []
    for share in SHARES:
        floor = share * best
        if floor >= 0.999 * lowest:
            continue
        found = fitted(fit.law.face({E: float(np.log(floor))}), fit.table, fit.objective, weights_R, 4)
        if found is not None:
            floors.append(floor)
            objectives.append(found.value)
    if len(floors) < 2:
        return None
    # value = scale x negative log-likelihood, and at the optimum value / scale is about half the number of rows.
    bound = fit.value * (1 + normal_quantile(PROFILE_CONFIDENCE) ** 2 / len(weights_R))
    determined = objectives[0] > bound and objectives[-1] > bound
    return FloorProfile(tuple(floors), tuple(objectives), determined)


#: Fewer converged draws than this share make the standard errors worthless.
FEWEST_CONVERGED = 0.5


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Parameters of the fits of resampled runs; only converged ones are kept, those ``on_bound`` among them."""

    fit: Fit
    theta_BT: Array
    draws: int
    on_bound: int = 0

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

    def interval(self, name: str, coverage: float = 0.95) -> Interval:
        """Percentile interval of one printed parameter."""
        with np.errstate(invalid="ignore"):  # between two infinite draws
            low, high = percentile_interval(self.samples[name], coverage)
        return Interval(float(np.nan_to_num(low, nan=np.inf)), float(np.nan_to_num(high, nan=np.inf)))

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
    weights_BR = redrawn_weights(fit.table.series_R, draws, rng)
    found = refitted(fit, weights_BR)
    kept_BT = found.theta_BT[found.usable_B]
    return Bootstrap(fit, kept_BT, draws, int(found.on_bound_B[found.usable_B].sum()))


def redrawn_weights(series_R: tuple[str, ...], draws: int, rng: np.random.Generator) -> Array:
    """How often every row is drawn, shape (B, R): whole series are, with replacement."""
    names, member_R = np.unique(np.array(series_R), return_inverse=True)
    counts_BS = redrawn_counts_DI(len(names), draws, rng)
    return counts_BS[:, member_R].astype(np.float64)
