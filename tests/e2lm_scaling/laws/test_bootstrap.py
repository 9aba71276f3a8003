from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from e2lm_scaling.laws.fit import Bootstrap, bootstrap, fit, floor_profile, redrawn_weights
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


def test_standard_errors_and_intervals_are_those_of_the_draws() -> None:
    found = bootstrap(fit(isoflop_table(noise=0.01)), 60, np.random.default_rng(0))
    for name, values in found.samples.items():
        assert found.stderr[name] == pytest.approx(np.std(values, ddof=1))
        assert found.interval(name) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))
        assert found.interval(name, 0.5) == pytest.approx(tuple(np.quantile(values, [0.25, 0.75])))


def test_standard_errors_are_as_large_as_parameters_differ_between_tables_with_other_noise() -> None:
    """Exponents and floor; A and B follow from them."""
    exact = isoflop_table()
    rng = np.random.default_rng(0)
    tables = [replace(exact, loss_R=exact.loss_R * np.exp(0.01 * rng.normal(size=128))) for _ in range(60)]
    fits = [fit(table, "chinchilla") for table in tables]
    errors = [bootstrap(one, 60, rng).stderr for one in fits[:6]]
    for name in ("alpha", "beta", "E"):
        between = np.std([one.params[name] for one in fits], ddof=1)
        assert np.median([error[name] for error in errors]) == pytest.approx(between, rel=0.3)


def test_all_checkpoints_of_a_run_are_drawn_together() -> None:
    weights_BR = redrawn_weights(("a", "b", "a", "c"), 2_000, np.random.default_rng(0))
    assert (weights_BR[:, 0] == weights_BR[:, 2]).all()
    assert weights_BR[:, [0, 1, 3]].sum(axis=1).tolist() == [3.0] * 2_000
    assert weights_BR.mean(axis=0) == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize(("rise", "determined"), [(3.7, False), (4.0, True)])
def test_a_floor_is_determined_where_both_ends_leave_its_95_percent_interval(
    rise: float, determined: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chi-square of one degree of freedom: 3.84, with the objective at half the rows in its own units."""
    best = fit(isoflop_table(noise=0.01))
    higher = replace(best, value=best.value * (1 + rise / len(best.table.loss_R)))
    monkeypatch.setattr("e2lm_scaling.laws.fit.fitted", lambda *given: higher)
    profile = floor_profile(best)
    assert profile is not None
    assert profile.determined is determined
