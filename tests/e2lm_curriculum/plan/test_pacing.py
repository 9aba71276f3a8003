"""Pacing functions against the numbers computed from CLIMB's own settings: 400,000 steps, start 25,000, end 350,000."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2lm.curriculum import TrainingBudget
from e2lm_curriculum.plan.builder import chosen_curriculum
from e2lm_curriculum.plan.pacing import CLIMB_LINEAR, CLIMB_LOG, Pacing, step_fractions
from e2lm_curriculum.plan.ranking import exposure_by_part
from e2lm_curriculum.plan.setting import CurriculumSetting

STEPS = 400_000
AT = np.array([25_000, 50_000, 100_000, 200_000, 300_000]) / STEPS

SHARES = {
    "linear": [0.10, 0.17, 0.31, 0.58, 0.86],
    "root": [0.10, 0.35, 0.53, 0.76, 0.93],
    "quad": [0.10, 0.11, 0.15, 0.36, 0.74],
    "exp": [0.10, 0.10, 0.10, 0.11, 0.29],
    "log": [0.10, 0.77, 0.87, 0.94, 0.98],
    "step": [0.10, 0.10, 0.10, 0.10, 0.10],
}

#: How often the easiest tenth, and the hardest hundredth, is seen for once under uniform sampling.
EXPOSURE = {
    "linear": (2.83, 0.130),
    "root": (2.09, 0.134),
    "quad": (4.13, 0.127),
    "exp": (7.01, 0.125),
    "log": (1.66, 0.169),
    "step": (8.88, 0.125),
}


def setting(kind: str) -> CurriculumSetting:
    return CurriculumSetting.from_data({"difficulty": "length", "mode": "pool", "pacing": {"kind": kind}}, "test")


@pytest.mark.parametrize("kind", SHARES)
def test_each_pacing_has_the_published_shares(kind: str) -> None:
    assert np.allclose(Pacing(kind=kind).share(AT), SHARES[kind], atol=0.0051)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", EXPOSURE)
def test_a_pool_is_exposed_as_integrating_its_pacing_says(kind: str) -> None:
    share_S = Pacing(kind=kind).share(step_fractions(STEPS))  # type: ignore[arg-type]
    easiest = np.mean(np.minimum(1.0, 0.1 / share_S)) / 0.1
    hardest = np.mean(np.maximum(0.0, share_S - 0.99) / share_S) / 0.01
    assert easiest == pytest.approx(EXPOSURE[kind][0], abs=0.01)
    assert hardest == pytest.approx(EXPOSURE[kind][1], abs=0.001)


@pytest.mark.parametrize("kind", EXPOSURE)
def test_a_plan_shows_what_its_pacing_says(kind: str) -> None:
    samples = 20_000
    budget = TrainingBudget(20_000, 8, 128)
    scores_X = np.arange(samples, dtype=float)
    plan = chosen_curriculum(setting(kind)).plan(scores_X, budget, np.random.default_rng(0))
    counts_X = plan.exposure(samples)
    assert exposure_by_part(counts_X, scores_X)[0] == pytest.approx(EXPOSURE[kind][0], abs=0.1)
    assert exposure_by_part(counts_X, scores_X, parts=100)[-1] == pytest.approx(EXPOSURE[kind][1], abs=0.06)


def test_the_step_pacing_ignores_its_start_and_ends_at_the_maximum() -> None:
    pacing = Pacing(kind="step", start=0.5, end=0.6, maximum=0.9)
    assert pacing.share(np.array([0.0, 0.59, 0.6, 1.0])).tolist() == [0.1, 0.1, 0.9, 0.9]


def test_competence_is_that_of_platanios() -> None:
    # Equation 7 of arXiv 1903.09848: min(1, sqrt(t (1 - c0^2) / T + c0^2)), c0 = 0.01, here T = half of training.
    pacing = Pacing(kind="competence", start=0.0, end=0.5, starting_share=0.01, power=2.0)
    t = np.linspace(0.0, 1.0, 11)
    expected = np.minimum(1.0, np.sqrt(np.minimum(t / 0.5, 1.0) * (1 - 0.01**2) + 0.01**2))
    assert np.allclose(pacing.share(t), expected)


def test_square_root_competence_is_skewed_as_computed() -> None:
    share_S = Pacing(kind="competence", start=0.0, end=0.5, starting_share=0.01).share(step_fractions(STEPS))
    assert np.mean(np.minimum(1.0, 0.1 / share_S)) / 0.1 == pytest.approx(1.45, abs=0.01)
    assert np.mean(np.maximum(0.0, share_S - 0.999) / share_S) / 0.001 == pytest.approx(0.50, abs=0.01)


def test_linear_competence_is_skewed_as_its_integral_says() -> None:
    share_S = Pacing(kind="competence", start=0.0, end=0.5, starting_share=0.01, power=1.0).share(step_fractions(STEPS))
    # c = 0.01 + 1.98 t up to t = 1/2: below c = 0.1 every draw is one of the tenth, from there on 0.1 / c of them.
    expected = 10 * 0.09 / 1.98 + np.log(10) / 1.98 + 0.5
    assert np.mean(np.minimum(1.0, 0.1 / share_S)) / 0.1 == pytest.approx(expected, abs=0.001)
    assert np.mean(np.maximum(0.0, share_S - 0.999) / share_S) / 0.001 == pytest.approx(0.50, abs=0.01)


@given(
    st.sampled_from(sorted(SHARES)),
    st.floats(0.0, 0.4),
    st.floats(0.5, 1.0),
    st.floats(0.01, 0.5),
    st.floats(0.5, 1.0),
)
def test_a_pacing_rises_from_its_start_to_its_maximum(
    kind: str, start: float, end: float, low: float, high: float
) -> None:
    pacing = Pacing(kind=kind, start=start, end=end, starting_share=low, maximum=high)  # type: ignore[arg-type]
    share_S = pacing.share(np.linspace(0.0, 1.0, 101))
    assert share_S[0] == pytest.approx(low, abs=1e-4)
    assert share_S[-1] == pytest.approx(high, abs=1e-4)
    assert (np.diff(share_S) >= -1e-12).all()


#: x, the share of the way from start to end, and what each kind makes of it; reckoned from CLIMB's formulas alone.
RISES = {
    "linear": {0.25: 0.25, 0.5: 0.5, 0.75: 0.75},
    "quad": {0.25: 0.0625, 0.5: 0.25, 0.75: 0.5625},
    "root": {0.25: 0.5, 0.5: 0.7071067812, 0.75: 0.8660254038},
    # (e^2.5 - 1) / (e^10 - 1), (e^5 - 1) / (e^10 - 1) = 1 / (e^5 + 1), (e^7.5 - 1) / (e^10 - 1)
    "exp": {0.25: 0.000507707, 0.5: 0.006692851, 0.75: 0.082043323},
    # 1 + ln(x + e^-10) / 10
    "log": {0.25: 0.861388722, 0.5: 0.930694362, 0.75: 0.971237846},
}


@pytest.mark.parametrize("kind", RISES)
@pytest.mark.parametrize(("start", "end", "low", "high"), [(0.2, 0.6, 0.1, 0.9), (0.0, 1.0, 0.05, 0.55)])
def test_between_start_and_end_a_pacing_is_its_formula(
    kind: str, start: float, end: float, low: float, high: float
) -> None:
    pacing = Pacing.from_data(
        {"kind": kind, "start": start, "end": end, "starting_share": low, "maximum": high}, "test"
    )
    for x, risen in RISES[kind].items():
        (share,) = pacing.share(np.array([start + x * (end - start)]))
        assert share == pytest.approx(low + (high - low) * risen, abs=1e-7)
    assert pacing.share(np.array([0.0]))[0] == pytest.approx(low, abs=1e-9)
    assert pacing.share(np.array([1.0]))[0] == pytest.approx(high, abs=1e-5)


@pytest.mark.parametrize("kind", [*RISES, "competence"])
def test_a_pacing_waits_for_its_start_and_stays_below_its_maximum(kind: str) -> None:
    pacing = Pacing.from_data({"kind": kind, "start": 0.5, "end": 0.6, "starting_share": 0.3, "maximum": 0.7}, "test")
    assert pacing.share(np.array([0.0, 0.49])).tolist() == [0.3, 0.3]
    assert pacing.share(np.array([0.5]))[0] == pytest.approx(0.3, abs=1e-9)
    assert pacing.share(np.array([0.61, 1.0])) == pytest.approx([0.7, 0.7], abs=1e-5)


def test_a_constant_pacing_shows_everything_from_the_first_step() -> None:
    assert Pacing(kind="constant").share(np.array([0.0, 0.5, 1.0])).tolist() == [1.0, 1.0, 1.0]


def test_competence_of_another_power_is_that_of_its_formula() -> None:
    # (x (1 - b^3) + b^3)^(1/3) with b = 0.2: at x = 1/2 the cube root of 0.504.
    pacing = Pacing(kind="competence", start=0.2, end=0.6, starting_share=0.2, power=3.0)
    assert pacing.share(np.array([0.4]))[0] == pytest.approx(0.795811, abs=1e-6)
    assert Pacing(kind="competence", starting_share=0.6, start=0.0, end=1.0).share(np.array([0.5]))[0] == pytest.approx(
        np.sqrt(0.68)
    )


def test_a_pacing_that_says_nothing_is_climbs() -> None:
    told = Pacing()
    assert (told.kind, told.start * STEPS, told.end * STEPS) == ("linear", 25_000, 350_000)
    assert (told.starting_share, told.maximum) == (0.1, 1.0)
    assert (told, Pacing(kind="log")) == (CLIMB_LINEAR, CLIMB_LOG)


def test_the_share_of_tokens_seen_is_that_before_each_step() -> None:
    assert step_fractions(5).tolist() == [0.0, 0.2, 0.4, 0.6, 0.8]
