from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2lm import UserError
from e2lm.scaling_predictor import LossTable
from e2lm_scaling.forecast.table import subset, table_of, without_largest_losses
from e2lm_scaling.laws.fit import fit, refitted
from e2lm_scaling.laws.law import LAWS
from e2lm_scaling.laws.objective import Objective

HOFFMANN = {"A": 406.4, "B": 410.7, "E": 1.69, "alpha": 0.34, "beta": 0.28}


def isoflop_table(noise: float = 0.0, k: float = 1.0, **changed: float) -> LossTable:
    p = {**HOFFMANN, **changed}
    flops = np.repeat(np.geomspace(1e17, 1e22, 8), 16)
    params = np.sqrt(flops / 120) * np.tile(np.geomspace(0.1, 10, 16), 8)
    tokens = flops / 6 / params
    loss = p["E"] + (p["A"] / params ** p["alpha"] + p["B"] / tokens ** p["beta"]) ** k
    loss = loss * np.exp(noise * np.random.default_rng(1).normal(size=len(loss)))
    return table_of(params, tokens, loss)


def test_a_noise_free_chinchilla_law_comes_back_to_six_digits():
    found = fit(isoflop_table())
    assert found.params == pytest.approx(HOFFMANN, rel=1e-6)
    assert found.at_bound == ()
    assert found.starts_at_optimum > 0


@settings(max_examples=15, deadline=None)
@given(alpha=st.floats(0.15, 0.9), beta=st.floats(0.15, 0.9), floor=st.floats(0.5, 3.0))
def test_any_noise_free_law_comes_back_whatever_its_exponents(alpha, beta, floor):
    factor_a, factor_b = 1e8**alpha, 1e10**beta  # both terms of the order of 1 in the middle of the data
    found = fit(isoflop_table(alpha=alpha, beta=beta, E=floor, A=factor_a, B=factor_b))
    wanted = {"A": factor_a, "B": factor_b, "E": floor, "alpha": alpha, "beta": beta}
    assert found.params == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("name", sorted(LAWS))
def test_every_law_refits_its_own_predictions(name):
    first = fit(isoflop_table(noise=0.01), name)
    table = first.table
    again = fit(table_of(table.params_R, table.tokens_R, first.loss(table.params_R, table.tokens_R)), name)
    assert again.loss(table.params_R, table.tokens_R) == pytest.approx(
        first.loss(table.params_R, table.tokens_R), rel=1e-6
    )


def test_no_neighbour_of_an_optimum_is_better():
    for objective in (Objective("huber"), Objective("l1"), Objective("mse"), Objective("mse", space="loss")):
        found = fit(isoflop_table(noise=0.01), objective=objective)
        rng = np.random.default_rng(0)
        for _ in range(50):
            moved = found.theta_T.copy()
            moved[:5] *= 1 + 1e-5 * rng.normal(size=5)
            predicted = found.law.log_loss(moved[None], found.table.params_R, found.table.tokens_R)[0]
            residual = predicted - np.log(found.table.loss_R)
            if objective.space == "loss":
                residual = np.exp(predicted) - found.table.loss_R
            assert objective.value(residual).sum() >= found.value * (1 - 1e-12)


def test_a_floor_that_is_not_there_ends_at_its_bound():
    found = fit(isoflop_table(E=0.0))
    assert found.params["E"] == pytest.approx(0.0, abs=1e-3)
    assert found.loss(1e9, 1e10) == pytest.approx(406.4 / 1e9**0.34 + 410.7 / 1e10**0.28, rel=1e-5)


def test_models_that_do_not_improve_with_size_give_a_fit_at_a_bound():
    params, tokens = (grid.ravel() for grid in np.meshgrid([1e7, 3e7, 1e8], np.geomspace(1e8, 1e10, 8)))
    loss = 1.7 + 500 / tokens**0.35 + 0.01 * np.log(params)  # larger is worse: no positive exponent fits
    found = fit(table_of(params, tokens, loss))
    assert found.at_bound
    assert np.isfinite(found.loss(1e9, 1e11))


def test_weights_count_rows():
    table = isoflop_table(noise=0.01)
    keep = np.arange(len(table.loss_R)) % 3 != 0
    whole = fit(table)
    found = refitted(whole, keep.astype(float)[None])
    assert found.usable_B.all()
    assert whole.law.natural(found.theta_BT[0]) == pytest.approx(fit(subset(table, keep)).params, rel=1e-6)


def test_dropping_the_largest_losses_follows_the_published_rule():
    table = table_of(np.full(4, 1e8), np.full(4, 1e9), np.array([5.0, 4.0, 3.0, 2.0]))
    assert without_largest_losses(table, 2).loss_R.tolist() == [3.0, 2.0]
    with pytest.raises(UserError, match="drop fewer"):
        without_largest_losses(table, 4)


def broken(**columns: np.ndarray) -> LossTable:
    table = isoflop_table()
    return table_of(columns.get("N", table.params_R), columns.get("D", table.tokens_R), columns.get("L", table.loss_R))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (broken(L=np.where(np.arange(128) == 7, np.nan, 3.0)), "L is nan in row 8"),
        (broken(L=np.where(np.arange(128) == 0, -1.0, 3.0)), "L is -1 in row 1"),
        (broken(D=isoflop_table().tokens_R / 1e9), "looks like billions"),
        (broken(N=isoflop_table().params_R / 1e9), "looks like billions"),
        (broken(N=np.full(128, 1e8)), "N has 1 distinct value, so law 'chinchilla' is not identifiable"),
        (subset(isoflop_table(), np.arange(128) < 4), "4 rows cannot identify the 5 parameters"),
        (subset(isoflop_table(), np.arange(128) < 0), "no rows"),
    ],
)
def test_unusable_tables_are_named(table, words):
    with pytest.raises(UserError, match=words):
        fit(table, source="t.csv")
