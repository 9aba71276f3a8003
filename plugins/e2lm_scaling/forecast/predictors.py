"""The built-in predictors; inside the data a law's interval may be the bootstrap's, all others are calibrated.

They come to every command through the hook, as a stranger's do. What is theirs alone is how they make an interval: by
``calibration``, for which a :class:`BuiltIn` says how it learns from a table and how far it drifts beyond one.
Shape suffix: R rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from e2lm.errors import UserError
from e2lm.interval import normal_quantile, ratio_interval
from e2lm.scaling_predictor import Forecast, LossTable, ScalingPredictor
from e2lm_scaling.forecast.calibration import CalibratedPredictor, Learn, LogLoss, distance_beyond
from e2lm_scaling.forecast.curve import MULTI_POWER, TOKEN_POWER
from e2lm_scaling.forecast.table import check_identifiable, checked, flops_of, is_identifiable, table_of
from e2lm_scaling.laws.fit import POLISHED_STARTS, Bootstrap, Fit, fitted
from e2lm_scaling.laws.law import LAWS, Law, law_named
from e2lm_scaling.laws.objective import Array, Objective

#: Starts polished inside backtests, where many fits are needed and each start is the grid's best.
BACKTEST_STARTS = 4
#: Fits remembered: the average, its members and their backtests all fit the same tables.
REMEMBERED_FITS = 512
#: Error of ln L per e-folding beyond the data, beside the growth of the own error; see ``calibration``.
DRIFT = {
    "average": 0.005,
    "chinchilla": 0.016,
    "chinchilla-tied": 0.016,
    "skaling": 0.02,
    "kaplan-floor": 0.02,
}
#: Of all others.
COARSE_DRIFT = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltIn(ScalingPredictor):
    """A predictor with the interval of its own backtest: ``learn`` is what is fitted anew on every fold."""

    learn: Learn


def built_in(name: str, description: str, learn: Learn, source: str, is_baseline: bool = False) -> BuiltIn:
    """``learn`` as a predictor."""

    def fit(table: LossTable, rng: np.random.Generator) -> CalibratedPredictor:
        log_loss = learn(checked(table))
        if log_loss is None:
            raise _undetermined(name, table)
        return CalibratedPredictor(name, learn, _drift(name), table, log_loss, _seed(rng))

    return BuiltIn(name, description, fit, source, is_baseline, translates=True, learn=learn)


def _undetermined(name: str, table: LossTable) -> UserError:
    return UserError(
        f"table: {len(table.loss_R)} rows do not determine predictor {name!r}; add runs of other sizes or use the "
        "predictor 'log-linear'"
    )


def _drift(name: str) -> float:
    return DRIFT.get(name, COARSE_DRIFT)


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**63))


# -- laws ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FittedLaw(CalibratedPredictor):
    """A law with its parameters; with ``draws``, inside the data, the bootstrap's interval."""

    fit: Fit
    draws: Bootstrap | None = None

    @property
    def parameters(self) -> dict[str, float]:
        """Parameters as printed, by name."""
        return dict(self.fit.params)

    def predict(self, params: float, tokens: float) -> Forecast:
        """The forecast at N and D with a 90 % interval, or a reason why there is none."""
        if self.draws is None or distance_beyond(self.table, params, tokens) > 0:
            return super().predict(params, tokens)
        drawn_B = np.log(self.draws.loss(np.array([params]), np.array([tokens]))[:, 0])
        half = normal_quantile() * float(np.sqrt(np.var(drawn_B) + np.mean(self.fit.residual_R**2)))
        value = float(self.fit.loss(params, tokens))
        method = f"90%, inside the data: bootstrap of {self.draws.draws} draws and residual noise"
        return Forecast(value, *ratio_interval(value, half), method=method)


