"""What online curricula make of the model's losses, with a model whose losses are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from e2lm.curriculum import Segment, TrainingBudget
from e2lm_curriculum.plan.builder import chosen_curriculum
from e2lm_curriculum.plan.setting import CurriculumSetting

BUDGET = TrainingBudget(30, 10, 16)

Losses = Callable[[NDArray[np.int64]], NDArray[np.float64]]


def planned(
    online: dict[str, Any], scores_X: NDArray[np.float64], start: int, state: dict[str, Any], losses: Losses
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """The steps from ``start`` on, a third of the run."""
    order = {"difficulty": "length", "mode": "pool"} if online["kind"] == "self-perplexity" else {}
    curriculum = chosen_curriculum(CurriculumSetting.from_data({"online": online, **order}, "test"))
    assert curriculum.next_segment is not None
    assert curriculum.segments == 3
    rng = np.random.default_rng(start)
    return curriculum.next_segment(Segment(start, start + 10, scores_X, BUDGET, rng, state, losses))


SKILL_IT = {"kind": "skill-it", "segments": 3, "rate": 0.5, "window": 2, "probed": 4}
FILES_X = np.repeat([0.0, 1.0, 2.0], [60, 30, 10])


def file_losses(*of_file: float) -> Losses:
    return lambda indices: np.asarray(of_file)[FILES_X[indices].astype(int)]


def test_skill_it_begins_with_all_files_alike() -> None:
    order_SB, state = planned(SKILL_IT, FILES_X, 0, {}, file_losses(9.0, 9.0, 9.0))
    assert state == {"losses": [], "weights": pytest.approx([1 / 3] * 3)}
    assert np.bincount(FILES_X[order_SB].astype(int).ravel()) == pytest.approx([100 / 3] * 3, abs=1)


def test_skill_it_weighs_files_by_the_exponential_of_their_losses_summed_over_a_window() -> None:
    history = [[100.0, 100.0, 100.0], [1.0, 2.0, 3.0]]
    order_SB, state = planned(SKILL_IT, FILES_X, 10, {"losses": history}, file_losses(2.0, 2.0, 4.0))
    # The oldest of three losses is out of the window of two: exp(0.5 (1 + 2)), exp(0.5 (2 + 2)), exp(0.5 (3 + 4)).
    expected_F = np.exp([1.5, 2.0, 3.5])
    assert state["losses"] == [[1.0, 2.0, 3.0], [2.0, 2.0, 4.0]]
    assert state["weights"] == pytest.approx(expected_F / expected_F.sum())
    counts_F = np.bincount(FILES_X[order_SB].astype(int).ravel(), minlength=3)
    assert counts_F == pytest.approx(100 * expected_F / expected_F.sum(), abs=1)


def test_skill_it_asks_for_a_few_examples_of_each_file_and_takes_their_mean() -> None:
    asked: list[list[int]] = []

    def losses(indices: NDArray[np.int64]) -> NDArray[np.float64]:
        asked.append(indices.tolist())
        return indices.astype(float)

    _, state = planned(SKILL_IT, FILES_X, 10, {}, losses)
    assert [len(set(one)) for one in asked] == [4, 4, 4]
    assert [set(FILES_X[one].tolist()) for one in asked] == [{0.0}, {1.0}, {2.0}]
    assert state["losses"] == [[float(np.mean(one)) for one in asked]]


def test_losses_of_any_size_make_weights_and_one_example_is_enough() -> None:
    files_X = np.repeat([0.0, 1.0], [99, 1])
    losses = np.array([4000.0, 4002.0])
    _, state = planned(SKILL_IT, files_X, 10, {}, lambda indices: losses[files_X[indices].astype(int)])
    assert state["weights"] == pytest.approx(np.exp([0.0, 1.0]) / np.exp([0.0, 1.0]).sum())


def test_a_file_without_an_example_of_its_own_is_never_drawn() -> None:
    files_X = np.repeat([0.0, 2.0], [50, 50])
    order_SB, state = planned(SKILL_IT, files_X, 10, {}, lambda indices: np.full(len(indices), 5.0))
    assert state["losses"] == [[5.0, 0.0, 5.0]]
    assert state["weights"] == [0.5, 0.0, 0.5]
    assert set(files_X[order_SB].ravel().tolist()) == {0.0, 2.0}


SELF = {"kind": "self-perplexity", "segments": 3}


def test_self_perplexity_ranks_by_the_given_scores_first_and_by_the_model_from_then_on() -> None:
    scores_X = np.arange(200.0)
    first_SB, state = planned(SELF, scores_X, 0, {}, lambda indices: -indices.astype(float))
    assert state == {"scored": False}
    # CLIMB's linear pacing from a tenth on: up to step 10 of 30 at most 0.1 + 0.9 (0.3 - 0.0625) / 0.8125 of them.
    assert first_SB.shape == (10, 10)
    assert first_SB[0].max() < 21
    assert first_SB.max() <= 199 * (0.1 + 0.9 * (0.3 - 0.0625) / 0.8125)
    later_SB, state = planned(SELF, scores_X, 10, state, lambda indices: -indices.astype(float))
    assert state == {"scored": True}
    # Now the last are the easiest; the pool is that of its place in the whole run.
    assert later_SB[0].min() >= 199 - 199 * (0.1 + 0.9 * (1 / 3 - 0.0625) / 0.8125)
    assert later_SB[0].min() < 160
