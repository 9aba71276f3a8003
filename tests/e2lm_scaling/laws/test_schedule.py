"""Schedules at their corners, and both laws against the sums that their papers write."""

from __future__ import annotations

import numpy as np
import pytest

from e2lm_scaling.laws.schedule import (
    DROP_RATIO,
    SHAPE,
    TISSUE_DECAY,
    MultiPowerLaw,
    RateSchedule,
    TissueLaw,
    multi_power_drop,
    tissue_drop,
)

RATES = np.array([0.0, 0.5, 1.0, 1.0, 0.8, 0.8, 0.3, 0.1])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("constant", [1.0, 1.0, 1.0, 1.0, 1.0]),
        ("cosine", [1.0, 0.55 + 0.45 * np.cos(np.pi / 4), 0.55, 0.55 - 0.45 * np.cos(np.pi / 4), 0.1]),
        ("linear", [1.0, 0.775, 0.55, 0.325, 0.1]),
        ("wsd", [1.0, 1.0, 1.0, np.sqrt(0.1), 0.1]),
        ("wsd-linear", [1.0, 1.0, 1.0, 0.55, 0.1]),
        ("step", [1.0, 1.0, 0.1, 0.1, 0.1]),
    ],
)
def test_a_schedule_has_its_rates_at_the_quarters_of_training(kind, expected):
    rates = RateSchedule(kind, 1.0, 90, 10, 0.1, 50).rates_S
    assert rates[10::20] == pytest.approx(expected)
    assert rates[:10] == pytest.approx(np.arange(10) / 9)
    if kind == "step":
        assert rates[48:52].tolist() == [1.0, 1.0, 0.1, 0.1]


def test_the_drop_of_the_multi_power_law_is_the_sum_of_the_paper():
    c, beta, gamma = 2.0, 0.6, 0.7
    expected = [
        sum(
            (RATES[k - 1] - RATES[k]) * (1 - (1 + c * RATES[k] ** -gamma * RATES[k : t + 1].sum()) ** -beta)
            for k in range(1, t + 1)
        )
        for t in range(1, len(RATES))
    ]
    assert multi_power_drop(RATES, np.arange(1, len(RATES)), (c, beta, gamma)) == pytest.approx(expected)
    law = MultiPowerLaw(2.5, 0.6, 0.5, 0.4, c, beta, gamma)
    work = RATES.cumsum()[1:]
    assert law.loss(RATES, np.arange(1, 8)) == pytest.approx(2.5 + 0.6 * work**-0.5 - 0.4 * np.array(expected))


def test_the_drop_of_tissue_is_the_double_sum_of_the_paper_after_the_highest_rate():
    decay, highest = 0.9, 2
    expected = [
        sum(
            (RATES[k - 1] - RATES[k]) * decay ** (i - k)
            for i in range(highest + 1, t + 1)
            for k in range(highest + 1, i + 1)
        )
        for t in range(1, len(RATES))
    ]
    assert tissue_drop(RATES, np.arange(1, len(RATES)), decay) == pytest.approx(expected)
    law = TissueLaw(2.5, 0.6, 0.5, 0.4, decay)
    work = RATES.cumsum()[1:]
    assert law.loss(RATES, np.arange(1, 8)) == pytest.approx(2.5 + 0.6 * work**-0.5 - 0.4 * np.array(expected))


def test_constants_that_are_kept_are_the_published_ones():
    assert SHAPE == (2.07, 0.592, 0.644)
    assert pytest.approx(np.mean([0.208, 0.219, 0.240]), abs=5e-4) == DROP_RATIO
    assert TISSUE_DECAY == 0.999
