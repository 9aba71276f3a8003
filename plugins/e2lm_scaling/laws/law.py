"""Loss laws: which parameters are free, what they are called, and the optimal split of compute.

Shape suffixes: B fits, T = 6 parameters of the family in :mod:`e2lm_scaling.laws.power_sum`, P free ones of a law.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from e2lm.errors import UserError, nearest_names
from e2lm_scaling.laws.objective import Array
from e2lm_scaling.laws.power_sum import (
    ALPHA,
    BETA,
    NO_FLOOR,
    NO_TERM,
    PARAMETERS,
    A,
    B,
    E,
    K,
    Rows,
    gradient_log_loss,
    log_loss,
)

Quantities = Literal["nd", "n", "d", "c"]
AXIS_WORDS: dict[Quantities, str] = {"nd": "", "n": "parameters", "d": "tokens", "c": "FLOP"}

#: C = 6 N D: forward and backward pass of a dense transformer (Kaplan et al. 2020, section 2.1).
FLOPS_PER_PARAMETER_TOKEN = 6.0

#: Exponents outside are no scaling law: 0 says that nothing helps, and no published fit comes near 3.
EXPONENT_BOUNDS = (0.0, 3.0)


@dataclass(frozen=True, slots=True)
class LawParameter:
    """A parameter as people print it: ``unit`` in words, ``bounds`` inclusive."""

    name: str
    unit: str
    bounds: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Law:
    """A member of the family: ``theta = embedding_TP z + offset_T``; ``natural`` gives the printed parameters.

    At least ``needs`` distinct values of each quantity in ``axis`` identify it (``c`` is C = 6 N D in FLOPs).
    """

    name: str
    formula: str
    source: str
    parameters: tuple[LawParameter, ...]
    embedding_TP: Array
    offset_T: Array
    natural: Callable[[Array], Mapping[str, float]]
    needs: int = 3
    axis: Quantities = "nd"

    @property
    def free(self) -> int:
        """How many parameters a fit has to find."""
        return int(self.embedding_TP.shape[1])

    def coordinates(self, params_R: Array, tokens_R: Array) -> tuple[Array, Array]:
        """Coordinates x and y of the family at these N and D; a law of one quantity has it as x."""
        x_R, y_R = np.log(params_R), np.log(tokens_R)
        if self.axis == "d":
            return y_R, np.zeros_like(y_R)
        if self.axis == "c":
            return x_R + y_R + np.log(FLOPS_PER_PARAMETER_TOKEN), np.zeros_like(y_R)
        return x_R, np.zeros_like(y_R) if self.axis == "n" else y_R

    def rows(self, params_R: Array, tokens_R: Array, loss_R: Array) -> Rows:
        """The data as the family takes them."""
        return Rows(*self.coordinates(params_R, tokens_R), np.log(loss_R))

    def log_loss(self, theta_BT: Array, params_R: Array, tokens_R: Array) -> Array:
        """Logarithm of the loss at these N and D, shape (B, R)."""
        return log_loss(theta_BT, *self.coordinates(params_R, tokens_R))

    def gradient(self, theta_T: Array, params_R: Array, tokens_R: Array) -> Array:
        """Derivatives of ln L by the free parameters (logarithms of factors and of E), shape (R, P)."""
        result: Array = gradient_log_loss(theta_T, *self.coordinates(params_R, tokens_R)) @ self.embedding_TP
        return result

    def theta(self, z_BP: Array) -> Array:
        """Family parameters of the free ones."""
        return z_BP @ self.embedding_TP.T + self.offset_T

    def reduced(self, theta_BT: Array) -> Array:
        """Free parameters of the nearest member of the law (least squares)."""
        inverse_PT = np.linalg.pinv(self.embedding_TP)
        return (theta_BT - self.offset_T) @ inverse_PT.T

    @property
    def has_floor(self) -> bool:
        """Whether an irreducible loss E is fitted."""
        return bool(np.any(self.embedding_TP[E]))

    @property
    def free_power(self) -> bool:
        """Whether the outer power k is fitted."""
        return bool(np.any(self.embedding_TP[K]))

    @property
    def tied(self) -> bool:
        """Whether both exponents are one parameter."""
        return bool(np.array_equal(self.embedding_TP[ALPHA], self.embedding_TP[BETA]))

    def face(self, fixed: Mapping[int, float]) -> Law:
        """The same law with some family parameters held at a bound; a parameter tied to one of them is held too."""
        keep = [column for column in range(self.free) if not self.embedding_TP[list(fixed), column].any()]
        offset_T = self.offset_T.copy()
        offset_T[list(fixed)] = list(fixed.values())
        if self.tied and (ALPHA in fixed or BETA in fixed):
            offset_T[[ALPHA, BETA]] = max(fixed.get(ALPHA, 0.0), fixed.get(BETA, 0.0))
        return replace(self, embedding_TP=self.embedding_TP[:, keep], offset_T=offset_T)

    def fixing(self, values: Mapping[str, float]) -> Law:
        """The law with some of its printed parameters known; :class:`e2lm.UserError` where one cannot be.

        >>> CHINCHILLA.fixing({"E": 1.4}).free
        4
        """
        known = {"E": E, "alpha": ALPHA, "beta": BETA, "k": K}
        if self.natural is _kaplan_natural:  # its alpha, beta, A and B are not those of the family
            known = {"E": E}
        free = [name for name, index in known.items() if self.embedding_TP[index].any()]
        for name, value in values.items():
            if name not in free:
                raise UserError(f"--fix {name}: law {self.name!r} can fix {', '.join(free) or 'nothing'}")
            if not value > 0:
                raise UserError(f"--fix {name}={value:g}: a number above 0 is expected")
        fixed = {known[name]: float(np.log(value)) if name == "E" else value for name, value in values.items()}
        words = ", ".join(f"{name} = {value:g}" for name, value in values.items())
        return replace(self.face(fixed), formula=f"{self.formula} with {words}")

    @property
    def faces(self) -> dict[tuple[str, ...], Law]:
        """The law on each face of its bounds, by the names of the parameters held there."""
        top = EXPONENT_BOUNDS[1]
        found: dict[tuple[str, ...], Law] = {}
        if self.has_floor:
            found["E",] = self.face({E: NO_FLOOR})
        if self.axis != "nd":
            return found
        terms: dict[tuple[str, ...], dict[int, float]] = {}
        if not self.tied:
            terms["A",] = {A: NO_TERM, ALPHA: 0.0}
            if self.embedding_TP[BETA].any():
                terms["B",] = {B: NO_TERM, BETA: 0.0}
                terms["beta",] = {BETA: top}
        terms["alpha",] = {ALPHA: top}
        for names, fixed in terms.items():
            found[names] = self.face(fixed)
            if self.has_floor:
                found["E", *names] = self.face({**fixed, E: NO_FLOOR})
        return found


def _embedding(*columns: tuple[int, ...]) -> Array:
    """One free parameter per column, which sets every listed family parameter."""
    matrix_TP = np.zeros((PARAMETERS, len(columns)))
    for column, targets in enumerate(columns):
        matrix_TP[list(targets), column] = 1.0
    return matrix_TP


def _offset(**fixed: float) -> Array:
    offset_T = np.zeros(PARAMETERS)
    positions = {"a": A, "b": B, "e": E, "alpha": ALPHA, "beta": BETA, "k": K}
    for name, value in fixed.items():
        offset_T[positions[name]] = value
    return offset_T


def _exp(power: float) -> float:
    """Euler's number to the power; infinite, without a warning, where that is too large to be written down."""
    with np.errstate(over="ignore"):
        return float(np.exp(power))


