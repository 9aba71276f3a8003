"""What every score of early signal keeps to.

Shape suffixes: K checkpoints, M series, I items.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from e2lm.errors import UserError
from e2lm.signal_score import Curve, ScoreValue, SeriesRoles, SignalScore
from e2lm_testing.contract import check_described, outcome, own_randomness_only, resolved

ITEMS = 40
SEED = 20
TOKENS_BETWEEN = 1e8


def sample_curve(checkpoints: int = 8, series: str = "small", params: float = 1e6) -> Curve:
    """A noisy curve that rises from chance (0.25) to about 0.6, with its items."""
    rng = np.random.default_rng([checkpoints, len(series), int(params)])
    share_K = np.linspace(0.25, 0.6, checkpoints)
    items_KI = (rng.random((checkpoints, ITEMS)) < share_K[:, None]).astype(np.float64)
    values_K = items_KI.mean(axis=1)
    return Curve(
        series=series,
        task="sample",
        metric="acc",
        steps_K=np.arange(checkpoints, dtype=np.int64) * 100,
        tokens_K=np.arange(checkpoints, dtype=np.float64) * TOKENS_BETWEEN,
        values_K=values_K,
        stderr_K=np.sqrt(values_K * (1 - values_K) / ITEMS),
        n_items_K=np.full(checkpoints, ITEMS, dtype=np.int64),
        params=params,
        chance=0.25,
        items_KI=items_KI,
    )


def family_of(curve: Curve) -> list[Curve]:
    """Three series of rising size that all look like ``curve``; the later ones are a little better throughout."""
    grown = []
    for place, (series, params) in enumerate((("small", 1e6), ("middle", 3e6), ("large", 1e7))):
        better_K = curve.values_K + 0.02 * place
        grown.append(replace(curve, series=series, params=params, values_K=better_K, items_KI=None))
    return grown


def _constant() -> Curve:
    curve = sample_curve()
    return replace(curve, values_K=np.full(8, 0.25), stderr_K=np.zeros(8), items_KI=None)


def _with_gap() -> Curve:
    values_K: NDArray[np.float64] = sample_curve().values_K.copy()
    values_K[3] = np.nan
    return replace(sample_curve(), values_K=values_K, items_KI=None)


def _of_unknown_cost() -> Curve:
    unknown_K = np.full(8, np.nan)
    zero_K = np.zeros(8, dtype=np.int64)
    return replace(sample_curve(), tokens_K=unknown_K, stderr_K=unknown_K.copy(), n_items_K=zero_K, items_KI=None)


#: What real tables hold sooner or later.
DEGENERATE_CURVES: dict[str, Callable[[], Curve]] = {
    "one checkpoint": lambda: sample_curve(1),
    "two checkpoints": lambda: sample_curve(2),
    "a constant": _constant,
    "a value that is NaN": _with_gap,
    "unknown tokens, errors and items": _of_unknown_cost,
    "a falling metric": lambda: replace(sample_curve(), higher_is_better=False, chance=None, items_KI=None),
}


#: None, one that splits series and checkpoints, and one that leaves nothing.
ROLES = (SeriesRoles(), SeriesRoles(("sm*",), 4 * TOKENS_BETWEEN), SeriesRoles(("*",), 1.0))


class SignalScoreContract:
    """Subclass it and set ``signal_score`` to a :class:`SignalScore`, or to the name of an installed one."""

    signal_score: ClassVar[SignalScore | str]

    @property
    def _score(self) -> SignalScore:
        return resolved(self.signal_score, "e2lm_register_signal_scores", SignalScore, "signal score")

    def _input(self, curve: Curve) -> Any:
        return curve if self._score.scope == "curve" else family_of(curve)

    def _value(self, given: Any) -> ScoreValue:
        value = self._score.score(given, np.random.default_rng(SEED))
        assert isinstance(value, ScoreValue), f"returned {value!r}; expected a ScoreValue"
        return value

    def test_it_says_what_it_is(self) -> None:
        check_described(self._score.name, self._score.description)

    def test_its_value_can_be_believed(self) -> None:
        check_value(self._value(self._input(sample_curve())))

    def test_the_same_input_and_seed_give_the_same_value(self) -> None:
        values = [repr(self._value(self._input(sample_curve()))) for _ in range(2)]
        assert values[0] == values[1]

    @pytest.mark.parametrize("fault", ["none", *DEGENERATE_CURVES])
    def test_its_value_alone_is_that_with_interval_and_p(self, fault: str) -> None:
        if (alone := self._score.value) is not None:
            given = self._input(DEGENERATE_CURVES.get(fault, sample_curve)())
            whole = outcome(lambda: self._value(given))
            if not isinstance(whole, UserError):
                assert repr(alone(given)) == repr(whole.value)

    def test_it_draws_only_from_the_generator_it_is_given(self) -> None:
        with own_randomness_only():
            self._value(self._input(sample_curve()))

    def test_it_leaves_its_input_as_it_was(self) -> None:
        given = self._input(sample_curve())
        before = _contents(given)
        self._value(given)
        assert _contents(given) == before

    @pytest.mark.parametrize("roles", ROLES)
    def test_under_roles_it_is_the_same_score_of_other_curves(self, roles: SeriesRoles) -> None:
        if self._score.under is None:
            return
        known = self._score.under(roles)
        assert isinstance(known, SignalScore), f"under(roles) returned {known!r}; expected a SignalScore"
        assert (known.name, known.scope) == (self._score.name, self._score.scope)
        value = outcome(lambda: known.score(self._input(sample_curve()), np.random.default_rng(SEED)))
        if not isinstance(value, UserError):
            check_value(value)

    @pytest.mark.parametrize("fault", DEGENERATE_CURVES)
    def test_a_degenerate_curve_gets_a_value_or_a_reason(self, fault: str) -> None:
        found = outcome(lambda: self._value(self._input(DEGENERATE_CURVES[fault]())))
        if not isinstance(found, UserError):
            check_value(found)


def check_value(value: ScoreValue) -> None:
    """A number, or none with a reason; an interval is one; a p-value is a probability."""
    if value.value is None:
        assert value.reason, "value is None without a reason"
    elif math.isfinite(value.value):
        assert not isinstance(value.value, bool)
    if value.low is not None and value.high is not None and math.isfinite(value.low + value.high):
        assert value.low <= value.high, f"the interval {value.low} to {value.high} is upside down"
    if value.p is not None and math.isfinite(value.p):
        assert 0.0 <= value.p <= 1.0, f"p is {value.p}; a probability lies between 0 and 1"


def _contents(given: Any) -> list[Any]:
    curves = [given] if isinstance(given, Curve) else list(given)
    return [
        value.tobytes() if isinstance(value, np.ndarray) else value
        for curve in curves
        for value in (getattr(curve, field.name) for field in fields(curve))
    ]
