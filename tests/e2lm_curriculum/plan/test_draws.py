from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2lm.curriculum import TrainingBudget
from e2lm_curriculum.plan import draws
from e2lm_curriculum.plan.builder import chosen_curriculum
from e2lm_curriculum.plan.draws import SHUFFLE, plan_array, pool_draws, shuffled_plan

BUDGET = TrainingBudget(40, 4, 32)

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


def test_a_large_array_lies_in_a_file_that_is_gone_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("e2lm_curriculum.plan.draws.IN_MEMORY_BYTES", 100)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    large = plan_array(1000, np.int32)
    assert isinstance(large, np.memmap)
    assert not list(tmp_path.iterdir())
    mapped = chosen_curriculum("climb-ngram-linear").plan(np.arange(60.0), BUDGET, np.random.default_rng(0))
    monkeypatch.undo()
    held = chosen_curriculum("climb-ngram-linear").plan(np.arange(60.0), BUDGET, np.random.default_rng(0))
    assert mapped.hash == held.hash


def test_an_array_of_just_the_largest_size_is_still_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("e2lm_curriculum.plan.draws.IN_MEMORY_BYTES", 4000)
    assert not isinstance(plan_array(1000, np.int32), np.memmap)
    assert isinstance(plan_array(1001, np.int32), np.memmap)


def test_draws_from_a_pool_are_the_ones_that_they_were() -> None:
    """One way of drawing from pools of less than the square of a batch, another from there on."""
    drawn_SB = pool_draws(np.arange(20), np.array([15, 16, 17]), 4, np.random.default_rng(0))
    assert drawn_SB.tolist() == [[4, 9, 6, 2], [13, 10, 8, 4], [2, 13, 11, 15]]


def test_a_plan_lies_in_memory_up_to_its_limit_and_in_an_unnamed_file_beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draws, "IN_MEMORY_BYTES", 80)
    held, filed = (plan_array(length, np.int64) for length in (10, 11))
    assert not isinstance(held, np.memmap)
    assert isinstance(filed, np.memmap)
    filed[:] = 7
    assert (len(held), filed.sum()) == (10, 77)