@dataclass(frozen=True, slots=True, kw_only=True)
class LawPredictor(BuiltIn):
    """The fit of a law; :meth:`minimising` changes what the fit minimises."""

    law: Law

    def minimising(self, objective: Objective, fixed: Mapping[str, float] | None = None) -> LawPredictor:
        """The same law fitted with ``objective``, from many starts, to as many rows as it has parameters or more.

        ``fixed`` parameters are known and not fitted.
        """
        return law_predictor(self.law.name, objective, POLISHED_STARTS, 0, fixed)


def law_predictor(
    name: str, objective: Objective | None = None, starts: int = BACKTEST_STARTS, spare_rows: int = 1,
    fixed: Mapping[str, float] | None = None,
) -> LawPredictor:  # fmt: skip
    """The law called ``name``, fitted from so many ``starts`` to so many rows more than it has parameters.

    ``fixed`` parameters are known and not fitted.
    """
    known = tuple((fixed or {}).items())
    law = law_named(name).fixing(dict(known)) if known else law_named(name)
    wanted = Objective() if objective is None else objective

    def learn(table: LossTable) -> LogLoss | None:
        best = None if len(table.loss_R) <= law.free else _remembered(law, wanted, BACKTEST_STARTS, table, known)
        return None if best is None else log_loss_of(best)

    def fit(table: LossTable, rng: np.random.Generator) -> FittedLaw:
        check_identifiable(checked(table), law)
        if len(table.loss_R) < law.free + spare_rows:
            raise _undetermined(name, table)
        best = _remembered(law, wanted, starts, table, known)
        if best is None:
            raise UserError(
                f"table: no start of law {name!r} converged with objective {wanted.kind!r}; the rows do not determine "
                "it; use a law with fewer parameters or a larger delta"
            )
        return FittedLaw(name, learn, _drift(name), table, log_loss_of(best), _seed(rng), best)

    narrow = law.axis != "nd"  # a law of one quantity is for tables in which only it changes
    return LawPredictor(name, law.formula, fit, law.source, is_narrow=narrow, translates=True, learn=learn, law=law)


def log_loss_of(fit: Fit) -> LogLoss:
    """Ln L of a fitted law as a function of N and D."""
    theta_1T = fit.theta_T[None]
    return lambda params_R, tokens_R: fit.law.log_loss(theta_1T, params_R, tokens_R)[0]


def _remembered(
    law: Law, objective: Objective, starts: int, table: LossTable, fixed: tuple[tuple[str, float], ...] = ()
) -> Fit | None:
    arrays = (np.ascontiguousarray(one, dtype=np.float64) for one in (table.params_R, table.tokens_R, table.loss_R))
    best = _fitted(law.name, fixed, objective, starts, *(one.tobytes() for one in arrays))
    return None if best is None else replace(best, table=table)


@lru_cache(maxsize=REMEMBERED_FITS)
def _fitted(
    name: str, fixed: tuple[tuple[str, float], ...], objective: Objective, starts: int,
    params: bytes, tokens: bytes, loss: bytes,
) -> Fit | None:  # fmt: skip
    params_R, tokens_R, loss_R = (np.frombuffer(one, dtype=np.float64) for one in (params, tokens, loss))
    law = LAWS[name].fixing(dict(fixed)) if fixed else LAWS[name]
    return fitted(law, table_of(params_R, tokens_R, loss_R), objective, np.ones(len(loss_R)), starts)


# -- their average, and baselines ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class FittedAverage(CalibratedPredictor):
    """The mean of ln L of several laws, with the fits of those that the table determines."""

    fits: tuple[Fit, ...]

    @property
    def parameters(self) -> dict[str, float]:
        """Those of every law, as ``law.name``."""
        return {f"{fit.law.name}.{name}": value for fit in self.fits for name, value in fit.params.items()}


