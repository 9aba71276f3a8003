"""Which requests a start-up check asks, and from which difference on it says so."""

from __future__ import annotations

import math

import pytest

from e2lm_adapters.scoring.check import checked_sample, compared
from e2lm_adapters.scoring.prefix_tree import TokenRequest


def test_a_check_asks_every_length_from_the_longest_down_and_the_beginning_of_the_list() -> None:
    requests = [TokenRequest(tuple(range(length)), (0,)) for length in range(1, 81)]
    lengths = [len(one.context) for one in checked_sample(requests)]
    assert lengths == [*range(80, 0, -10), *range(1, 9)]
    assert [len(one.context) for one in checked_sample(requests[:3])] == [3, 2, 1, 1, 2, 3]


@pytest.mark.parametrize(
    ("plain", "half", "tolerance"),
    [(-10.0, False, 1e-3), (-1000.0, False, 1e-2), (-10.0, True, 0.5), (-100.0, True, 2.0)],
)
def test_differences_up_to_rounding_agree_and_larger_ones_do_not(plain: float, half: bool, tolerance: float) -> None:
    for share, agrees in ((0.99, True), (1.01, False)):
        found = compared([(plain + share * tolerance, True), (-1.0, False)], [(plain, True), (-1.0, True)], half)
        assert found.agrees is agrees
        assert found.largest_difference == pytest.approx(share * tolerance)
        assert (found.requests, found.greedy_differences) == (2, 1)
        assert found.tolerance == pytest.approx(tolerance)
    assert not compared([(math.nan, True)], [(plain, True)], half).agrees
