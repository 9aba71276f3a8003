"""The interval of a decision accuracy, against every redraw there is of a few series."""

from itertools import product

import numpy as np
import pytest

from e2lm_signal.decisions import accuracy_interval, agreement_MM, bootstrap_D, interval_of_pairs

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
