from __future__ import annotations

import numpy as np
import pytest

from e2lm import UserError
from e2lm_scaling.forecast.curve import (
    _forecast,
    compare_ends,
    forecast_with_schedule,
    forecast_without_schedule,
)
from e2lm_scaling.laws.schedule import (
    DROP_RATIO,
    SHAPE,
    MultiPowerLaw,
    ObservedCurve,
    RateSchedule,
    TissueLaw,
    fit_multi_power,
    fit_tissue,
    multi_power_drop,
    schedule_of,
    tissue_drop,
)

COSINE = RateSchedule("cosine", 3e-4, 8000, 400, 3e-5)
STEPS = np.arange(500, 8001, 250)
PUBLISHED = MultiPowerLaw(3.04, 0.525, 0.508, DROP_RATIO * 0.525 / 3e-4, *SHAPE)


@pytest.mark.parametrize("kind", ["constant", "cosine", "linear", "wsd", "wsd-linear", "step"])
def test_schedules_rise_to_the_peak_and_never_above(kind):
    rates = RateSchedule(kind, 1e-3, 100, 10, 1e-4, 60).rates_S
    assert len(rates) == 101
    assert rates[0] == 0.0
    assert rates.max() == pytest.approx(1e-3)
    assert np.all(np.diff(rates[10:]) <= 1e-15)
    assert rates[-1] == pytest.approx(1e-3 if kind == "constant" else 1e-4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cosin:peak=1,steps=9", "Did you mean 'cosine'"),
        ("cosine:steps=9", "peak and steps are needed"),
        ("cosine:peak=x,steps=9", "a number is expected"),
        ("cosine:peak=1,stops=9", "not understood"),
        ("cosine:peak=1,steps=9,warmup=20", "warmup below steps"),
        ("wsd:peak=1,steps=9", "final must be above 0"),
    ],
)
def test_mistaken_schedules_are_explained(text, words):
    with pytest.raises(UserError, match=words):
        schedule_of(text)


def test_schedule_laws_refit_their_own_curves():
    tissue = TissueLaw(2.5, 0.6, 0.45, 0.5)
    for law, refit in ((PUBLISHED, fit_multi_power), (tissue, fit_tissue)):
        truth = law.loss(COSINE.rates_S, STEPS)
        again = refit([ObservedCurve(COSINE.rates_S, STEPS, truth)])
        assert again.loss(COSINE.rates_S, STEPS) == pytest.approx(truth, rel=1e-3)


def test_a_constant_rate_drops_nothing_after_the_warm_up():
    constant = RateSchedule("constant", 3e-4, 2000, 100)
    assert tissue_drop(constant.rates_S, np.array([500, 2000]), 0.999) == pytest.approx([0.0, 0.0])
    early, late = multi_power_drop(constant.rates_S, np.array([500, 2000]), SHAPE)
    assert early < 0  # the rise of the warm-up counts as a negative fall
    assert late <= early


def test_a_forecast_under_the_schedule_foresees_the_anneal():
    schedule = RateSchedule("wsd-linear", 3e-4, 8000, 400, 3e-5, 6000)
    rng = np.random.default_rng(0)
    early = STEPS[STEPS <= 4000]
    loss = PUBLISHED.loss(schedule.rates_S, early) * np.exp(0.001 * rng.normal(size=len(early)))
    forecast = forecast_with_schedule(schedule.rates_S, early, loss)
    truth = float(PUBLISHED.loss(schedule.rates_S, np.array([8000]))[0])
    assert forecast.low is not None
    assert forecast.high is not None
    assert forecast.low < truth < forecast.high
    assert forecast.value == pytest.approx(truth, rel=0.01)
    assert "not foreseen" in str(forecast_without_schedule(early * 1e6, loss, 8e9).method)


def test_a_power_curve_is_forecast_by_power_laws():
    tokens = np.geomspace(1e8, 1e10, 12)
    forecast = forecast_without_schedule(tokens, 40 / tokens**0.15, 1e11)
    assert forecast.value == pytest.approx(40 / 1e11**0.15, rel=0.01)


def test_probabilities_of_two_ends_add_to_one_and_fall_with_distance():
    rng = np.random.default_rng(0)
    tokens = np.arange(1, 13) * 1e9
    first, second = 0.5 + 0.01 * rng.normal(size=12), 0.45 + 0.01 * rng.normal(size=12)
    forth, back = compare_ends(tokens, first, second, 5e10), compare_ends(tokens, second, first, 5e10)
    assert forth.above_probability + back.above_probability == pytest.approx(1.0)
    assert forth.above_probability > 0.9
    assert compare_ends(tokens, first, second, 5e12).above_probability < forth.above_probability


