"""Loss when tokens are repeated: Muennighoff et al. 2023 (arXiv 2305.16264).

L = E + A / N'^alpha + B / D'^beta with effective N' = U_N + U_N R_N* (1 - exp(-R_N / R_N*)) and the same for D',
where U is the number of unique tokens, R_D = D/U - 1 repetitions, U_N = min(N, N_opt(U)) and R_N = N/U_N - 1.
Shape suffix: R rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, least_squares, minimize

from e2lm.errors import UserError
from e2lm.interval import normal_quantile
from e2lm.scaling_predictor import LossTable
from e2lm_scaling.forecast.table import checked, table_of
from e2lm_scaling.laws.fit import fitted
from e2lm_scaling.laws.law import CHINCHILLA_TIED
from e2lm_scaling.laws.objective import Array, Objective

#: Starts for the two half-lives, ln spaced: the valley is flat and has local optima.
STARTS = tuple((d, n) for d in (3.0, 10.0, 30.0, 100.0) for n in (0.5, 2.0, 6.0, 20.0))


@dataclass(frozen=True, slots=True)
class RepeatedDataLaw:
    """The law with all its constants; ``tokens_decay`` and ``params_decay`` are R_D* and R_N*."""

    log_a: float
    log_b: float
    log_floor: float
    exponent: float
    tokens_decay: float
    params_decay: float

    def optimal_params(self, unique_tokens: Array) -> Array:
        """N_opt(U): the model that D = U tokens are compute-optimal for."""
        ratio = np.exp((self.log_a - self.log_b) / self.exponent)
        result: Array = ratio * unique_tokens
        return result

    def loss(self, params_R: Array, tokens_R: Array, unique_R: Array) -> Array:
        """Nats per token for N parameters trained on D tokens of which U are unique.

        >>> one = MUENNIGHOFF.loss(np.array([6.34e9]), np.array([242e9]), np.array([25e9]))
        >>> round(float(one[0]), 8)
        2.22564409
        """
        unique_R = np.minimum(unique_R, tokens_R)
        effective_tokens_R = _effective(unique_R, tokens_R / unique_R - 1.0, self.tokens_decay)
        base_R = np.minimum(params_R, self.optimal_params(unique_R))
        effective_params_R = _effective(base_R, params_R / base_R - 1.0, self.params_decay)
        result: Array = (
            np.exp(self.log_floor)
            + np.exp(self.log_a) / effective_params_R**self.exponent
            + np.exp(self.log_b) / effective_tokens_R**self.exponent
        )
        return result

    def effective_tokens(self, tokens_R: Array, unique_R: Array) -> Array:
        """How many unique tokens the repeated ones are worth."""
        unique_R = np.minimum(unique_R, tokens_R)
        return _effective(unique_R, tokens_R / unique_R - 1.0, self.tokens_decay)

    @property
    def constants(self) -> Mapping[str, float]:
        """Constants as printed, by name."""
        return {
            "A": float(np.exp(self.log_a)), "B": float(np.exp(self.log_b)), "E": float(np.exp(self.log_floor)),
            "alpha": self.exponent, "R_D*": self.tokens_decay, "R_N*": self.params_decay,
        }  # fmt: skip


def _effective(base_R: Array, repetitions_R: Array, decay: float) -> Array:
    result: Array = base_R * (1.0 + decay * (1.0 - np.exp(-repetitions_R / decay)))
    return result


#: The published constants.
MUENNIGHOFF = RepeatedDataLaw(6.255414, 7.3049974, 0.6254804, 0.3526596, 15.387756, 5.309743)


def refit_decays(
    law: RepeatedDataLaw, params_R: Array, tokens_R: Array, unique_R: Array, loss_R: Array
) -> tuple[RepeatedDataLaw, float]:
    """The law with R_D* and R_N* fitted, all else kept, and the objective there (Huber, delta 1e-3, sum).

    The valley is flat: compare objectives and predictions, never the two numbers.
    """
    objective = Objective()
    log_loss_R = np.log(loss_R)

    def value(log_decays: Array) -> float:
        tried = replace(law, tokens_decay=float(np.exp(log_decays[0])), params_decay=float(np.exp(log_decays[1])))
        residual_R = np.log(tried.loss(params_R, tokens_R, unique_R)) - log_loss_R
        return 1e3 * float(objective.value(residual_R).sum())  # the plain sum is below every default tolerance

    options = {"xatol": 1e-7, "fatol": 1e-10, "maxiter": 4000}
    ends = [minimize(value, np.log(start), method="Nelder-Mead", options=options) for start in STARTS]
    best = min(ends, key=lambda end: float(end.fun))
    fitted = replace(law, tokens_decay=float(np.exp(best.x[0])), params_decay=float(np.exp(best.x[1])))
    return fitted, float(best.fun) / 1e3


# -- the whole law from a table -----------------------------------------------------------------------------------

#: Half-lives are sought between these: at the ends repetition is worth nothing, or as much as fresh data.
LEAST_DECAY, MOST_DECAY = 0.01, 1e4
#: Repetitions (epochs - 1) from where a row says anything about their worth.
LEAST_REPETITIONS = 0.1
FREE = 6
#: Half-lives of parameters among STARTS from which the whole law is sought; it found every planted one from all.
PARAMS_STARTS = (0.5, 6.0)
#: Ends whose objective is within this share of the best have found it.
SAME_OPTIMUM = 1e-4


@dataclass(frozen=True, slots=True)
class RepeatedTable:
    """Losses with the unique tokens of every row: no more than its tokens."""

    table: LossTable
    unique_R: Array

    @property
    def epochs_R(self) -> Array:
        """How often every row saw its data."""
        result: Array = self.table.tokens_R / self.unique_R
        return result

    def subset(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> RepeatedTable:
        """The rows where a mask is true, or those of so many row numbers."""
        table, series = self.table, np.array(self.table.series_R)[rows]
        kept = table_of(table.params_R[rows], table.tokens_R[rows], table.loss_R[rows], tuple(series))
        return RepeatedTable(kept, self.unique_R[rows])


@dataclass(frozen=True, slots=True)
class RepeatedFit:
    """The law at the optimum of Huber (delta 1e-3) of ln L.

    ``undetermined`` names the constants that the rows say nothing about, ``starts_at_optimum`` the share of starts that
    ended there.
    """

    law: RepeatedDataLaw
    value: float
    starts_at_optimum: float
    undetermined: tuple[str, ...]
    rows: RepeatedTable

    @property
    def residual_R(self) -> Array:
        """Logarithm of predicted minus logarithm of observed loss."""
        return _residual_R(_packed(self.law), self.rows)


def repeated_table(table: LossTable, unique_R: Array | None, source: str = "table") -> RepeatedTable:
    """The rows for :func:`fit_repeated`; :class:`UserError` where they cannot say what a repeated token is worth."""
    if unique_R is None:
        raise UserError(
            f"{source}: the law 'muennighoff' needs the unique tokens of every run: name their column, --columns U=..."
        )
    bad = np.flatnonzero(~(unique_R > 0))
    if len(bad):
        raise UserError(f"{source}: U is {unique_R[bad[0]]:g} in row {bad[0] + 1}; unique tokens must be above 0")
    rows = RepeatedTable(checked(table, source), np.minimum(unique_R, table.tokens_R))
    repeated_R = rows.epochs_R - 1 >= LEAST_REPETITIONS
    epochs = np.unique(np.round(np.log(rows.epochs_R), 2))
    if not repeated_R.any() or len(epochs) < 2:
        raise UserError(
            f"{source}: every run sees its data {np.median(rows.epochs_R):.3g} times (D / U), so nothing says what "
            "repetition costs; add runs of other numbers of epochs, or use a law without U (chinchilla-tied)"
        )
    if len(table.loss_R) <= FREE or len(np.unique(np.round(np.log(table.params_R), 3))) < 2:
        raise UserError(
            f"{source}: {len(table.loss_R)} rows of {len(np.unique(table.params_R))} sizes cannot identify the {FREE} "
            f"parameters of law 'muennighoff'; give at least {FREE + 1} rows, of two sizes or more"
        )
    return rows


def fit_repeated(rows: RepeatedTable, start: RepeatedDataLaw | None = None) -> RepeatedFit | None:
    """All six constants at once, from many starts or (a refit) from ``start`` alone; None where nothing converged."""
    firsts = [_packed(start)] if start is not None else _starts(rows)
    ends = [end for end in (_solved(first, rows) for first in firsts) if end is not None]
    if not ends:
        return None
    best = min(ends, key=lambda end: float(end.cost))
    near = np.mean([end.cost <= best.cost * (1 + SAME_OPTIMUM) + 1e-12 for end in ends])
    law = _unpacked(best.x)
    value = float(Objective().value(_residual_R(best.x, rows)).sum())
    undetermined = _undetermined(best, rows) if start is None else ()
    return RepeatedFit(law, value, float(near), undetermined, rows)


def _starts(rows: RepeatedTable) -> list[Array]:
    """A law of N and D by every pair of half-lives: tied exponents, on what the repeated tokens would be worth."""
    found = []
    for tokens_decay in dict.fromkeys(d for d, _ in STARTS):
        worth_R = _effective(rows.unique_R, rows.epochs_R - 1, tokens_decay)
        table = table_of(rows.table.params_R, worth_R, rows.table.loss_R)
        best = fitted(CHINCHILLA_TIED, table, Objective(), np.ones(len(worth_R)), 4)
        if best is None or best.at_bound:
            base = np.array([MUENNIGHOFF.log_a, MUENNIGHOFF.log_b, MUENNIGHOFF.log_floor, MUENNIGHOFF.exponent])
        else:
            base = best.theta_T[:4]
        found += [np.array([*base, np.log(tokens_decay), np.log(n)]) for n in PARAMS_STARTS]
    return found


def _packed(law: RepeatedDataLaw) -> Array:
    decays = np.log([law.tokens_decay, law.params_decay])
    return np.array([law.log_a, law.log_b, law.log_floor, law.exponent, *decays])


def _unpacked(point_P: Array) -> RepeatedDataLaw:
    plain = (float(value) for value in (*point_P[:4], *np.exp(point_P[4:])))
    return RepeatedDataLaw(*plain)


def _residual_R(point_P: Array, rows: RepeatedTable) -> Array:
    table = rows.table
    with np.errstate(all="ignore"):  # far from the optimum, where the solver turns back
        predicted_R = _unpacked(point_P).loss(table.params_R, table.tokens_R, rows.unique_R)
        result: Array = np.nan_to_num(np.log(predicted_R), nan=1e3, posinf=1e3, neginf=-1e3) - np.log(table.loss_R)
    return result


#: Bounds of the point that is solved for: ln A, ln B, ln E, alpha, ln R_D*, ln R_N*.
LOWEST_P = np.array([-50.0, -50.0, -20.0, 0.01, np.log(LEAST_DECAY), np.log(LEAST_DECAY)])
HIGHEST_P = np.array([150.0, 150.0, 5.0, 3.0, np.log(MOST_DECAY), np.log(MOST_DECAY)])


def _solved(first_P: Array, rows: RepeatedTable, held: int | None = None) -> OptimizeResult | None:
    """The optimum from a start; the constant number ``held`` stays at its start."""
    free = np.array([index for index in range(FREE) if index != held])

    def residual_R(free_P: Array) -> Array:
        point_P = first_P.copy()
        point_P[free] = free_P
        return _residual_R(point_P, rows)

    bounds = LOWEST_P[free], HIGHEST_P[free]
    inside_P = np.clip(first_P[free], bounds[0] + 1e-6, bounds[1] - 1e-6)
    solve = partial(least_squares, loss="huber", f_scale=Objective().delta, x_scale="jac", bounds=bounds)
    near = 1e-12 if held is None else 1e-7  # whether an end fits as well is not a matter of digits
    end = solve(residual_R, inside_P, ftol=near, xtol=near, gtol=1e-14, max_nfev=400)
    return end if end.status > 0 else None


def _undetermined(best: OptimizeResult, rows: RepeatedTable) -> tuple[str, ...]:
    """Half-lives of which an end (of no worth, or of full worth) fits about as well: inside a 95 % interval.

    As in :func:`e2lm_scaling.laws.fit.floor_profile`, the objective is taken for a negative log-likelihood.
    """
    bound = float(best.cost) * (1 + normal_quantile(0.95) ** 2 / len(rows.unique_R)) + 1e-12
    found = []
    for index, name in ((4, "R_D*"), (5, "R_N*")):
        for end in (LOWEST_P[index], HIGHEST_P[index]):
            tried_P = best.x.copy()
            tried_P[index] = end
            other = _solved(tried_P, rows, held=index)
            if other is not None and other.cost <= bound:
                found.append(name)
                break
    return tuple(found)
