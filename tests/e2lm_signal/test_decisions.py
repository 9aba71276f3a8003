"""The interval of a decision accuracy, against every redraw there is of a few series."""

from itertools import product

import numpy as np
import pytest

from e2lm_signal.curves import curve_of_values
from e2lm_signal.decisions import (
    accuracy_interval,
    agreement_MM,
    bootstrap_D,
    family_decision_accuracy,
    interval_of_pairs,
    settling_share,
)

Z_90 = 1.6448536


def all_accuracies(agreement):
    """The decision accuracy of every redraw, without pairs of a series with its own copy."""
    found = []
    for chosen in product(range(len(agreement)), repeat=len(agreement)):
        pairs = [(a, b) for i, a in enumerate(chosen) for b in chosen[:i] if a != b]
        if pairs:
            found.append(np.mean([agreement[a, b] for a, b in pairs]))
    return np.array(found)


@pytest.fixture
def agreement():
    return agreement_MM(np.array([1.0, 2.0, 4.0, 3.0, 5.0]), np.array([1.0, 3.0, 2.0, 4.0, 4.0]))


def test_redraws_have_the_mean_and_the_spread_of_all_redraws(agreement):
    drawn_D, all_D = bootstrap_D(agreement, np.random.default_rng(0), 20_000), all_accuracies(agreement)
    assert drawn_D.mean() == pytest.approx(all_D.mean(), abs=0.01)
    assert drawn_D.std() == pytest.approx(all_D.std(), rel=0.03)


def test_the_interval_is_that_of_all_redraws_with_one_series_more_that_agrees_half_of_the_time(agreement):
    found = interval_of_pairs(agreement, np.random.default_rng(1))
    padded = np.pad(agreement, (0, 1), constant_values=0.5)
    half = Z_90 * all_accuracies(padded).std()
    assert found.value == pytest.approx(agreement[np.triu_indices(5, 1)].mean())
    assert found.low == pytest.approx(found.value - half, abs=0.05 * half)
    assert found.high == pytest.approx(min(1.0, found.value + half), abs=0.05 * half)


def test_intervals_hold_the_accuracy_of_all_series_there_could_be_at_least_as_often_as_they_say():
    rng = np.random.default_rng(2)

    def pairs_of(series):
        skill_M = rng.normal(size=series)
        return agreement_MM(skill_M + 0.7 * rng.normal(size=series), skill_M)

    truth = pairs_of(3_000)[np.triu_indices(3_000, 1)].mean()
    held = []
    for _ in range(500):
        found = interval_of_pairs(pairs_of(8), rng)
        held.append(found.low <= truth <= found.high)
    assert 0.88 <= np.mean(held) <= 0.97


def test_an_accuracy_of_none_or_all_ends_at_zero_or_one():
    never, always = (accuracy_interval(value, np.full((5, 5), value), np.random.default_rng(3)) for value in (0.0, 1.0))
    assert never.low == 0.0 < never.high < 0.5
    assert 0.5 < always.low < 1.0 == always.high


def family(values_MK):
    steps_K = np.arange(1, values_MK.shape[1] + 1)
    return [curve_of_values(values_K, series=f"s{m}", steps_K=steps_K) for m, values_K in enumerate(values_MK)]


@pytest.mark.parametrize("series", [2, 3])
def test_two_or_three_series_are_too_few_to_say_and_promise_nothing(series):
    rising_MK = np.arange(1.0, series + 1)[:, None] * np.linspace(0.1, 0.5, 20)
    for score in (family_decision_accuracy, settling_share):
        found = score(family(rising_MK), np.random.default_rng(0))
        assert (found.low, found.high) == (0.0, 1.0)
        assert "too few series to say" in found.reason


@pytest.mark.parametrize("seed", range(20))
def test_an_estimate_lies_in_its_interval_and_the_interval_in_its_range(seed):
    rng = np.random.default_rng(seed)
    skill_M = rng.normal(size=int(rng.integers(4, 9)))[:, None]
    curves = family(skill_M * np.linspace(0, 1, 15) + rng.choice([0.01, 0.5]) * rng.normal(size=(len(skill_M), 15)))
    for score in (family_decision_accuracy, settling_share):
        found = score(curves, rng)
        assert 0.0 <= found.low <= found.value <= found.high <= 1.0


def test_an_order_that_never_settles_is_said_to():
    unsettled_MK = np.tile(np.arange(4.0), (12, 1)).T
    unsettled_MK[:, -1] = -1.5 * unsettled_MK[:, -1]  # the mean of the last three still has the old order
    found = settling_share(family(unsettled_MK), np.random.default_rng(4))
    assert found.value == 1.0
    assert "never: 0% at the last" in found.reason
