"""Mixtures have the shares that they name, in every stage and in every stretch of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2lm import UserError
from e2lm.curriculum import TrainingBudget
from e2lm_curriculum.plan.builder import chosen_curriculum
from e2lm_curriculum.plan.mixture import (
    draws_from_sources,
    mixture_order,
    source_sequence,
    stage_of_step,
    stage_weights,
)
from e2lm_curriculum.plan.setting import CurriculumSetting, MixtureStage

shares = st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any)


def stage(weights: Any, start: float = 0.0) -> MixtureStage:
    return MixtureStage.from_data({"start": start, "weights": weights}, "test")


def test_a_stage_begins_with_the_first_step_that_has_seen_its_share_of_the_tokens() -> None:
    assert stage_of_step([0.0, 0.25, 0.9], 8).tolist() == [0, 0, 1, 1, 1, 1, 1, 1]
    assert stage_of_step([0.0, 0.3], 10).tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 1, 1]


def test_weights_are_by_size_all_alike_or_as_given() -> None:
    assert stage_weights(stage("stratified"), np.array([30, 0, 1])).tolist() == [0.5, 0.0, 0.5]
    sizes_F = np.array([30, 0, 10])
    assert stage_weights(stage("natural"), sizes_F).tolist() == [0.75, 0.0, 0.25]
    assert stage_weights(stage("stratified"), sizes_F).tolist() == [0.5, 0.0, 0.5]
    assert stage_weights(stage([1.0, 0.0, 3.0]), sizes_F).tolist() == [0.25, 0.0, 0.75]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, 1.0], "the corpus has 3 files"),
        ([0.0, 0.0, 0.0], "not all 0"),
        ([0.0, 0.5, 0.5], "a file with weight above 0 has no example"),
    ],
)
def test_weights_that_cannot_be_drawn_by_are_refused(weights: list[float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        stage_weights(stage(weights), np.array([30, 0, 10]))


@given(shares, st.integers(1, 400), st.integers(0, 10_000))
def test_counts_are_the_shares_to_within_one(weights: list[int], count: int, seed: int) -> None:
    weights_F = np.array(weights) / sum(weights)
    chosen_N = source_sequence(weights_F, count, np.random.default_rng(seed))
    counts_F = np.bincount(chosen_N, minlength=len(weights_F))
    assert (np.abs(counts_F - weights_F * count) < 1 + 1e-9).all()
    assert not counts_F[weights_F == 0].any()


@given(st.integers(0, 10_000))
def test_shares_hold_in_every_stretch_too(seed: int) -> None:
    weights_F = np.array([0.6, 0.3, 0.1])
    chosen_N = source_sequence(weights_F, 600, np.random.default_rng(seed))
    for length in (50, 150):
        counts_F = np.array(
            [np.bincount(chosen_N[start : start + length], minlength=3) for start in range(0, 600, length)]
        )
        # Random draws of 50 from the first file would be 3.5 off as a rule; these stay within 4 at worst.
        assert np.abs(counts_F - length * weights_F).max() <= 4


def test_the_first_file_of_a_sequence_is_a_matter_of_chance() -> None:
    firsts = [int(source_sequence(np.array([0.5, 0.5]), 6, np.random.default_rng(seed))[0]) for seed in range(60)]
    assert 15 <= sum(firsts) <= 45
    alone = [int(source_sequence(np.array([0.5, 0.5]), 1, np.random.default_rng(seed))[0]) for seed in range(60)]
    assert 15 <= sum(alone) <= 45


def test_each_file_is_read_in_epochs_that_go_on() -> None:
    sources_X = np.array([0, 1, 0, 1, 1])
    chosen_N = np.array([0, 1, 1, 0, 1, 0, 0, 1])
    drawn_N = draws_from_sources(chosen_N, sources_X, np.random.default_rng(0))
    assert (sources_X[drawn_N] == chosen_N).all()
    of_first, of_second = drawn_N[chosen_N == 0], drawn_N[chosen_N == 1]
    assert set(of_first[:2].tolist()) == set(of_first[2:].tolist()) == {0, 2}
    assert set(of_second[:3].tolist()) == {1, 3, 4}


def test_a_mixture_changes_at_its_stages() -> None:
    sources_X = np.repeat([0, 1, 2], [20, 10, 10])
    stages = [stage([1, 0, 0]), stage([0, 1, 1], 0.25), stage("natural", 0.75)]
    order_SB = mixture_order(sources_X, TrainingBudget(40, 8, 16), stages, np.random.default_rng(0))
    drawn_SB = sources_X[order_SB]
    assert np.bincount(drawn_SB[:10].ravel(), minlength=3).tolist() == [80, 0, 0]
    assert np.bincount(drawn_SB[10:30].ravel(), minlength=3).tolist() == [0, 80, 80]
    assert np.bincount(drawn_SB[30:].ravel(), minlength=3).tolist() == [40, 20, 20]
    assert np.bincount(drawn_SB[10:20].ravel(), minlength=3).tolist() == pytest.approx([0, 40, 40], abs=3)


def test_a_mixture_has_its_shares_in_every_stretch_and_reads_each_file_in_epochs() -> None:
    chosen = source_sequence(np.array([0.5, 0.3, 0.2]), 1000, np.random.default_rng(0))
    for start in range(0, 1000, 100):
        shares = np.bincount(chosen[start : start + 100], minlength=3) / 100
        assert np.abs(shares - [0.5, 0.3, 0.2]).max() <= 0.04
    setting = CurriculumSetting.from_data(
        {"mixture": [{"start": 0.0, "weights": [1, 0]}, {"start": 0.5, "weights": "stratified"}]}, "test"
    )
    sources_X = np.repeat([0.0, 1.0], [60, 20])
    plan = chosen_curriculum(setting).plan(sources_X, TrainingBudget(40, 4, 32), np.random.default_rng(0))
    drawn_SB = sources_X[plan.indices_SB]
    assert (drawn_SB[:20] == 0).all()
    assert drawn_SB[20:].mean() == pytest.approx(0.5, abs=0.02)
    counts = plan.exposure(80)
    assert counts[:60].max() - counts[:60].min() <= 2
    assert counts[60:].max() - counts[60:].min() <= 1
