"""A small share, at fixed draws, of what ``benchmarks/watch_rules.py`` simulates: rules keep the size they state."""

from __future__ import annotations

import math

import numpy as np
import pytest

from e2lm_adapters.watch.evidence import (
    CELLS,
    end_of_differences,
    first_of_cell,
    log_e_value,
    probability_above,
    spent,
    spikes,
    surely_below,
    thinned,
)


def differences_KI(rng: np.random.Generator, mean: float, looks: int = 20, items: int = 300) -> np.ndarray:
    """Baseline minus run per item: skewed, bounded, and much the same at every look, as items of a run are."""
    stays_I = rng.beta(0.5, 0.5, items) - 0.5
    return np.clip(stays_I + rng.normal(mean, 0.1, (looks, items)), -1, 1)


def stops(differences_KI: np.ndarray, margin: float = 0.0) -> bool:
    logs_K = np.array([log_e_value(below_I, margin) for below_I in differences_KI])
    return any(surely_below(logs_K[:k]) > 0.95 for k in range(1, len(logs_K) + 1))


def test_the_paired_claim_is_wrong_in_at_most_one_of_twenty_runs_over_all_looks() -> None:
    rng = np.random.default_rng(7)
    wrong = sum(stops(differences_KI(rng, 0.0)) for _ in range(200))
    assert wrong <= 10  # and a plain test at every look would not have it:
    rng = np.random.default_rng(7)
    naive = 0
    for _ in range(200):
        below_KI = differences_KI(rng, 0.0)
        errors_K = below_KI.std(axis=1, ddof=1) / math.sqrt(below_KI.shape[1])
        naive += bool((below_KI.mean(axis=1) / errors_K > 1.645).any())
    assert naive > 10


def test_a_run_that_is_clearly_below_is_stopped_and_one_within_the_gap_of_seeds_is_not() -> None:
    rng = np.random.default_rng(8)
    below_KI = differences_KI(rng, 0.12)
    assert stops(below_KI)
    assert not stops(below_KI, margin=0.25)


def test_one_look_that_is_below_says_nothing_of_the_others() -> None:
    logs_K = np.array([0.0, 0.0, 40.0, 0.0, 0.0, 0.0])
    assert [surely_below(logs_K[:k]) for k in range(1, 7)] == [0.0] * 6
    assert surely_below(np.array([0.0, *[40.0] * 6])) > 0.95


def test_a_difference_that_closes_is_no_end_below() -> None:
    steps_K = np.arange(1.0, 13.0) * 100
    closing_K = -0.2 + 0.08 * np.log(steps_K / 100)
    assert end_of_differences(steps_K, closing_K, 3e4) > 0
    assert end_of_differences(steps_K, np.full(12, -0.1), 3e4) < 0
    assert end_of_differences(steps_K, -0.2 + 0.01 * steps_K / 100, 3e3) > 0
    assert end_of_differences(steps_K[:4], closing_K[:4], 3e4) == math.inf


def test_alpha_is_spent_once_in_each_cell() -> None:
    assert pytest.approx(1 - spent(0.9999)) == CELLS * (1 - 0.9999)
    at_K = np.linspace(10, 990, 99)
    first = first_of_cell(at_K, 1000.0)
    assert at_K[first - 1] == 950
    assert {first_of_cell(at_K[:k], 1000.0) for k in range(first, 100)} == {first}


def test_a_forecast_in_the_middle_of_its_interval_is_even_odds() -> None:
    assert probability_above(2.0, 0.1, 2.0, 1.645) == pytest.approx(0.5)
    assert probability_above(2.2, 0.1, 2.0, 1.645) > 0.9
    assert math.isnan(probability_above(2.0, math.inf, 2.0, 1.645))


def test_thinning_keeps_the_course() -> None:
    at_K = np.arange(1.0, 5001.0)
    thin_K, loss_K = thinned(at_K, 3 * at_K**-0.1)
    assert len(thin_K) <= 40
    assert np.abs(loss_K / (3 * thin_K**-0.1) - 1).max() < 0.01


def noisy_losses(rng: np.random.Generator, points: int = 400) -> np.ndarray:
    at_K = np.arange(1, points + 1)
    return (2 + 5 * at_K**-0.4) * np.exp(0.02 * rng.standard_t(4, points))


def test_noise_drift_and_a_small_shift_are_no_spike_and_a_jump_is_one_once() -> None:
    rng = np.random.default_rng(3)
    assert [spikes(noisy_losses(rng)) for _ in range(20)] == [[]] * 20
    loss_K = noisy_losses(rng)
    loss_K[200:] *= 1.06  # other data
    assert spikes(loss_K) == []
    loss_K[300:305] *= 2.0
    assert [k for k, _ in spikes(loss_K)] == [300]
