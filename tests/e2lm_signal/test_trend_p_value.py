"""Calibration of the p-value of one curve: the share of draws below .05 where nothing rises, and where something does.

The lengths, tables and powers of docs/signal.md are those of ``benchmarks/signal_evidence.py``; seeds are fixed.
"""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2lm_signal.trend_p_value import MODELS, Spectra, autoregressive_DK, gaps_of, null_table, trend_test
from tests.e2lm_signal.simulated_curves import NULLS, RISES, measured, positions_of

DRAWS = 4_000
LENGTHS = (14, 30)
HIGHEST_SIZE = 0.07
#: .03 is wanted; .026 to .054 is what 6,000 draws of white and AR(1) noise show at 14 to 100 checkpoints.
LOWEST_SIZE = 0.02


def share_below(rows_DK, positions_K=None):
    """Of rows none of which is constant; all at once, as each by itself."""
    p_D = null_table(rows_DK.shape[1], gaps_of(positions_K)).p_values_D(rows_DK)
    assert p_D[0] == trend_test(rows_DK[0], np.random.default_rng(0), positions_K).p
    return np.mean(p_D < 0.05)


def rows_of(name, n):
    return NULLS[name](np.random.default_rng([2_027, n, *name.encode()]), n, DRAWS)


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("name", NULLS)
def test_p_is_below_five_percent_in_about_as_many_curves_that_go_nowhere(name, n):
    assert share_below(rows_of(name, n), positions_of(name, n)) <= HIGHEST_SIZE


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("name", ["white", "AR(.5)", "AR(.9)", "AR(-.5)"])
def test_steady_noise_reaches_five_percent_about_as_often_as_it_should(name, n):
    assert share_below(rows_of(name, n)) >= LOWEST_SIZE


def test_a_late_rise_of_ten_points_on_many_items_is_seen_at_thirty_checkpoints():
    truth, items = RISES["late (80 %) +.10, 14,000 items"]
    rows_DK = measured(truth(30), items, np.random.default_rng(3), 200)
    assert share_below(rows_DK) >= 0.80


@pytest.mark.parametrize("name", ["white", "walk .06 on 300 items"])
def test_p_is_as_rare_as_it_says_at_one_percent_and_at_one_half(name):
    p_D = null_table(14).p_values_D(rows_of(name, 14))
    assert np.mean(p_D < 0.01) <= 0.01 + 3 * np.sqrt(0.01 / DRAWS)
    assert np.mean(p_D < 0.5) == pytest.approx(0.5, abs=0.15)


def test_a_curve_whose_scores_are_all_the_same_has_a_p_of_one_and_one_by_lot():
    found = [trend_test(np.full(14, 0.25), np.random.default_rng(seed)) for seed in range(400)]
    assert {one.p for one in found} == {1.0}
    assert np.mean([one.p_randomised < 0.05 for one in found]) == pytest.approx(0.05, abs=0.03)


def test_a_steady_rise_is_significant_from_six_checkpoints_on():
    rng = np.random.default_rng(0)
    assert [trend_test(np.arange(float(n)), rng).p < 0.05 for n in (4, 5, 6, 8, 14)] == [False, False, True, True, True]


def test_p_is_never_below_that_of_as_many_coins_as_there_are_steps():
    assert trend_test(np.arange(6.0), np.random.default_rng(0)).p == 0.5**5


def test_a_falling_curve_has_a_p_near_one():
    assert trend_test(-np.arange(14.0), np.random.default_rng(0)).p > 0.99


def test_curves_longer_than_the_tables_are_thinned():
    assert trend_test(np.arange(5000.0), np.random.default_rng(0)).p < 0.001


@settings(max_examples=25)
@given(
    st.lists(st.integers(0, 6), min_size=4, max_size=12),
    st.floats(0.1, 10),
    st.floats(-5, 5),
    st.integers(0, 2**32 - 1),
)
def test_rescaling_changes_nothing(values, scale, shift, seed):
    values_K = np.asarray(values, float)
    plain = trend_test(values_K, np.random.default_rng(seed))
    rescaled = trend_test(np.round(values_K * scale + shift, 9), np.random.default_rng(seed))
    assert rescaled.p == pytest.approx(plain.p, abs=2e-3)


def test_a_walk_by_tokens_is_a_null_where_checkpoints_are_unevenly_spaced():
    steps_K = np.geomspace(1.0, 1000.0, 14)
    last_leap_K = np.r_[0.30 + 0.001 * np.sin(np.arange(13.0)), 0.36]
    even, uneven = (trend_test(last_leap_K, np.random.default_rng(0), at).p for at in (None, steps_K))
    assert uneven >= even
    assert trend_test(last_leap_K, np.random.default_rng(0), np.arange(14.0) * 500).p == even


def test_every_model_says_the_variance_of_the_steps_that_it_draws():
    spectra = Spectra(20)
    for (walk, phi), variance_J in zip(MODELS, spectra.variance_MJ, strict=True):
        rng = np.random.default_rng(4)
        rows_DK = rng.normal(size=(4_000, 20)).cumsum(axis=1)
        if np.isfinite(walk):
            rows_DK = np.sqrt(walk) * rows_DK + autoregressive_DK(phi, 4_000, 20, rng)
        drawn_J = spectra.steps_DJ(rows_DK).var(axis=0)
        assert drawn_J == pytest.approx(variance_J, rel=0.12 if phi == 0 else 0.5)


def test_curves_of_every_model_pass_what_they_must_reach_in_about_five_percent():
    table = null_table(14)
    passed_V = (table.sorted_VD > 0).mean(axis=1)
    assert passed_V == pytest.approx(np.full(len(passed_V), 0.05), abs=0.04)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_drifting_noise_is_stationary_from_its_first_checkpoint_on(phi):
    rows_DK = autoregressive_DK(phi, 40_000, 6, np.random.default_rng(7))
    assert rows_DK.std(axis=0) == pytest.approx(np.full(6, 1 / np.sqrt(1 - phi**2)), rel=0.02)
    neighbours = [np.corrcoef(rows_DK[:, k], rows_DK[:, k + 1])[0, 1] for k in range(5)]
    assert neighbours == pytest.approx(np.full(5, phi), abs=0.015)


def test_the_sizes_in_the_documentation_are_those_that_are_promised(repository):
    text = (repository / "docs" / "signal.md").read_text(encoding="utf-8")
    table = text.partition("Nothing rises (size):")[2].partition("Something rises")[0]
    rows = [row.strip("| ").split(" | ") for row in table.splitlines() if row.startswith("| ")][1:]
    assert {name for name, *_ in rows} == set(NULLS)
    for name, *cells in rows:
        sizes = [re.fullmatch(r"(\.\d{3}) \(\.\d{3}, \.\d{3}\)", cell) for cell in cells]
        assert len(sizes) == 4, name
        assert all(size is not None and float(size[1]) <= 0.07 for size in sizes), name
