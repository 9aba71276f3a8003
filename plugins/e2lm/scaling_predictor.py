"""What a scaling predictor takes and gives, and the one way in which every command asks it.

Shape suffixes: R rows, one per (model, checkpoint); J steps of a whole run; S draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from e2lm.errors import E2LMError, UserError
from e2lm.kind import checked_name, lock_arrays
from e2lm.signal_score import Curve

Capability = Literal["forecast", "curve", "translate"]


@dataclass(frozen=True, slots=True)
class LossTable:
    """Losses of trained models: parameters N, training tokens D, loss L (lower is better), and which run it was.

    The arrays are read-only: many predictors see one table.
    """

    params_R: NDArray[np.float64]
    tokens_R: NDArray[np.float64]
    loss_R: NDArray[np.float64]
    series_R: tuple[str, ...]

    def __post_init__(self) -> None:
        lock_arrays(self, "params_R", "tokens_R", "loss_R")


@dataclass(frozen=True, slots=True)
class UnfinishedRun:
    """The losses of one run so far, and where it ends: at ``end``, in the unit of ``at_K``.

    ``rates_J`` is the learning rate at every step of the whole run, 0 to the last; None where the schedule is unknown.
    """

    curve: Curve
    end: float
    rates_J: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        lock_arrays(self, "rates_J")

    @property
    def at_K(self) -> NDArray[np.float64]:
        """Tokens of every checkpoint, or its steps where some tokens are unknown."""
        known = bool(np.isfinite(self.curve.tokens_K).all())
        return self.curve.tokens_K if known else self.curve.steps_K.astype(np.float64)


@dataclass(frozen=True, slots=True)
class Forecast:
    """A forecast with its 90 % interval; ``low`` and ``high`` are None only with a ``reason``.

    ``method`` says in words how the interval was made. ``draws_S`` are draws of the loss that is to be expected; what
    the interval allows beyond them is the noise of a single run. The forecasts of a table share a seed: draw 7 here and
    draw 7 there are of one world, so that ``decide`` knows which errors two options have in common. Without draws it
    takes their errors as independent.
    """

    value: float
    low: float | None = None
    high: float | None = None
    reason: str | None = None
    method: str | None = None
    draws_S: NDArray[np.float64] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        lock_arrays(self, "draws_S")

    @property
    def has_interval(self) -> bool:
        """Whether both ends are known."""
        return self.low is not None and self.high is not None

    @property
    def log_half_width(self) -> float:
        """Half the width of the interval of ln L; NaN without one, infinite where it reaches down to 0.

        >>> round(Forecast(2.0, 1.0, 4.0).log_half_width, 6) == round(math.log(2), 6)
        True
        """
        if self.low is None or self.high is None:
            return math.nan
        return math.inf if self.low <= 0 else 0.5 * math.log(self.high / self.low)

    @property
    def fault(self) -> str | None:
        """What is impossible about it, in words; None where a loss can be so.

        >>> Forecast(3.0, 4.0, 5.0).fault
        'its interval, 4 to 5, does not hold the forecast, 3'
        """
        if not (math.isfinite(self.value) and self.value > 0):
            return f"it is {self.value:g}; a loss is a finite number above 0"
        if self.low is not None and self.high is not None and not self.low <= self.value <= self.high:
            return f"its interval, {self.low:g} to {self.high:g}, does not hold the forecast, {self.value:g}"
        if self.draws_S is None or _are_losses(np.asarray(self.draws_S)):
            return None
        return "its draws are not a row of finite numbers above 0"


def _are_losses(values_S: NDArray[np.float64]) -> bool:
    return values_S.ndim == 1 and len(values_S) > 1 and bool((np.isfinite(values_S) & (values_S > 0)).all())


class FittedPredictor(Protocol):
    """A predictor after its fit.

    Two things more are used where it has them: ``parameters``, numbers by name, which ``predict fit`` prints; and
    ``losses(params_R, tokens_R)``, the values of many forecasts at once, for speed.
    """

    def predict(self, params: float, tokens: float) -> Forecast:
        """The loss of a model of ``params`` parameters after ``tokens`` tokens."""
        ...


@dataclass(frozen=True, slots=True)
class ScalingPredictor:
    """A named way to forecast the loss of a big run: ``fit(table, rng)`` gives a :class:`FittedPredictor`.

    ``fit`` raises :class:`e2lm.UserError` where the table cannot identify the law. A predictor that ``is_narrow`` is
    for special tables, and judged beside others only where it is named. Two more things it may declare. For
    ``predict curve``, ``end_of_run(run, rng)`` forecasts where one run ends from its checkpoints so far, an
    :class:`UnfinishedRun`; a predictor that does only this has None for ``fit``. For ``predict translate``,
    ``translates`` says that its values are medians and its intervals run from the 5 % to the 95 % quantile, so that
    they may be sent through any rising or falling link.
    """

    name: str
    description: str
    fit: Callable[[LossTable, np.random.Generator], FittedPredictor] | None
    source: str = ""
    is_baseline: bool = False
    is_narrow: bool = False
    end_of_run: Callable[[UnfinishedRun, np.random.Generator], Forecast] | None = None
    translates: bool = False

    def __post_init__(self) -> None:
        checked_name(self.name, "scaling predictor")
        if self.fit is None and (self.end_of_run is None or self.translates):
            raise E2LMError(f"scaling predictor {self.name!r} has no fit: without one it can only have end_of_run")

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it may be asked for: ``forecast`` from a table, ``curve`` of one run, ``translate``."""
        declared: dict[Capability, bool] = {
            "forecast": self.fit is not None, "curve": self.end_of_run is not None, "translate": self.translates,
        }  # fmt: skip
        return frozenset(name for name, can in declared.items() if can)

    def fitted(self, table: LossTable, rng: np.random.Generator, source: str = "table") -> Forecaster:
        """The predictor on ``table``, its answers checked; a refusal names ``source``, where the table is from."""
        if self.fit is None:
            raise UserError(f"scaling predictor {self.name!r} follows single runs: use it in predict curve")
        try:
            return Forecaster(self, table, self.fit(table, rng))
        except UserError as error:
            raise UserError(f"{source}: {str(error).removeprefix('table: ')}") from error

    def at_end(self, run: UnfinishedRun, rng: np.random.Generator) -> Forecast:
        """The checked forecast of where ``run`` ends."""
        if self.end_of_run is None:
            raise UserError(f"scaling predictor {self.name!r} does not follow single runs: it has no end_of_run")
        return self.checked(self.end_of_run(run, rng), f"at the end of {run.curve.series}")

    def checked(self, forecast: object, where: str) -> Forecast:
        """``forecast`` itself, with a reason where it has no interval; :class:`UserError` where it cannot be true."""
        if not isinstance(forecast, Forecast):
            raise UserError(f"scaling predictor {self.name!r} {where} returned {forecast!r:.60}; expected a Forecast")
        if forecast.fault is not None:
            raise UserError(f"scaling predictor {self.name!r}, forecast {where}: {forecast.fault}; tell its authors")
        if forecast.has_interval or forecast.reason:
            return forecast
        return Forecast(forecast.value, reason=f"{self.name} says neither an interval nor why there is none")


