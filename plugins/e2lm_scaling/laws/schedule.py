"""Learning-rate schedules, and the loss along a run as a function of them.

Both laws: the sum of rates S1 does the work, a fall of the rate takes an extra drop.

* Multi-power law (Luo et al. 2025, arXiv 2503.12811): L(t) = L0 + A S1(t)^-alpha
  - B sum_k (eta_{k-1} - eta_k) (1 - (1 + C eta_k^-gamma S_k(t))^-beta), S_k(t) = sum of rates from k to t.
* Tissue et al. 2024 (arXiv 2408.11029): L(s) = L0 + A S1^-alpha - C S2,
  S2 = sum_{i<=s} sum_{k<=i} (eta_{k-1} - eta_k) lambda^(i-k), after the warm-up.

Shape suffixes: S steps, J steps at which the loss is wanted, Q steps at which the rate changes, G grid of exponents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2lm.errors import UserError, nearest_names
from e2lm_scaling.laws.objective import Array

Steps = NDArray[np.int64]
#: Exponents of S1 tried by the fits; published ones lie between 0.4 and 0.55.
EXPONENTS = np.linspace(0.05, 1.5, 146)
#: C, beta and gamma hardly differ between 25M, 100M and 400M parameters (Luo et al., README of their code): the mean.
SHAPE = (2.07, 0.592, 0.644)
#: B x highest rate / A of the same three published fits: 0.208, 0.219 and 0.240.
DROP_RATIO = 0.222
#: The decay of annealing momentum that Tissue et al. use.
TISSUE_DECAY = 0.999
#: A rate of 0 is taken as this share of the highest: the law divides by a power of it.
SMALLEST_RATE = 1e-9


@dataclass(frozen=True, slots=True)
class MultiPowerLaw:
    """The multi-power law with all its constants; the rise of the warm-up counts as a negative fall."""

    floor: float
    factor: float
    exponent: float
    drop: float
    c: float
    beta: float
    gamma: float

    def loss(self, rates_S: Array, steps_J: Steps) -> Array:
        """Nats per token at these steps."""
        total_J = np.cumsum(rates_S)[steps_J]
        fallen_J = multi_power_drop(rates_S, steps_J, (self.c, self.beta, self.gamma))
        result: Array = self.floor + self.factor * total_J**-self.exponent - self.drop * fallen_J
        return result


def multi_power_drop(rates_S: Array, steps_J: Steps, shape: tuple[float, float, float]) -> Array:
    """The sum over k of the multi-power law, without B."""
    c, beta, gamma = shape
    total_S = np.cumsum(rates_S)
    fall_S = np.concatenate([[0.0], rates_S[:-1] - rates_S[1:]])
    changed_Q = np.flatnonzero(fall_S)
    lowest = SMALLEST_RATE * float(rates_S.max())
    scale_Q = c * np.maximum(rates_S[changed_Q], lowest) ** -gamma
    before_Q = total_S[changed_Q - 1]
    dropped_J = np.empty(len(steps_J))
    for j, step in enumerate(steps_J):
        seen = int(np.searchsorted(changed_Q, step, side="right"))
        sum_Q = np.maximum(total_S[step] - before_Q[:seen], 0.0)
        share_Q = 1.0 - (1.0 + scale_Q[:seen] * sum_Q) ** -beta
        dropped_J[j] = float(fall_S[changed_Q[:seen]] @ share_Q)
    return dropped_J


@dataclass(frozen=True, slots=True)
class TissueLaw:
    """The law of Tissue et al. with all its constants."""

    floor: float
    factor: float
    exponent: float
    drop: float
    decay: float = TISSUE_DECAY

    def loss(self, rates_S: Array, steps_J: Steps) -> Array:
        """Nats per token at these steps."""
        total_J = np.cumsum(rates_S)[steps_J]
        fallen_J = tissue_drop(rates_S, steps_J, self.decay)
        result: Array = self.floor + self.factor * total_J**-self.exponent - self.drop * fallen_J
        return result


def tissue_drop(rates_S: Array, steps_J: Steps, decay: float) -> Array:
    """S2 at these steps: the running sum of the momentum of falls after the highest rate."""
    from scipy.signal import lfilter

    fall_S = np.concatenate([[0.0], rates_S[:-1] - rates_S[1:]])
    fall_S[: int(np.argmax(rates_S)) + 1] = 0.0
    momentum_S = lfilter([1.0], [1.0, -decay], fall_S)
    result: Array = np.cumsum(momentum_S)[steps_J]
    return result


@dataclass(frozen=True, slots=True)
class ObservedCurve:
    """Losses of one run at some of its steps, with the rate of every step up to the last."""

    rates_S: Array
    steps_J: Steps
    loss_J: Array


def fit_multi_power(
    curves: list[ObservedCurve],
    shape: tuple[float, float, float] = SHAPE,
    drop_ratio: float | None = None,
) -> MultiPowerLaw:
    """Least squares of ln L in L0, A and alpha; C, beta and gamma are kept.

    B is fitted too, or, with ``drop_ratio`` (``DROP_RATIO``), held at that share of A / highest rate: a curve whose
    rate has not yet come down does not determine it.
    """
    if drop_ratio is None:
        floor, factor, exponent, drop = _fit(curves, lambda one: multi_power_drop(one.rates_S, one.steps_J, shape))
        return MultiPowerLaw(floor, factor, exponent, drop, *shape)
    peak = max(float(one.rates_S.max()) for one in curves)
    held = drop_ratio / peak
    floor, factor, exponent, _ = _fit(
        curves, lambda one: multi_power_drop(one.rates_S, one.steps_J, shape), held_ratio=held
    )
    return MultiPowerLaw(floor, factor, exponent, held * factor, *shape)


def fit_tissue(curves: list[ObservedCurve], decay: float = TISSUE_DECAY) -> TissueLaw:
    """Least squares of ln L in L0, A, alpha and C; lambda is kept."""
    floor, factor, exponent, drop = _fit(curves, lambda one: tissue_drop(one.rates_S, one.steps_J, decay))
    return TissueLaw(floor, factor, exponent, drop, decay)


def _fit(
    curves: list[ObservedCurve], drop_of: Callable[[ObservedCurve], Array], held_ratio: float | None = None
) -> tuple[float, float, float, float]:
    """Exponent by grid, the rest exactly (non-negative least squares weighted by 1/L): variable projection."""
    from scipy.optimize import nnls

    total = np.concatenate([np.cumsum(curve.rates_S)[curve.steps_J] for curve in curves])
    dropped = np.concatenate([drop_of(curve) for curve in curves])
    loss = np.concatenate([curve.loss_J for curve in curves])
    if len(loss) < 5:
        raise UserError(f"{len(loss)} losses cannot identify the 4 free parameters of a schedule law; give at least 5")
    if np.any(total <= 0) or np.any(loss <= 0):
        raise UserError("a schedule law needs losses above 0 at steps where the sum of learning rates is above 0")
    best: tuple[float, tuple[float, float, float, float]] | None = None
    for exponent in EXPONENTS:
        work = total**-exponent
        if held_ratio is None:
            columns = np.stack([np.ones_like(total), work, -dropped], axis=1)
        else:
            columns = np.stack([np.ones_like(total), work - held_ratio * dropped], axis=1)
        scale = np.maximum(np.abs(columns).max(axis=0), 1e-300)
        found, residual = nnls(columns / scale / loss[:, None], np.ones_like(loss))
        floor, factor, *rest = found / scale
        if best is None or residual < best[0]:
            drop = float(rest[0]) if rest else 0.0
            best = (float(residual), (float(floor), float(factor), float(exponent), drop))
    assert best is not None
    return best[1]


KINDS = ("constant", "cosine", "linear", "wsd", "wsd-linear", "step")


@dataclass(frozen=True, slots=True)
class RateSchedule:
    """A schedule by name: ``peak`` and ``final`` rates, ``warmup`` steps, ``steps`` in all.

    The warm-up is linear, from 0 at step 0 to the peak at step ``warmup`` - 1 (as in the runs of arXiv 2503.12811).

    ``decay_from`` is the step where ``wsd`` (exponential), ``wsd-linear`` and ``step`` (at once) leave the peak.
    """

    kind: str
    peak: float
    steps: int
    warmup: int = 0
    final: float = 0.0
    decay_from: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"schedule {self.kind!r} is unknown. {nearest_names(self.kind, KINDS)}")
        if not (self.peak > 0 and self.steps > self.warmup >= 0 and 0 <= self.final <= self.peak):
            raise UserError(
                f"schedule {self.kind}: peak {self.peak:g}, final {self.final:g}, warmup {self.warmup}, steps "
                f"{self.steps}: the peak must be above 0, final between 0 and peak, warmup below steps"
            )
        if self.kind == "wsd" and self.final == 0.0:
            raise UserError("schedule wsd decays exponentially, so final must be above 0; use wsd-linear for 0")

    @property
    def rates_S(self) -> Array:
        """The learning rate at steps 0 to ``steps``.

        >>> RateSchedule("linear", 1.0, 4, warmup=2).rates_S.tolist()
        [0.0, 1.0, 1.0, 0.5, 0.0]
        """
        step_S = np.arange(self.steps + 1, dtype=np.float64)
        rising_S = self.peak * step_S / max(self.warmup - 1, 1)
        result: Array = np.where(step_S < self.warmup, rising_S, self._after_warmup(step_S))
        return result

    def _after_warmup(self, step_S: Array) -> Array:
        drop = self.final - self.peak
        whole_S = np.clip((step_S - self.warmup) / (self.steps - self.warmup), 0.0, 1.0)
        late_S = np.clip((step_S - self.decay_from) / max(self.steps - self.decay_from, 1), 0.0, 1.0)
        if self.kind == "cosine":
            return self.final - drop * 0.5 * (1.0 + np.cos(np.pi * whole_S))
        if self.kind == "linear":
            return self.peak + drop * whole_S
        if self.kind == "wsd":
            return self.peak * (self.final / self.peak) ** late_S
        if self.kind == "wsd-linear":
            return self.peak + drop * late_S
        if self.kind == "step":
            return np.where(step_S < self.decay_from, self.peak, self.final)
        return np.full_like(step_S, self.peak)


def schedule_of(text: str) -> RateSchedule:
    """The schedule written as ``kind:peak=3e-4,final=3e-5,warmup=2000,steps=72000,decay_from=60000``.

    >>> schedule_of("cosine:peak=3e-4,steps=100").kind
    'cosine'
    """
    kind, _, rest = text.partition(":")
    fields: dict[str, float] = {}
    for part in filter(None, rest.split(",")):
        name, equals, value = part.partition("=")
        if name not in ("peak", "final", "warmup", "steps", "decay_from") or not equals:
            raise UserError(
                f"--schedule {text!r}: {part!r} is not understood; write kind:peak=...,steps=...[,final=...,warmup=...,"
                "decay_from=...]"
            )
        try:
            fields[name] = float(value)
        except ValueError as error:
            raise UserError(f"--schedule {text!r}: {name} is {value!r}; a number is expected") from error
    if "peak" not in fields or "steps" not in fields:
        raise UserError(f"--schedule {text!r}: peak and steps are needed, as in cosine:peak=3e-4,steps=72000")
    whole = {name: int(fields[name]) for name in ("steps", "warmup", "decay_from") if name in fields}
    return RateSchedule(kind, peak=fields["peak"], final=fields.get("final", 0.0), **whole)
