from __future__ import annotations

import numpy as np
import pytest

from e2lm_scaling.laws.fit import Bootstrap, bootstrap, fit
from e2lm_scaling.laws.power_sum import A
from tests.e2lm_scaling.laws.test_fit import isoflop_table


def test_a_draw_that_ran_away_makes_an_error_infinite_and_warns_of_nothing() -> None:
    found = bootstrap(fit(isoflop_table(noise=0.01)), 40, np.random.default_rng(0))
    runaway = found.theta_BT.copy()
    runaway[:5, A] = 800.0  # e to it is beyond what a float can hold
    broken = Bootstrap(found.fit, runaway, found.draws)
    assert broken.stderr["A"] == float("inf")
    assert broken.stderr["B"] == pytest.approx(found.stderr["B"])
    low, high = broken.interval("A")
    assert np.isfinite(low)
    assert high == float("inf")
    assert broken.interval("B") == found.interval("B")