def _floor(theta_T: Array) -> float:
    return _exp(theta_T[E]) if theta_T[E] > NO_FLOOR else 0.0


def _chinchilla_natural(theta_T: Array) -> dict[str, float]:
    return {
        "A": _exp(theta_T[A]),
        "B": _exp(theta_T[B]),
        "E": _floor(theta_T),
        "alpha": float(theta_T[ALPHA]),
        "beta": float(theta_T[BETA]),
    }


def _skaling_natural(theta_T: Array) -> dict[str, float]:
    return {**_chinchilla_natural(theta_T), "k": float(theta_T[K])}


def _kaplan_natural(theta_T: Array) -> dict[str, float]:
    """Kaplan's own A and B: the inner sum is (A/N)^(alpha/beta) + B/D, so the inner a is (alpha/beta) ln A."""
    inner = float(theta_T[ALPHA])
    beta = float(theta_T[K])
    return {
        "A": _exp(theta_T[A] / inner) if inner > 0 else float("nan"),
        "B": _exp(theta_T[B]),
        "E": _floor(theta_T),
        "alpha": inner * beta,
        "beta": beta,
    }


def _power_natural(theta_T: Array) -> dict[str, float]:
    return {"A": _exp(theta_T[A]), "E": _floor(theta_T), "alpha": float(theta_T[ALPHA])}


