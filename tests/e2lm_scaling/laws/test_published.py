from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from e2lm import UserError
from e2lm_scaling.laws import kaplan
from e2lm_scaling.laws.optimum import flops_for_loss, optimum
from e2lm_scaling.laws.published import PUBLISHED_FITS, non_embedding_exponent, published_fit
from e2lm_scaling.laws.repeated_data import MUENNIGHOFF


@pytest.mark.parametrize(
    ("name", "params", "tokens"), [("hoffmann", 4.036e10, 2.379e12), ("besiroglu", 7.225e10, 1.329e12)]
)
def test_published_fits_plan_chinchillas_budget(name, params, tokens):
    best = published_fit(name).optimum(5.76e23)
    assert best.params_B[0] == pytest.approx(params, rel=2e-3)
    assert best.tokens_B[0] == pytest.approx(tokens, rel=2e-3)


def test_no_other_size_beats_the_closed_form():
    for fit in PUBLISHED_FITS.values():
        best = fit.optimum(1e23)
        for factor in (0.5, 0.9, 1.1, 2.0):
            params = float(best.params_B[0]) * factor
            assert fit.loss(params, 1e23 / 6 / params) > best.loss_B[0]


def test_compute_for_a_loss_inverts_the_optimum():
    theta = published_fit("hoffmann").theta_1T
    loss = float(optimum(theta, 1e22).loss_B[0])
    assert flops_for_loss(theta[0], loss) == pytest.approx(1e22, rel=1e-6)
    assert flops_for_loss(theta[0], 1.5) == np.inf


def test_kaplans_laws_give_their_numbers():
    assert kaplan.LOSS_OF_PARAMS.loss(1e9) == pytest.approx(2.3756, rel=1e-3)
    assert kaplan.LOSS_OF_TOKENS.loss(22e9) == pytest.approx(2.0992, rel=1e-3)
    assert kaplan.LOSS_OF_PARAMS_AND_TOKENS.loss(1e9, 22e9) == pytest.approx(2.3693, rel=1e-3)
    assert kaplan.LOSS_OF_PARAMS_AND_STEPS.loss(1e9, 1e5) == pytest.approx(2.4005, rel=1e-3)
    assert kaplan.CRITICAL_BATCH.tokens(3.0) == pytest.approx(1.12e6, rel=0.01)
    assert kaplan.COMPUTE_OPTIMAL.params_at(100) == pytest.approx(3.75e10, rel=0.01)


def test_the_rule_against_overfitting_uses_the_exponents_of_its_own_fit():
    tokens = kaplan.LOSS_OF_PARAMS_AND_TOKENS.tokens_against_overfitting(1e9)
    assert np.log(tokens / 5e3) / np.log(1e9) == pytest.approx(0.74, abs=0.005)


def test_steps_and_compute_at_the_critical_batch_are_twice_the_least():
    batch = kaplan.CRITICAL_BATCH.tokens(3.0)
    assert kaplan.CRITICAL_BATCH.steps_at_large_batch(1000, batch, 3.0) == pytest.approx(500)
    assert kaplan.CRITICAL_BATCH.flops_at_small_batch(1e20, batch, 3.0) == pytest.approx(5e19)


def test_constants_of_a_fit_cannot_be_exchanged():
    with pytest.raises(dataclasses.FrozenInstanceError):
        kaplan.LOSS_OF_PARAMS_AND_TOKENS.tokens_exponent = 0.095  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        published_fit("hoffmann").theta_T = ()  # type: ignore[misc]


def test_counting_without_embeddings_explains_kaplans_exponent():
    assert non_embedding_exponent(published_fit("besiroglu")) == pytest.approx(0.786, abs=0.01)
    assert non_embedding_exponent(published_fit("hoffmann")) == pytest.approx(0.748, abs=0.01)


def test_muennighoffs_law_gives_its_numbers():
    found = MUENNIGHOFF.loss(np.array([6.34e9, 8.67e9]), np.array([242e9, 178e9]), np.array([25e9, 25e9]))
    assert found == pytest.approx([2.2256440890, 2.2269634075], abs=1e-8)


def test_unrepeated_tokens_are_worth_themselves_and_repeated_ones_less():
    tokens, unique = np.array([1e9, 4e9, 4e11]), np.array([1e9, 1e9, 1e9])
    worth = MUENNIGHOFF.effective_tokens(tokens, unique)
    assert worth[0] == pytest.approx(1e9)
    assert 3.5e9 < worth[1] < 4e9
    assert worth[2] < 1e9 * (1 + MUENNIGHOFF.tokens_decay)


def test_an_unknown_published_fit_is_named():
    with pytest.raises(UserError, match="Did you mean 'hoffmann'"):
        published_fit("hofman")
