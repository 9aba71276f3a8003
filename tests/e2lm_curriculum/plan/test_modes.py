from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from e2lm.curriculum import TrainingBudget
from e2lm_curriculum.plan.modes import (
    MODES,
    full_coverage_order,
    grouped_order,
    pool_order,
    stage_borders,
    staged_order,
)
from e2lm_curriculum.plan.pacing import Pacing
from e2lm_curriculum.plan.ranking import exposure_by_part, ranking
from e2lm_curriculum.plan.setting import CurriculumSetting

LINEAR = CurriculumSetting(pacing=Pacing(kind="linear", start=0.0, end=1.0, starting_share=0.1))
budgets = st.builds(TrainingBudget, steps=st.integers(1, 30), batch_size=st.integers(1, 9), sequence_length=st.just(8))
scores = st.lists(st.sampled_from([0.0, 1.0, 1.5, -2.0, 7.0]), min_size=1, max_size=50).map(np.array)


@given(st.sampled_from(sorted(MODES)), scores, budgets, st.integers(0, 2**31 - 1))
def test_every_mode_is_a_pure_function_that_fills_the_budget_with_known_examples(
    mode: str, scores_X: np.ndarray, budget: TrainingBudget, seed: int
) -> None:
    first, second = (MODES[mode](scores_X, budget, LINEAR, np.random.default_rng(seed)) for _ in range(2))
    assert np.array_equal(first, second)
    assert first.shape == (budget.steps, budget.batch_size)
    assert first.min() >= 0
    assert first.max() < len(scores_X)


@example(np.array([0.0, 1.0, 1.0, 1.0]), 1 / 3)
@given(scores, st.floats(0.0, 1.0))
def test_a_pool_is_what_scores_at_most_the_percentile(scores_X: np.ndarray, share: float) -> None:
    # CLIMB: {i : score_i <= percentile(scores, 100 p)}; ties are all in, whatever their number.
    expected = int((scores_X <= np.percentile(scores_X, 100 * share)).sum())
    assert ranking(scores_X).pool_sizes(np.array([share]), 1)[0] == expected


def test_few_distinct_scores_make_the_pool_grow_in_jumps() -> None:
    ranked = ranking(np.repeat([1.0, 2.0, 3.0], 100))
    sizes = ranked.pool_sizes(np.linspace(0.0, 1.0, 101), 1)
    assert sorted(set(sizes.tolist())) == [100, 200, 300]


def test_a_pool_is_never_smaller_than_a_batch_and_a_batch_has_no_example_twice() -> None:
    budget = TrainingBudget(200, 16, 8)
    plan_SB = pool_order(np.arange(40.0), budget, LINEAR, np.random.default_rng(0))
    assert set(plan_SB[0].tolist()) == set(range(16))  # a tenth of 40 would be 4
    assert all(len(set(row)) == 16 for row in plan_SB.tolist())


def test_draws_of_a_large_pool_are_uniform_also_within_a_batch() -> None:
    plan_SB = pool_order(
        np.arange(100.0),
        TrainingBudget(20_000, 8, 8),
        CurriculumSetting(pacing=Pacing(kind="constant")),
        np.random.default_rng(0),
    )
    assert all(len(set(row)) == 8 for row in plan_SB[:2000].tolist())
    counts_X = np.bincount(plan_SB.ravel(), minlength=100)
    # 1600 expected each; five standard deviations of a binomial.
    assert np.abs(counts_X - 1600).max() < 5 * np.sqrt(1600)


def test_stages_are_distinct_cover_the_corpus_and_never_split_equal_scores() -> None:
    scores_X = np.repeat([3.0, 1.0, 2.0], [30, 50, 20])
    plan_SB = staged_order(scores_X, TrainingBudget(25, 4, 8), LINEAR, np.random.default_rng(0))
    assert scores_X[plan_SB.ravel()].tolist() == [1.0] * 50 + [2.0] * 20 + [3.0] * 30
    assert sorted(plan_SB.ravel().tolist()) == list(range(100))


@given(scores, st.integers(1, 5), st.integers(0, 2**31 - 1))
def test_full_coverage_shows_each_example_once_per_epoch_from_easy_to_hard(
    scores_X: np.ndarray, epochs: int, seed: int
) -> None:
    budget = TrainingBudget(len(scores_X) * epochs, 1, 8)
    plan_N = full_coverage_order(scores_X, budget, LINEAR, np.random.default_rng(seed)).ravel()
    for epoch_X in plan_N.reshape(epochs, len(scores_X)):
        assert sorted(epoch_X.tolist()) == list(range(len(scores_X)))
        assert (np.diff(scores_X[epoch_X]) >= 0).all()


def test_a_warm_up_turns_into_shuffled_epochs() -> None:
    options = CurriculumSetting(pacing=LINEAR.pacing, share=0.2)
    plan_SB = MODES["warm-up"](np.arange(100.0), TrainingBudget(125, 4, 8), options, np.random.default_rng(0))
    assert plan_SB[0].max() < 10
    assert sorted(plan_SB[25:50].ravel().tolist()) == list(range(100))
    assert not np.array_equal(plan_SB[25:50], np.sort(plan_SB[25:50].ravel()).reshape(25, 4))


