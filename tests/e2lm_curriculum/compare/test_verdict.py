"""Power and p-values against distributions they should have, by closed form and by drawing; words at their borders."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from e2lm_curriculum.compare.difference import Difference, holm, paired_differences
from e2lm_curriculum.compare.verdict import (
    ALPHA,
    NO_DIFFERENCE,
    POWER,
    Course,
    course,
    detectable_difference,
    detectable_in_sd,
    explanation,
    median_unbiased,
    power_of,
    seeds_needed,
    verdicts,
    whole_word,
    word,
)


def told(value: float, p: float, stderr: float = 1.0, df: float = 4.0) -> Difference:
    return Difference(value, value - 2 * stderr, value + 2 * stderr, p, stderr, df)


@pytest.mark.parametrize("df", [2.0, 4.0, 7.5, 18.0, 200.0])
@pytest.mark.parametrize("centre", [0.0, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_power_is_that_of_the_non_central_t(df: float, centre: float, alpha: float) -> None:
    edge = stats.t.ppf(1 - alpha / 2, df)
    expected = stats.nct.sf(edge, df, centre) + stats.nct.cdf(-edge, df, centre)
    assert power_of(centre, 1.0, df, alpha) == pytest.approx(expected, abs=2e-6)
    assert power_of(-3.0 * centre, 3.0, df, alpha) == pytest.approx(expected, abs=2e-6)
    assert power_of(0.004 * centre, 0.004, df, alpha) == pytest.approx(expected, abs=2e-6)


def test_power_is_the_share_of_drawn_experiments_that_see_the_effect() -> None:
    rng = np.random.default_rng(0)
    d_RS = 1.5 + rng.normal(size=(20_000, 5))
    t_R = d_RS.mean(axis=1) / (d_RS.std(axis=1, ddof=1) / np.sqrt(5))
    seen = np.mean(np.abs(t_R) > stats.t.ppf(0.975, 4))
    assert power_of(1.5, 1 / math.sqrt(5), 4.0) == pytest.approx(seen, abs=0.01)


def test_without_any_error_every_difference_is_seen_and_none_is_needed() -> None:
    assert power_of(0.1, 0.0, 4.0) == 1.0
    assert power_of(0.0, 0.0, 4.0) == ALPHA
    assert detectable_difference(0.0, 4.0) == 0.0


@pytest.mark.parametrize(("df", "alpha", "power"), [(2.0, 0.05, 0.8), (4.0, 0.05 / 7, 0.8), (18.0, 0.01, 0.9)])
def test_a_detectable_difference_has_its_power_and_grows_with_the_error(df: float, alpha: float, power: float) -> None:
    found = detectable_difference(0.25, df, alpha, power)
    edge = stats.t.ppf(1 - alpha / 2, df)
    assert stats.nct.sf(edge, df, found / 0.25) == pytest.approx(power, abs=1e-4)
    assert detectable_difference(0.5, df, alpha, power) == pytest.approx(2 * found, rel=1e-5)
    assert detectable_difference(0.005, df, alpha, power) == pytest.approx(found / 50, rel=1e-5)


def test_an_effect_that_no_experiment_could_see_is_infinitely_large() -> None:
    assert detectable_difference(1.0, 1.0, alpha=1e-12) == math.inf


def test_verdicts_are_at_five_percent_and_four_of_five_experiments() -> None:
    assert (ALPHA, POWER) == (0.05, 0.8)


@pytest.mark.parametrize("seeds", [2, 3, 5, 8, 10, 30])
def test_two_unpaired_arms_see_what_a_t_test_on_both_sees(seeds: int) -> None:
    df, found = 2 * seeds - 2, detectable_in_sd(seeds)
    edge = stats.t.ppf(0.975, df)
    assert stats.nct.sf(edge, df, found * math.sqrt(seeds / 2)) == pytest.approx(0.8, abs=1e-4)


@pytest.mark.parametrize(("sd", "difference"), [(0.8, 1.0), (0.5, 1.0), (0.8, 0.5), (0.1, 0.05), (2.0, 0.7)])
def test_seeds_needed_are_those_of_the_normal_approximation(sd: float, difference: float) -> None:
    exact = 2 * (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) ** 2 * (sd / difference) ** 2
    assert exact == pytest.approx(15.7 * (sd / difference) ** 2, rel=1e-3)
    assert exact <= seeds_needed(sd, difference) < exact + 1


@pytest.mark.parametrize("df", [2, 4, 9])
def test_a_median_unbiased_error_is_above_the_true_one_half_of_the_time(df: int) -> None:
    assert median_unbiased(2.0, df) == pytest.approx(2.0 * math.sqrt(df / stats.chi2.median(df)), rel=1e-9)
    drawn_R = np.random.default_rng(1).normal(size=(20_000, df + 1)).std(axis=1, ddof=1)
    assert np.mean(drawn_R * median_unbiased(1.0, df) > 1.0) == pytest.approx(0.5, abs=0.015)


def test_a_verdict_states_what_holms_first_step_could_have_seen() -> None:
    (alone,) = verdicts([told(0.1, 0.5, stderr=0.3)], [True])
    of_three = verdicts([told(0.1, 0.5, stderr=0.3)] * 3, [True] * 3)
    stderr = median_unbiased(0.3, 4.0)
    assert alone.detectable == pytest.approx(detectable_difference(stderr, 4.0, 0.05))
    assert [one.detectable for one in of_three] == pytest.approx([detectable_difference(stderr, 4.0, 0.05 / 3)] * 3)
    assert [one.p_holm for one in of_three] == [1.0] * 3


@pytest.mark.parametrize(
    ("value", "p", "higher", "expected"),
    [
        (0.1, 0.0499, True, "better"),
        (0.1, 0.0499, False, "worse"),
        (-0.1, 0.0499, True, "worse"),
        (-0.1, 0.0499, False, "better"),
        (0.1, 0.05, True, NO_DIFFERENCE),
    ],
)
def test_a_word_is_said_below_five_percent_and_in_the_right_direction(
    value: float, p: float, higher: bool, expected: str
) -> None:
    assert word(told(value, p), p, higher) == expected


def test_the_whole_word_is_mixed_only_where_measures_contradict_each_other() -> None:
    assert whole_word([NO_DIFFERENCE, NO_DIFFERENCE]) == NO_DIFFERENCE
    assert whole_word(["worse", NO_DIFFERENCE, "worse"]) == "worse"
    assert whole_word(["worse", NO_DIFFERENCE, "better"]) == "mixed"


def course_alone(tokens_K: Sequence[float], found_K: Sequence[Difference], higher_is_better: bool) -> Course:
    """Nothing else is asked: Holm over the checkpoints after step 0."""
    trained = [place for place, tokens in enumerate(tokens_K) if tokens > 0]
    adjusted = dict(zip(trained, holm([found_K[place].p for place in trained]), strict=True))
    return course(tokens_K, found_K, higher_is_better, [adjusted.get(place, 1.0) for place in range(len(tokens_K))])


def test_where_nothing_differs_a_course_sees_something_in_at_most_one_of_twenty_runs() -> None:
    rng = np.random.default_rng(2)
    seen = []
    for _ in range(1500):
        # Checkpoints of one run go together: the error of a seed is the same at all of them, and some is their own.
        shared_S1, own_SK = rng.normal(size=(5, 1)), rng.normal(size=(5, 4))
        d_SK = 0.5 * shared_S1 + own_SK
        found = course_alone([10.0, 20.0, 40.0, 80.0], paired_differences(d_SK.T[:, :, None]), True)
        seen.append(found.first_tokens is not None)
    assert 0.02 <= np.mean(seen) <= 0.058


def test_a_course_leaves_step_0_out_and_tells_the_first_and_the_last_checkpoint_with_an_effect() -> None:
    clear, vague = told(1.0, 1e-6), told(0.1, 0.8)
    found = course_alone([0.0, 10.0, 20.0, 40.0, 80.0], [clear, vague, clear, clear, vague], True)
    assert (found.first_tokens, found.first_word) == (20.0, "better")
    assert (found.fades_by_tokens, found.last_word) == (80.0, NO_DIFFERENCE)
    lasting = course_alone([0.0, 10.0, 20.0], [vague, vague, clear], False)
    assert (lasting.first_tokens, lasting.fades_by_tokens, lasting.last_word) == (20.0, None, "worse")
    assert lasting.sentence == "worse from 20 tokens on, lasts to the end"
    assert course_alone([0.0, 10.0], [clear, vague], True).sentence == "no detectable difference at any checkpoint"


@pytest.mark.parametrize(
    ("reweighting", "sentence"),
    [(0.75, "Re-weighting explains it"), (0.749, "Re-weighting explains a part of it")],
)
def test_three_quarters_of_an_effect_are_it_and_less_is_a_part(reweighting: float, sentence: str) -> None:
    found = explanation(told(1.0, 1e-6), told(reweighting, 1e-6), told(1 - reweighting, 0.8), True)
    assert found.sentence.startswith(sentence)
    assert f"makes {reweighting:.0%} of the effect" in found.sentence


def test_parts_that_cancel_each_other_are_told() -> None:
    found = explanation(told(0.0, 0.9), told(1.0, 1e-6), told(-1.0, 1e-6), True)
    assert found.sentence == "Re-weighting alone is better, order alone is worse: they cancel each other."
    nothing = explanation(told(0.0, 0.9), told(1.0, 1e-6), told(-1.0, 0.5), True)
    assert nothing.sentence == "There is no detectable effect to explain."
