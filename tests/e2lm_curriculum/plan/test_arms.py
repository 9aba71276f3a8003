"""Each arm is what it says, whatever the curriculum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from e2lm.curriculum import Curriculum, Plan, TrainingBudget
from e2lm_curriculum.plan.arms import ARMS, Arm, arm_plan, reversed_scores


def growing_pool(scores_X: NDArray[np.float64], budget: TrainingBudget, rng: np.random.Generator) -> Plan:
    """The easiest examples first, more of them with every step."""
    order_X = np.argsort(scores_X, kind="stable")
    pools = np.linspace(2, len(scores_X), budget.steps).astype(int)
    return Plan(np.stack([order_X[rng.integers(pool, size=budget.batch_size)] for pool in pools]))


POOL = Curriculum("pool", "A growing pool.", growing_pool)
BUDGET = TrainingBudget(steps=40, batch_size=8, sequence_length=16)


def plan_of(arm: Arm, scores_X: NDArray[np.float64], seed: int) -> Plan:
    return arm_plan(arm, POOL, scores_X, BUDGET, np.random.default_rng(seed))


@given(st.integers(0, 1000), st.integers(2, 60))
def test_the_exposure_matched_arm_sees_the_draws_of_the_curriculum_and_nothing_else(seed: int, examples: int) -> None:
    scores_X = np.random.default_rng(seed).normal(size=examples)
    matched, own = plan_of("exposure-matched", scores_X, seed), plan_of("curriculum", scores_X, seed)
    assert sorted(matched.indices_SB.ravel()) == sorted(own.indices_SB.ravel())


def test_the_exposure_matched_arm_has_no_order_left() -> None:
    scores_X = np.arange(50.0)
    early = plan_of("exposure-matched", scores_X, 0).indices_SB[:20].mean()
    late = plan_of("exposure-matched", scores_X, 0).indices_SB[20:].mean()
    own = plan_of("curriculum", scores_X, 0).indices_SB
    assert own[:20].mean() < own[20:].mean() - 5
    assert abs(early - late) < 3


def test_the_anti_arm_begins_with_what_the_curriculum_ends_with() -> None:
    scores_X = np.arange(50.0)
    assert plan_of("curriculum", scores_X, 0).indices_SB[0].max() < 2
    assert plan_of("anti", scores_X, 0).indices_SB[0].min() > 47


def test_the_random_pacing_arm_begins_with_few_examples_of_any_difficulty() -> None:
    firsts = [set(plan_of("random-pacing", np.arange(50.0), seed).indices_SB[0]) for seed in range(30)]
    assert all(len(first) <= 2 for first in firsts)
    assert len(set().union(*firsts)) > 25


def test_the_vanilla_arm_sees_every_example_equally_often() -> None:
    counts = np.bincount(plan_of("vanilla", np.arange(40.0), 0).indices_SB.ravel())
    assert set(counts) == {8}


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_is_a_function_of_its_seed(arm: Arm) -> None:
    scores_X = np.arange(50.0)
    assert plan_of(arm, scores_X, 3).hash == plan_of(arm, scores_X, 3).hash
    assert plan_of(arm, scores_X, 3).hash != plan_of(arm, scores_X, 4).hash


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_reversing_twice_gives_the_same_order_and_range(values: list[float]) -> None:
    scores_X = np.array(values)
    mirrored = reversed_scores(scores_X)
    assert mirrored.min() == pytest.approx(scores_X.min(), abs=1e-6)
    assert mirrored.max() == pytest.approx(scores_X.max(), abs=1e-6)
    assert np.all(np.diff(mirrored[np.argsort(scores_X, kind="stable")]) <= 0)
