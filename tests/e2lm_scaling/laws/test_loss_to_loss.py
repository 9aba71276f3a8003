from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2lm import UserError
from e2lm_scaling.forecast.table import table_of
from e2lm_scaling.laws.fit import fit
from e2lm_scaling.laws.loss_to_loss import (
    fit_known_first_floor,
    fit_known_floors,
    fit_unknown_floors,
    leave_lowest_out_error,
    paired_losses,
)

FROM = np.linspace(2.2, 4.0, 20)


@settings(max_examples=30, deadline=None)
@given(exponent=st.floats(0.4, 1.5), factor=st.floats(0.3, 3.0), floor=st.floats(0.5, 2.5))
def test_an_exact_shifted_power_law_comes_back(exponent, factor, floor):
    to = factor * (FROM - 1.8) ** exponent + floor
    law = fit_known_floors(FROM, to, 1.8, floor)
    assert (law.exponent, law.factor) == pytest.approx((exponent, factor), rel=1e-9)
    assert law.r_squared == pytest.approx(1.0)
    partly = fit_known_first_floor(FROM, to, 1.8)
    assert partly.translate(FROM) == pytest.approx(to, rel=1e-3)


def test_unknown_floors_translate_between_the_data():
    to = 0.8 * (FROM - 1.8) ** 1.1 + 1.2
    law = fit_unknown_floors(FROM, to)
    assert law.translate(FROM) == pytest.approx(to, rel=2e-3)


def test_a_whole_law_is_translated_without_moving_its_optimum():
    rng = np.random.default_rng(0)
    params, tokens = 10 ** rng.uniform(7, 9, 60), 10 ** rng.uniform(9, 11, 60)
    first = fit(table_of(params, tokens, 1.8 + 300 / params**0.33 + 900 / tokens**0.34))
    law = fit_known_floors(FROM, 0.7 * (FROM - first.params["E"]) ** 1.2 + 1.1, first.params["E"], 1.1)
    moved = law.translate_fit(first)
    assert moved.loss(3e9, 1e11) == pytest.approx(law.translate(first.loss(3e9, 1e11)))
    sizes = np.geomspace(1e8, 1e10, 2000)
    best = [sizes[np.argmin(one.loss(sizes, 1e21 / 6 / sizes))] for one in (first, moved)]
    assert best[0] == best[1]
    other = fit_known_floors(FROM, FROM, 1.0, 1.0)
    with pytest.raises(UserError, match="law's own E"):
        other.translate_fit(first)


def test_pairs_are_runs_of_equal_size_and_tokens():
    first = table_of(np.array([1e7, 2e7, 3e7, 4e7, 5e7]), np.full(5, 1e9), np.arange(1.0, 6.0))
    second = table_of(np.array([4e7, 3e7, 2e7, 1e7, 9e7]), np.full(5, 1e9), np.arange(5.0, 0.0, -1.0))
    from_P, to_P = paired_losses(first, second)
    assert sorted(zip(from_P.tolist(), to_P.tolist(), strict=True)) == [(1.0, 2.0), (2.0, 3.0), (3.0, 4.0), (4.0, 5.0)]
    with pytest.raises(UserError, match="share N and D"):
        paired_losses(first, table_of(np.full(5, 1e9), np.full(5, 1e9), np.ones(5)))


def test_the_lowest_losses_judge_a_translation():
    to = 0.7 * (FROM - 1.8) ** 1.2 + 1.1
    law = fit_known_floors(FROM, to, 1.8, 1.1)
    assert leave_lowest_out_error(law, FROM, to) == pytest.approx(0.0, abs=1e-9)
    bent = to.copy()
    bent[0] *= 1.05
    error = leave_lowest_out_error(law, FROM, bent)
    assert error is not None
    assert error == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize(
    ("from_P", "to_P", "words"),
    [
        (FROM[:3], FROM[:3], "3 pairs"),
        (np.full(9, 3.0), FROM[:9], "same first loss"),
        (FROM, FROM - 1.5, "below its floor"),
    ],
)
def test_unusable_pairs_are_explained(from_P, to_P, words):
    with pytest.raises(UserError, match=words):
        fit_known_floors(from_P, to_P, 1.8, 1.0)


def test_r_squared_is_the_share_of_the_variance_that_a_translation_explains():
    to = 0.7 * (FROM - 1.8) ** 1.2 + 1.1 + 0.05 * np.random.default_rng(0).normal(size=20)
    law = fit_known_floors(FROM, to, 1.8, 0.9)
    assert law.r_squared == pytest.approx(1 - np.var(law.translate(FROM) - to) / np.var(to), abs=2e-3)
    assert law.r_squared == pytest.approx(1 - ((law.translate(FROM) - to) ** 2).sum() / (20 * np.var(to)), rel=1e-9)
    assert law.r_squared < 0.999
