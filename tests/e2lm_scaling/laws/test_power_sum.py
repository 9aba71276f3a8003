from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2lm_scaling.laws.objective import Objective
from e2lm_scaling.laws.power_sum import (
    PARAMETERS,
    Rows,
    expansion,
    gradient_log_loss,
    log_loss,
    recentred,
    uncentred,
)

STEP = 1e-6
OBJECTIVES = st.sampled_from([Objective("mse"), Objective("mse", space="loss"), Objective("huber", 0.5)])
SMALL = st.floats(-1.0, 1.0)
EXPONENT = st.floats(0.05, 1.2)


def some_rows(seed: int) -> tuple[Rows, np.ndarray]:
    rng = np.random.default_rng(seed)
    return Rows(rng.normal(size=30), rng.normal(size=30), rng.normal(1.0, 0.05, size=30)), rng.uniform(size=(1, 30))


@settings(max_examples=40, deadline=None)
@given(a=SMALL, b=SMALL, e=SMALL, alpha=EXPONENT, beta=EXPONENT, k=st.floats(0.2, 1.5), objective=OBJECTIVES)
def test_gradient_and_hessian_agree_with_finite_differences(a, b, e, alpha, beta, k, objective):
    rows, weights = some_rows(0)
    theta = np.array([[a, b, e, alpha, beta, k]])
    exact = expansion(theta, rows, rows.features_RF, weights, objective)
    for index in range(PARAMETERS):
        step = np.zeros((1, PARAMETERS))
        step[0, index] = STEP
        up = expansion(theta + step, rows, rows.features_RF, weights, objective)
        down = expansion(theta - step, rows, rows.features_RF, weights, objective)
        slope = (up.value_B - down.value_B)[0] / (2 * STEP)
        bend = (up.gradient_BT - down.gradient_BT)[0] / (2 * STEP)
        assert np.isclose(exact.gradient_BT[0, index], slope, rtol=1e-5, atol=1e-5 * np.abs(exact.gradient_BT).max())
        if objective.kind == "mse":  # the second derivative of a Huber penalty jumps at delta
            assert np.allclose(exact.hessian_BTT[0, index], bend, rtol=1e-4, atol=1e-5 * np.abs(bend).max())


@given(x_mean=st.floats(-5, 30), y_mean=st.floats(-5, 30))
def test_centring_changes_parameters_and_no_prediction(x_mean, y_mean):
    theta = np.array([[6.0, 6.2, 0.5, 0.34, 0.28, 0.9]])
    x, y = np.linspace(10, 25, 7), np.linspace(15, 30, 7)
    there = recentred(theta, x_mean, y_mean)
    assert np.allclose(log_loss(there, x - x_mean, y - y_mean), log_loss(theta, x, y), atol=1e-10)
    assert np.allclose(uncentred(there, x_mean, y_mean), theta, atol=1e-12)


@pytest.mark.parametrize("objective", [Objective("mse"), Objective("mse", space="loss"), Objective("huber", 0.05)])
def test_scales_are_the_curvature_of_the_quadratic_above_the_penalty(objective):
    rows, weights = some_rows(0)
    theta = np.array([[0.3, -0.2, 0.1, 0.4, 0.7, 0.9]])
    predicted_R = log_loss(theta, rows.x_R, rows.y_R)[0]
    slopes_RT = gradient_log_loss(theta[0], rows.x_R, rows.y_R)
    residual_R = predicted_R - rows.log_loss_R
    if objective.space == "loss":
        slopes_RT = slopes_RT * np.exp(predicted_R)[:, None]
        residual_R = np.exp(predicted_R) - np.exp(rows.log_loss_R)
    bends_R = np.ones(30) if objective.kind == "mse" else np.minimum(1.0, 0.05 / np.abs(residual_R))
    expected_T = ((weights[0] * bends_R)[:, None] * slopes_RT**2).sum(axis=0)
    exact = expansion(theta, rows, rows.features_RF, weights, objective)
    assert exact.scale_BT[0] == pytest.approx(expected_T)
