"""Paired differences of two checkpoints, against textbook tests and by simulation."""

import numpy as np
import pytest
from scipy import stats

from e2lm_signal.versus import paired, unpaired


def right_or_wrong(rng, items, first, second):
    """Answers of two models to shared items: what is hard for one is hard for the other."""
    skill_I = rng.normal(size=items)
    return [(skill_I + 0.7 * rng.normal(size=items) < stats.norm.ppf(p) * 1.22).astype(float) for p in (first, second)]


def test_p_of_right_or_wrong_is_mcnemars_exact_one():
    first_I, second_I = right_or_wrong(np.random.default_rng(0), 300, 0.5, 0.58)
    found = paired(first_I, second_I)
    up, down = int((second_I > first_I).sum()), int((second_I < first_I).sum())
    assert found.p == pytest.approx(stats.binomtest(up, up + down).pvalue)
    assert found.value == pytest.approx((up - down) / 300)


def test_interval_and_p_of_continuous_values_are_those_of_the_paired_t_test():
    rng = np.random.default_rng(1)
    first_I = rng.normal(size=80)
    second_I = first_I + 0.1 + 0.5 * rng.normal(size=80)
    found, expected = paired(first_I, second_I), stats.ttest_rel(second_I, first_I)
    assert found.p == pytest.approx(expected.pvalue)
    assert tuple(found.interval) == pytest.approx(tuple(expected.confidence_interval(0.9)))


def test_items_of_a_group_are_no_independent_evidence():
    rng = np.random.default_rng(2)
    of_group_G = rng.normal(0.1, 0.5, size=20)
    second_I = np.repeat(of_group_G, 10)
    group_I = np.repeat(np.arange(20), 10)
    alone, grouped = paired(np.zeros(200), second_I), paired(np.zeros(200), second_I, group_I)
    assert grouped.stderr == pytest.approx(of_group_G.std(ddof=1) / np.sqrt(20))
    assert grouped.stderr > 3 * alone.stderr
    assert grouped.groups == 20


@pytest.mark.parametrize(("items", "grouped"), [(30, False), (200, False), (200, True)])
def test_equal_models_differ_at_five_percent_in_about_five_percent_and_intervals_cover(items, grouped):
    rng = np.random.default_rng([3, items])
    group_I = np.repeat(np.arange(items // 10), 10) if grouped else None
    p, held = [], []
    for _ in range(400):
        common_I = np.repeat(rng.normal(size=items // 10), 10)[:items] if grouped else 0.0
        first_I, second_I = rng.normal(size=items), rng.normal(size=items) + common_I
        found = paired(first_I, second_I, group_I)
        p.append(found.p)
        held.append(found.interval.low <= 0 <= found.interval.high)
    assert np.mean(np.array(p) < 0.05) <= 0.05 + 0.033
    assert np.mean(held) == pytest.approx(0.9, abs=0.045)


def test_the_least_difference_that_shows_shows_in_eight_of_ten():
    rng = np.random.default_rng(4)
    least = paired(rng.normal(size=100), rng.normal(size=100)).least_that_shows
    shown = [paired(rng.normal(size=100), least + rng.normal(size=100)).p < 0.05 for _ in range(400)]
    assert np.mean(shown) == pytest.approx(0.8, abs=0.1)


def test_as_many_items_as_are_needed_show_the_measured_difference():
    rng = np.random.default_rng(5)
    found = paired(rng.normal(size=2_000), 0.15 + rng.normal(size=2_000))
    needed = found.items_needed
    shown = [paired(rng.normal(size=needed), found.value + rng.normal(size=needed)).p < 0.05 for _ in range(300)]
    assert np.mean(shown) == pytest.approx(0.8, abs=0.08)


def test_two_that_agree_everywhere_have_p_1_and_no_items_that_would_tell_them_apart():
    found = paired(np.ones(10), np.ones(10))
    assert (found.value, found.p, found.items_needed) == (0.0, 1.0, None)


def test_without_items_the_errors_are_added_as_of_other_items():
    found = unpaired((0.5, 0.03), (0.6, 0.04))
    assert found.p == pytest.approx(2 * stats.norm.sf(2.0))
    assert found.items_needed is None