def test_groups_are_of_equal_difficulty_and_in_random_order() -> None:
    plan_SB = grouped_order(np.arange(100.0), TrainingBudget(25, 4, 8), LINEAR, np.random.default_rng(0))
    assert all(max(row) - min(row) == 3 for row in plan_SB.tolist())
    assert sorted(plan_SB.ravel().tolist()) == list(range(100))
    assert abs(np.corrcoef(np.arange(25), plan_SB.mean(axis=1))[0, 1]) < 0.5


def test_with_as_many_scores_as_stages_each_is_a_stage_however_few_examples_it_has() -> None:
    assert stage_borders(np.array([0, 1, 2, 100]), 3) == [0, 1, 2, 100]
    assert stage_borders(np.array([0, 10, 50, 90, 100]), 3) == [0, 50, 100]
    # With fewer stages the borders are those nearest to equal sizes: 33 and 67 of 100.
    assert stage_borders(np.array([0, 10, 30, 40, 60, 70, 100]), 3) == [0, 30, 70, 100]


def test_a_stage_has_the_share_of_the_draws_that_it_has_of_the_examples() -> None:
    scores_X = np.repeat([3.0, 1.0, 2.0], [30, 50, 20])
    plan_SB = staged_order(scores_X, TrainingBudget(50, 5, 8), LINEAR, np.random.default_rng(0))
    assert scores_X[plan_SB.ravel()].tolist() == [1.0] * 125 + [2.0] * 50 + [3.0] * 75


def test_a_setting_has_four_stages_and_a_fifth_of_warm_up_unless_it_says_otherwise() -> None:
    staged = staged_order(np.arange(100.0), TrainingBudget(25, 4, 8), LINEAR, np.random.default_rng(0)).ravel()
    assert [sorted(staged[start : start + 25].tolist()) for start in range(0, 100, 25)] == [
        list(range(start, start + 25)) for start in range(0, 100, 25)
    ]
    warm = MODES["warm-up"](np.arange(1000.0), TrainingBudget(1000, 2, 8), LINEAR, np.random.default_rng(0))
    # The pool ends with the warm-up at 0.1 + 0.9 (199 / 200) of 1000 examples; then whole epochs begin.
    assert sorted(warm[200:700].ravel().tolist()) == list(range(1000))
    assert sorted(warm[199:699].ravel().tolist()) != list(range(1000))
    assert warm[:100].max() <= 550


def test_shares_below_0_and_above_1_are_nothing_and_everything() -> None:
    sizes = ranking(np.arange(101.0)).pool_sizes(np.array([-0.5, 0.05, 0.5, 1.0, 1.5]), 1)
    assert sizes.tolist() == [1, 6, 51, 101, 101]


def test_exposure_is_the_draws_of_each_part_over_its_share_of_the_examples() -> None:
    scores_X = np.array([4.0, 1.0, 2.0, 3.0])
    counts_X = np.array([0, 6, 2, 4])
    assert exposure_by_part(counts_X, scores_X, parts=4) == pytest.approx([2.0, 2 / 3, 4 / 3, 0.0])
    assert exposure_by_part(counts_X, scores_X, parts=2) == pytest.approx([4 / 3, 2 / 3])
    # Examples of one difficulty share their draws alike, whichever of them was drawn.
    assert exposure_by_part(np.array([8, 0, 0, 0]), np.zeros(4), parts=4) == pytest.approx([1.0] * 4)
    assert len(exposure_by_part(np.ones(50, np.int64), np.arange(50.0))) == 10


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=60))
def test_the_order_is_that_of_the_scores(values: list[float]) -> None:
    scores_X = np.array(values)
    ranked = ranking(scores_X)
    assert sorted(ranked.order_X.tolist()) == list(range(len(values)))
    ordered_X = scores_X[ranked.order_X]
    assert (ordered_X[1:] >= ordered_X[:-1]).all()
    rises = np.flatnonzero(ordered_X[1:] > ordered_X[:-1]) + 1
    assert ranked.groups().tolist() == [0, *rises, len(values)]


def test_the_order_does_not_depend_on_the_global_random_state() -> None:
    plans = []
    for seed in (1, 2):
        np.random.seed(seed)
        plans.append(pool_order(np.arange(50.0), TrainingBudget(9, 4, 8), LINEAR, np.random.default_rng(0)))
    assert np.array_equal(*plans)


@pytest.mark.parametrize("examples", [1, 3])
def test_a_corpus_smaller_than_a_batch_is_read_in_rounds(examples: int) -> None:
    plan_SB = pool_order(np.arange(float(examples)), TrainingBudget(5, 7, 8), LINEAR, np.random.default_rng(0))
    counts_SX = np.array([np.bincount(row, minlength=examples) for row in plan_SB])
    assert counts_SX.max() - counts_SX.min() <= 1
