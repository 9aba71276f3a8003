from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from e2lm.curriculum import TrainingBudget
from e2lm_curriculum.plan.draws import SHUFFLE, shuffled_plan

budgets = st.builds(TrainingBudget, steps=st.integers(1, 40), batch_size=st.integers(1, 9), sequence_length=st.just(8))


@given(st.integers(1, 60), budgets, st.integers(0, 2**31 - 1))
def test_the_plan_is_a_pure_function_of_its_inputs(examples: int, budget: TrainingBudget, seed: int) -> None:
    scores_X = np.zeros(examples)
    first = shuffled_plan(scores_X, budget, np.random.default_rng(seed))
    second = shuffled_plan(scores_X, budget, np.random.default_rng(seed))
    assert first.hash == second.hash
    assert np.array_equal(first.indices_SB, second.indices_SB)


@given(st.integers(1, 60), budgets, st.integers(0, 2**31 - 1))
def test_every_epoch_covers_each_example_once(examples: int, budget: TrainingBudget, seed: int) -> None:
    indices_N = shuffled_plan(np.zeros(examples), budget, np.random.default_rng(seed)).indices_SB.ravel()
    assert len(indices_N) == budget.steps * budget.batch_size
    whole = len(indices_N) // examples
    for epoch in range(whole):
        assert sorted(indices_N[epoch * examples : (epoch + 1) * examples]) == list(range(examples))
    rest = indices_N[whole * examples :]
    assert len(set(rest.tolist())) == len(rest)


def test_epochs_and_seeds_differ_in_order() -> None:
    budget = TrainingBudget(steps=20, batch_size=10, sequence_length=8)
    plan = SHUFFLE.plan(np.zeros(100), budget, np.random.default_rng(0)).indices_SB.ravel()
    other = SHUFFLE.plan(np.zeros(100), budget, np.random.default_rng(1)).indices_SB.ravel()
    assert not np.array_equal(plan[:100], plan[100:])
    assert not np.array_equal(plan, other)