_FACTOR = (0.0, float("inf"))
_LOSS = LawParameter("E", "nats per token (or the unit of the loss)", _FACTOR)
_ALPHA = LawParameter("alpha", "exponent of N", EXPONENT_BOUNDS)
_BETA = LawParameter("beta", "exponent of D", EXPONENT_BOUNDS)
_N_FACTOR = LawParameter("A", "loss x parameters^alpha", _FACTOR)
_D_FACTOR = LawParameter("B", "loss x tokens^beta", _FACTOR)

CHINCHILLA = Law(
    "chinchilla", "L = E + A/N^alpha + B/D^beta", "Hoffmann et al. 2022 (arXiv 2203.15556), eq. 2",
    (_N_FACTOR, _D_FACTOR, _LOSS, _ALPHA, _BETA),
    _embedding((A,), (B,), (E,), (ALPHA,), (BETA,)), _offset(k=1.0), _chinchilla_natural,
)  # fmt: skip
CHINCHILLA_TIED = Law(
    "chinchilla-tied", "L = E + A/N^alpha + B/D^alpha", "Gadre et al. 2024 (arXiv 2403.08540), eq. 4, in N and D",
    (_N_FACTOR, _D_FACTOR, _LOSS, _ALPHA, _BETA),
    _embedding((A,), (B,), (E,), (ALPHA, BETA)), _offset(k=1.0), _chinchilla_natural, needs=2,
)  # fmt: skip
KAPLAN_FLOOR = Law(
    "kaplan-floor", "L = E + ((A/N)^(alpha/beta) + B/D)^beta", "Brandfonbrener et al. 2024 (arXiv 2411.12925), eq. 2",
    (LawParameter("A", "parameters", _FACTOR), LawParameter("B", "tokens", _FACTOR), _LOSS, _ALPHA, _BETA),
    _embedding((A,), (B,), (E,), (ALPHA,), (K,)), _offset(beta=1.0), _kaplan_natural,
)  # fmt: skip
KAPLAN = Law(
    "kaplan", "L = ((A/N)^(alpha/beta) + B/D)^beta", "Kaplan et al. 2020 (arXiv 2001.08361), eq. 1.5",
    (LawParameter("A", "parameters", _FACTOR), LawParameter("B", "tokens", _FACTOR), _ALPHA, _BETA),
    _embedding((A,), (B,), (ALPHA,), (K,)), _offset(beta=1.0, e=NO_FLOOR), _kaplan_natural, needs=2,
)  # fmt: skip
SKALING = Law(
    "skaling", "L = E + (A/N^alpha + B/D^beta)^k", "Videau et al. 2026",
    (_N_FACTOR, _D_FACTOR, _LOSS, _ALPHA, _BETA, LawParameter("k", "none", _FACTOR)),
    _embedding((A,), (B,), (E,), (ALPHA,), (BETA,), (K,)), _offset(), _skaling_natural, needs=4,
)  # fmt: skip


def _single_power(axis: Quantities, floor: bool) -> Law:
    """A power law of one quantity, with or without a floor."""
    letter = axis.upper()
    factor = LawParameter("A", f"loss x {AXIS_WORDS[axis]}^alpha", _FACTOR)
    exponent = LawParameter("alpha", f"exponent of {letter}", EXPONENT_BOUNDS)
    return Law(
        f"power-{axis}{'-floor' if floor else ''}",
        f"L = {'E + ' if floor else ''}A/{letter}^alpha",
        "Kaplan et al. 2020 (arXiv 2001.08361), eqs. 1.1 to 1.3" + (", with a floor" if floor else ""),
        (factor, *((_LOSS,) if floor else ()), exponent),
        _embedding((A,), (E,), (ALPHA,)) if floor else _embedding((A,), (ALPHA,)),
        _offset(b=NO_TERM, k=1.0) if floor else _offset(b=NO_TERM, k=1.0, e=NO_FLOOR),
        _power_natural, needs=3 if floor else 2, axis=axis,
    )  # fmt: skip


#: Every law that :func:`e2lm_scaling.laws.fit.fit` knows by name.
LAWS: dict[str, Law] = {
    law.name: law
    for law in (
        CHINCHILLA, CHINCHILLA_TIED, KAPLAN_FLOOR, KAPLAN, SKALING,
        *(_single_power(axis, floor) for axis in ("n", "d", "c") for floor in (False, True)),
    )
}  # fmt: skip


def law_named(name: str) -> Law:
    """The law called ``name``; :class:`e2lm.UserError` for any other.

    >>> law_named("chinchilla").formula
    'L = E + A/N^alpha + B/D^beta'
    """
    if name not in LAWS:
        raise UserError(f"law {name!r} is unknown. {nearest_names(name, LAWS)}")
    return LAWS[name]