@dataclass(frozen=True, slots=True)
class Forecaster:
    """A predictor fitted to one table: what every command asks, built-in or not. No impossible forecast comes out."""

    predictor: ScalingPredictor
    table: LossTable
    own: FittedPredictor

    @property
    def parameters(self) -> Mapping[str, float]:
        """The numbers of the fitted formula by name; empty where it has none."""
        found: Mapping[str, float] = getattr(self.own, "parameters", {})
        return found

    def predict(self, params: float, tokens: float) -> Forecast:
        """The loss of a model of ``params`` parameters after ``tokens`` tokens, an interval or a reason with it."""
        return self.predictor.checked(self.own.predict(params, tokens), f"at N={params:.3g}, D={tokens:.3g}")

    def losses(self, params_R: NDArray[np.float64], tokens_R: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values of many forecasts, one per row."""
        many = getattr(self.own, "losses", None)
        if many is not None:
            found_R = np.asarray(many(params_R, tokens_R), dtype=np.float64)
            if found_R.shape != np.shape(params_R):
                name = self.predictor.name
                raise UserError(f"scaling predictor {name!r}: losses has shape {found_R.shape}, expected one per model")
            return found_R
        pairs = zip(params_R, tokens_R, strict=True)
        return np.array([self.predict(float(params), float(tokens)).value for params, tokens in pairs])
