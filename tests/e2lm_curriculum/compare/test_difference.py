"""Intervals of differences over seeds x items cover as they say; verdicts are wrong as rarely as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from e2lm.interval import redrawn_counts_DI
from e2lm_curriculum.compare.difference import (
    Difference,
    holm,
    paired_difference,
    paired_differences,
    widening,
)
from e2lm_curriculum.compare.verdict import (
    NO_DIFFERENCE,
    course,
    detectable_difference,
    detectable_in_sd,
    explanation,
    power_of,
    seeds_needed,
    verdicts,
    whole_word,
)


def drawn_SI(
    rng: np.random.Generator, seeds: int, items: int, sd: tuple[float, float, float], delta: float = 0.0
) -> NDArray[np.float64]:
    """Differences of two arms: standard deviations of seeds, of items and of the rest."""
    seed_S1 = rng.normal(0, sd[0], (seeds, 1))
    item_I = rng.normal(0, sd[1], items)
    return delta + seed_S1 + item_I + rng.normal(0, sd[2], (seeds, items))


#: Seeds, items, and how they vary: dominated by seeds (held-out loss), by items (few minimal pairs), by the rest.
SETTINGS = [
    (5, 80, (0.006, 0.01, 0.02)),
    (3, 80, (0.006, 0.01, 0.02)),
    (5, 400, (0.01, 0.2, 0.5)),
    (5, 60, (0.0, 0.4, 0.4)),
    (10, 200, (0.02, 0.0, 0.3)),
    (5, 1, (0.02, 0.0, 0.0)),
]


@pytest.mark.parametrize(("seeds", "items", "sd"), SETTINGS)
def test_a_difference_of_nothing_is_outside_the_interval_in_at_most_5_of_100_cases(
    seeds: int, items: int, sd: tuple[float, float, float]
) -> None:
    rng = np.random.default_rng(0)
    found = paired_differences(np.stack([drawn_SI(rng, seeds, items, sd) for _ in range(3000)]))
    missed = np.mean([not one.low <= 0.0 <= one.high for one in found])
    assert 0.01 <= missed <= 0.058
    assert np.mean([one.p < 0.05 for one in found]) == pytest.approx(missed)


@pytest.mark.parametrize(("seeds", "items", "sd"), SETTINGS)
def test_an_effect_of_the_detectable_size_is_found_at_the_power_that_is_stated(
    seeds: int, items: int, sd: tuple[float, float, float]
) -> None:
    variance = sd[0] ** 2 / seeds + sd[1] ** 2 / items + sd[2] ** 2 / (seeds * items)
    delta = detectable_difference(variance**0.5, seeds - 1)
    rng = np.random.default_rng(1)
    found = paired_differences(np.stack([drawn_SI(rng, seeds, items, sd, delta) for _ in range(3000)]))
    # Where items carry the error there are more degrees of freedom than seeds - 1, and power beyond what is stated.
    assert 0.78 <= np.mean([one.p < 0.05 for one in found]) <= (0.86 if sd[1] < 0.1 else 1.0)


def test_vanilla_against_vanilla_is_no_detectable_difference_in_at_least_93_of_100_comparisons() -> None:
    """A whole comparison: held-out loss and six tasks, five seeds, Holm over all seven measures."""
    rng = np.random.default_rng(2)
    text = paired_differences(np.stack([drawn_SI(rng, 5, 70, (0.006, 0.0, 0.02)) for _ in range(1000)]))
    tasks = paired_differences(np.stack([drawn_SI(rng, 5, 100, (0.01, 0.05, 0.5)) for _ in range(6000)]))
    words = []
    for place, one in enumerate(text):
        found = verdicts([one, *tasks[6 * place : 6 * place + 6]], [False] + [True] * 6)
        words.append(whole_word([verdict.word for verdict in found]))
    assert np.mean([one == NO_DIFFERENCE for one in words]) >= 0.93


def test_a_planted_effect_is_found_at_least_at_the_power_that_the_verdict_states() -> None:
    rng = np.random.default_rng(3)
    sd = (0.006, 0.004, 0.02)
    stated = np.median(
        [verdicts([paired_difference(drawn_SI(rng, 5, 70, sd))] * 3, [False] * 3)[0].detectable for _ in range(500)]
    )
    planted = paired_differences(np.stack([drawn_SI(rng, 5, 70, sd, -float(stated)) for _ in range(1000)]))
    others = paired_differences(np.stack([drawn_SI(rng, 5, 70, sd) for _ in range(2000)]))
    found = [
        verdicts([one, *others[2 * place : 2 * place + 2]], [False] * 3)[0].word == "better"
        for place, one in enumerate(planted)
    ]
    assert np.mean(found) >= 0.78


def test_power_is_that_of_the_published_table() -> None:
    assert [detectable_in_sd(seeds) for seeds in (3, 5, 8, 10)] == pytest.approx([3.07, 2.02, 1.51, 1.32], abs=0.005)
    assert [seeds_needed(0.8, 1.0), seeds_needed(0.5, 1.0), seeds_needed(0.8, 0.5)] == [11, 4, 41]


@given(st.floats(0.001, 10.0), st.floats(2.0, 50.0))
def test_the_detectable_difference_is_detected_with_the_power_it_was_made_for(stderr: float, df: float) -> None:
    assert power_of(detectable_difference(stderr, df), stderr, df) == pytest.approx(0.8, abs=1e-4)


@given(st.integers(0, 10_000), st.integers(2, 8), st.integers(1, 30))
def test_a_difference_does_not_depend_on_the_order_of_seeds_or_items(seed: int, seeds: int, items: int) -> None:
    rng = np.random.default_rng(seed)
    d_SI = rng.normal(size=(seeds, items))
    one, other = paired_difference(d_SI), paired_difference(d_SI[rng.permutation(seeds)][:, rng.permutation(items)])
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))


def test_runs_that_are_the_same_do_not_differ() -> None:
    found = paired_difference(np.zeros((5, 10)))
    assert (found.value, found.p, found.stderr) == (0.0, 1.0, 0.0)


def test_holm_agrees_with_the_worked_example_of_its_definition() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_a_bootstrap_over_five_seeds_covers_once_it_is_widened_and_not_before() -> None:
    rng = np.random.default_rng(4)
    plain, wide = [], []
    for _ in range(1500):
        values_S = rng.normal(size=5)
        drawn_D = redrawn_counts_DI(5, 400, rng) @ values_S / 5
        half = 1.96 * drawn_D.std()
        plain.append(abs(values_S.mean()) <= half)
        wide.append(abs(values_S.mean()) <= half * widening(5))
    assert np.mean(plain) < 0.88
    assert 0.93 <= np.mean(wide) <= 0.97


def test_the_shuffle_explains_a_curriculum_whose_effect_is_re_weighting_alone() -> None:
    rng = np.random.default_rng(5)
    vanilla, matched, own = (drawn_SI(rng, 5, 70, (0.004, 0.01, 0.01), mean) for mean in (1.5, 1.4, 1.4))
    found = explanation(
        paired_difference(own - vanilla), paired_difference(matched - vanilla), paired_difference(own - matched), False
    )
    assert found.total.word == "better"
    assert found.sentence.startswith("Re-weighting explains it")
    assert found.total.difference.value == pytest.approx(
        found.reweighting.difference.value + found.order.difference.value
    )


def test_order_explains_a_curriculum_whose_shuffle_does_nothing() -> None:
    rng = np.random.default_rng(6)
    vanilla, matched, own = (drawn_SI(rng, 5, 70, (0.004, 0.01, 0.01), mean) for mean in (1.5, 1.5, 1.4))
    found = explanation(
        paired_difference(own - vanilla), paired_difference(matched - vanilla), paired_difference(own - matched), False
    )
    assert found.sentence.startswith("Order explains it")


def test_an_effect_whose_parts_are_too_small_to_see_is_left_unexplained() -> None:
    total = Difference(-0.045, -0.087, -0.004, 0.039, 0.015, 4.0)
    part = Difference(-0.022, -0.07, 0.03, 0.4, 0.02, 4.0)
    sentence = explanation(total, part, part, False).sentence
    assert sentence.startswith(
        "Re-weighting is not detectably different from vanilla (49% of the effect); order is not"
    )


def test_an_effect_that_is_gone_at_the_end_fades_by_the_first_checkpoint_without_it() -> None:
    rng = np.random.default_rng(7)
    sd = (0.002, 0.002, 0.01)
    deltas = (0.0, -0.1, -0.08, 0.0, 0.0)
    found = [paired_difference(drawn_SI(rng, 5, 70, sd, delta)) for delta in deltas]
    judged = course([0, 10, 100, 1000, 10_000], found, False, holm([one.p for one in found]))
    assert judged.sentence == "better from 10 tokens on, fades by 1k tokens"
    found = [paired_difference(drawn_SI(rng, 5, 70, sd, delta)) for delta in (0.0, -0.1, 0.1)]
    judged = course([0, 10, 100], found, False, holm([one.p for one in found]))
    assert judged.sentence == "better from 10 tokens on, worse at the end"


@given(st.integers(2, 12), st.integers(0, 10_000), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_without_items_a_difference_is_that_of_a_t_test(seeds: int, seed: int, confidence: float) -> None:
    d_S = 0.3 + np.random.default_rng(seed).normal(size=seeds)
    found, expected = paired_difference(d_S[:, None], confidence), stats.ttest_1samp(d_S, 0.0)
    assert (found.value, found.p) == pytest.approx((d_S.mean(), expected.pvalue))
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(confidence)))
    assert (found.stderr, found.df) == pytest.approx((stats.sem(d_S), seeds - 1))


def test_an_interval_that_does_not_say_otherwise_is_of_95_percent() -> None:
    d_S1 = np.array([[1.0], [2.0], [4.0]])
    assert paired_difference(d_S1) == paired_difference(d_S1, 0.95)


@pytest.mark.parametrize(("seeds", "items"), [(3, 7), (5, 80), (10, 4)])
def test_over_seeds_and_items_the_error_is_that_of_the_two_way_table(seeds: int, items: int) -> None:
    d_SI = drawn_SI(np.random.default_rng(8), seeds, items, (0.3, 0.5, 0.2))
    mean, of_seed_S, of_item_I = d_SI.mean(), d_SI.mean(axis=1), d_SI.mean(axis=0)
    of_seeds = items * ((of_seed_S - mean) ** 2).sum() / (seeds - 1)
    of_items = seeds * ((of_item_I - mean) ** 2).sum() / (items - 1)
    rest = ((d_SI - of_seed_S[:, None] - of_item_I + mean) ** 2).sum() / ((seeds - 1) * (items - 1))
    found = paired_difference(d_SI)
    assert found.stderr == pytest.approx(np.sqrt((of_seeds + of_items - rest) / (seeds * items)))
    # Cochran 1964: the quantile is the mean of both, weighted by the parts of the variance.
    share = of_seeds / (of_seeds + of_items - rest)
    quantile = share * stats.t.ppf(0.975, seeds - 1) + (1 - share) * stats.t.ppf(0.975, max(items, seeds) - 1)
    assert (found.high - found.low) / 2 == pytest.approx(quantile * found.stderr, rel=1e-4)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(found.value) / found.stderr, found.df))


def test_items_that_vary_less_than_the_rest_add_nothing() -> None:
    d_SI = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    alone = paired_difference(d_SI.mean(axis=1)[:, None] + np.array([[0.1], [-0.1], [0.2], [-0.2]]))
    found = paired_difference(d_SI + np.array([[0.1], [-0.1], [0.2], [-0.2]]))
    assert (found.stderr, found.df) == pytest.approx((alone.stderr, 3.0))


def test_differences_that_are_all_alike_are_certain() -> None:
    found = paired_difference(np.full((4, 3), 0.25))
    assert (found.value, found.low, found.high, found.p, found.df) == (0.25, 0.25, 0.25, 0.0, 3.0)
    with pytest.raises(ValueError, match="one seed has no spread"):
        paired_difference(np.ones((1, 5)))


@pytest.mark.parametrize(("seeds", "items", "sd"), SETTINGS)
def test_where_nothing_differs_p_is_below_each_level_as_often_as_it_says(
    seeds: int, items: int, sd: tuple[float, float, float]
) -> None:
    rng = np.random.default_rng(9)
    found = paired_differences(np.stack([drawn_SI(rng, seeds, items, sd) for _ in range(3000)]))
    p = np.array([one.p for one in found])
    # Where items carry the error the test is cautious; it is never more than sampling error too bold.
    for level in (0.01, 0.1, 0.5):
        assert np.mean(p < level) <= level + 3 * np.sqrt(level * (1 - level) / 3000)
    if not sd[1]:
        assert np.mean(p < 0.1) >= 0.1 - 4 * np.sqrt(0.09 / 3000)


@pytest.mark.parametrize(("seeds", "confidence"), [(3, 0.95), (5, 0.95), (5, 0.8)])
def test_a_bootstrap_is_widened_by_the_quotient_of_quantiles_and_its_shortfall(seeds: int, confidence: float) -> None:
    tail = 0.5 + confidence / 2
    expected = stats.t.ppf(tail, seeds - 1) / stats.norm.ppf(tail) * np.sqrt(seeds / (seeds - 1))
    assert widening(seeds, confidence) == pytest.approx(expected)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=9))
def test_holm_is_the_largest_of_all_steps_so_far_and_at_most_one(p: list[float]) -> None:
    ordered = sorted(p)
    steps = [min(1.0, (len(p) - rank) * one) for rank, one in enumerate(ordered)]
    expected = {one: max(steps[: rank + 1]) for rank, one in enumerate(ordered)}
    assert sorted(holm(p)) == pytest.approx([max(steps[: rank + 1]) for rank in range(len(p))])
    assert all(found >= one for found, one in zip(holm(p), p, strict=True))
    assert all(found <= expected[one] + 1e-12 for found, one in zip(holm(p), p, strict=True))


def test_holm_with_weights_is_holms_own_procedure_and_wrong_as_rarely() -> None:
    rng = np.random.default_rng(11)
    weights = [0.5, 0.25, 0.15, 0.1]
    wrong = []
    for p_M in rng.uniform(size=(2000, 4)) ** 2:
        left, rejected = dict(enumerate(p_M)), set()
        while left:  # step by step, as defined: the smallest p / weight against the level over the weights left
            place = min(left, key=lambda one: left[one] / weights[one])
            if left[place] / weights[place] >= 0.05 / sum(weights[one] for one in left):
                break
            rejected.add(place)
            del left[place]
        assert {place for place, p in enumerate(holm(list(p_M), weights)) if p < 0.05} == rejected
    for p_M in rng.uniform(size=(4000, 4)):
        wrong.append(min(holm(list(p_M), weights)) < 0.05)
    assert 0.04 <= np.mean(wrong) <= 0.056


def test_holm_is_wrong_about_any_of_seven_in_at_most_one_of_twenty_families() -> None:
    p_RM = np.random.default_rng(10).uniform(size=(4000, 7))
    wrong = np.mean([min(holm(list(row))) < 0.05 for row in p_RM])
    assert 0.04 <= wrong <= 0.056