def average_of(name: str, members: tuple[LawPredictor, ...]) -> BuiltIn:
    """The plain mean of ln L over the laws that could be fitted."""

    def fits_of(table: LossTable) -> tuple[Fit, ...]:
        found = (
            _remembered(member.law, Objective(), BACKTEST_STARTS, table)
            for member in members
            if len(table.loss_R) > member.law.free and is_identifiable(table, member.law)
        )
        return tuple(one for one in found if one is not None)

    def mean_of(fits: tuple[Fit, ...]) -> LogLoss | None:
        learned = [log_loss_of(one) for one in fits]
        if not learned:
            return None
        return lambda params_R, tokens_R: np.mean([log_loss(params_R, tokens_R) for log_loss in learned], axis=0)

    def learn(table: LossTable) -> LogLoss | None:
        return mean_of(fits_of(table))

    def fit(table: LossTable, rng: np.random.Generator) -> FittedAverage:
        fits = fits_of(checked(table))
        log_loss = mean_of(fits)
        if log_loss is None:
            check_identifiable(table, min((member.law for member in members), key=lambda law: law.needs))
            raise _undetermined(name, table)
        return FittedAverage(name, learn, _drift(name), table, log_loss, _seed(rng), fits)

    described = "mean of ln L of " + ", ".join(member.name for member in members)
    source = "Claeskens & Hjort 2008, Model Selection and Model Averaging"
    return BuiltIn(name, described, fit, source, translates=True, learn=learn)


def _persistence(table: LossTable) -> LogLoss:
    largest = np.flatnonzero(table.params_R == table.params_R.max())
    log_tokens_K, log_loss_K = np.log(table.tokens_R[largest]), np.log(table.loss_R[largest])

    def log_loss(params_R: Array, tokens_R: Array) -> Array:
        nearest_R = np.abs(np.log(tokens_R)[:, None] - log_tokens_K).argmin(axis=1)
        result: Array = log_loss_K[nearest_R]
        return result

    return log_loss


def _single_scale(table: LossTable) -> LogLoss:
    known = float(np.log(table.loss_R[int(np.argmax(flops_of(table)))]))

    def log_loss(params_R: Array, tokens_R: Array) -> Array:
        return np.full(np.broadcast_shapes(np.shape(params_R), np.shape(tokens_R)), known)

    return log_loss


def _log_linear(table: LossTable) -> LogLoss | None:
    log_flops_R = np.log(flops_of(table))
    if np.ptp(log_flops_R) == 0.0:
        return None
    slope, level = np.polyfit(log_flops_R - log_flops_R.mean(), np.log(table.loss_R), 1)
    centre = float(log_flops_R.mean())
    return lambda params_R, tokens_R: level + slope * (np.log(6.0 * params_R * tokens_R) - centre)


PERSISTENCE = built_in(
    "persistence", "the loss of the largest model so far at the nearest number of tokens", _persistence,
    "baseline", is_baseline=True,
)  # fmt: skip
SINGLE_SCALE = built_in(
    "single-scale", "the loss of the run of most compute, wherever one asks: ranks recipes as that one scale does",
    _single_scale, "Magnusson et al. 2025 (DataDecide, arXiv 2504.11393)", is_baseline=True,
)  # fmt: skip
LOG_LINEAR = built_in(
    "log-linear", "ln L as a straight line in ln C, least squares", _log_linear,
    "Kaplan et al. 2020 (arXiv 2001.08361), eq. 1.3", is_baseline=True,
)  # fmt: skip

#: Three laws with a floor and one without: the former err high far out, the latter low. Chosen among nine sets of laws
#: and three kinds of mean on seven public corpora (docs/scaling.md).
AVERAGED = tuple(law_predictor(name) for name in ("chinchilla", "chinchilla-tied", "skaling", "kaplan"))
AVERAGE = average_of("average", AVERAGED)


def scaling_predictors() -> list[ScalingPredictor]:
    """What this package registers, in the order in which a backtest names them."""
    narrow = [law_predictor(law.name) for law in LAWS.values() if law.axis != "nd"]
    whole = (*AVERAGED, law_predictor("kaplan-floor"), AVERAGE, PERSISTENCE, SINGLE_SCALE, LOG_LINEAR)
    return [*whole, *narrow, TOKEN_POWER, MULTI_POWER]