def test_equal_curves_are_a_coin_toss():
    tokens = np.arange(1, 9) * 1e9
    assert compare_ends(tokens, np.ones(8), np.ones(8), 1e11).above_probability == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("steps", "loss", "words"),
    [
        (STEPS[:3], np.ones(3), "too few"),
        (STEPS, np.full(len(STEPS), np.nan), "finite number"),
        (STEPS + 5000, np.ones(len(STEPS)), "beyond the schedule"),
    ],
)
def test_unusable_curves_are_explained(steps, loss, words):
    with pytest.raises(UserError, match=words):
        forecast_with_schedule(COSINE.rates_S, steps, loss)


def half_width(forecast) -> float:
    assert np.log(forecast.high / forecast.value) == pytest.approx(np.log(forecast.value / forecast.low))
    return float(np.log(forecast.high / forecast.value))


def test_beyond_a_curve_without_noise_the_drift_and_a_share_of_the_change_make_an_interval():
    tokens = np.geomspace(1e8, 1e10, 12)
    forecast = forecast_without_schedule(tokens, 40 / tokens**0.15, 1e11)
    change = 0.15 * np.log(1e11 / tokens[-2])
    assert half_width(forecast) == pytest.approx(1.6448536 * np.hypot(0.004 * np.log(10), 0.35 * change), rel=0.02)


def test_a_curve_that_rises_has_no_end_to_forecast_and_noise_is_no_rise():
    tokens = np.geomspace(1e8, 1e10, 30)
    falling = 40 / tokens**0.15
    with pytest.raises(UserError, match="the run diverges"):
        forecast_without_schedule(tokens, np.where(tokens > 3e9, 1.5, 1.0) * falling, 1e11)
    flat = 3 * np.exp(np.random.default_rng(0).normal(0, 0.01, 30))
    assert forecast_without_schedule(tokens, flat, 1e11).has_interval
    spiked = falling.copy()
    spiked[25] *= 2
    assert forecast_without_schedule(tokens, spiked, 1e11).value < falling[-1] * 1.01


def test_what_the_schedule_still_has_to_drop_is_doubted_by_15_percent():
    schedule = RateSchedule("wsd-linear", 3e-4, 8000, 400, 3e-5, 6000)
    early = STEPS[STEPS <= 4000]
    forecast = forecast_with_schedule(schedule.rates_S, early, PUBLISHED.loss(schedule.rates_S, early))
    before, after = multi_power_drop(schedule.rates_S, np.array([4000, 8000]), SHAPE)
    total = np.cumsum(schedule.rates_S)
    doubt = 0.15 * PUBLISHED.drop * (after - before) / forecast.value
    drift = 0.004 * np.log(total[-1] / total[4000])
    assert half_width(forecast) == pytest.approx(1.6448536 * np.hypot(doubt, drift), rel=0.02)


@pytest.mark.parametrize(("distance", "growth"), [(0.0, 1.0), (np.log(1.5), 1.0), (4 * np.log(1.5), 4.0)])
def test_the_error_on_the_last_third_grows_with_the_square_root_of_distance(distance, growth):
    found = _forecast(np.log(3.0), 0.01, distance, "words", 0.02)
    assert found.value == pytest.approx(3.0)
    expected = 1.6448536 * np.sqrt(growth * 0.01**2 + (0.004 * distance) ** 2 + 0.02**2)
    assert half_width(found) == pytest.approx(expected)


def test_two_ends_differ_by_the_noise_of_now_and_then_and_by_the_wandering_in_between():
    tokens = np.geomspace(1e9, 8e9, 8)
    difference = np.array([0.0, 0.01, -0.01, 0.0, 0.03, 0.02, 0.03, 0.04])
    found = compare_ends(tokens, 0.5 + difference, np.full(8, 0.5), 8e9 * np.e)
    noise = np.var(difference[-6:], ddof=1)
    moved = 0.03 - 0.0
    span = np.log(tokens[4:]).mean() - np.log(tokens[:4]).mean()
    assert found.difference == pytest.approx(0.03)
    assert found.stderr == pytest.approx(np.sqrt(noise / 3 + noise + moved**2 / span))
    assert compare_ends(tokens, 0.5 + difference, np.full(8, 0.5), 8e9).stderr == pytest.approx(np.sqrt(noise * 4 / 3))
