"""What arms cost and showed, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from e2lm_curriculum.compare.costs import arm_costs, exposure_by_decile
from tests.e2lm_curriculum.compare.conftest import MakeRun

SCORES_X = np.arange(20.0)


def test_the_cost_of_an_arm_is_the_mean_over_its_seeds(made_run: MakeRun) -> None:
    first = made_run("curriculum", 0, np.array([[0, 1], [0, 1]]), SCORES_X, wall_s=10.0, flops=8e9, scoring_cpu_s=2.0)
    second = made_run("curriculum", 1, np.array([[0, 1], [2, 3]]), SCORES_X, wall_s=30.0, flops=8e9, scoring_cpu_s=4.0)
    third = made_run("curriculum", 2, np.array([[0, 1], [2, 4]]), SCORES_X, wall_s=None, flops=9e9)
    other = made_run("vanilla", 0, np.array([[4, 5], [6, 7]]), SCORES_X, flops=9e9)
    cost, of_other = arm_costs([first, second, third, other])
    assert (cost.arm, cost.schedule, of_other.arm) == ("curriculum", "cosine", "vanilla")
    assert cost.tokens == 400.0  # 4 steps of 100
    assert cost.unique_tokens == pytest.approx(50 * (2 + 4 + 4) / 3)
    assert cost.epochs == pytest.approx(400 / (20 * 50))
    assert (cost.flops, of_other.flops) == (pytest.approx(25e9 / 3), 9e9)
    assert (cost.wall_s, cost.scoring_cpu_s) == pytest.approx((40 / 3, 2.0))
    assert (of_other.wall_s, of_other.scoring_cpu_s) == (1.0, 0.0)


def test_exposure_is_over_what_uniform_sampling_gives_each_tenth_mean_over_seeds(made_run: MakeRun) -> None:
    easiest = np.zeros((2, 10), dtype=np.int64)
    evenly = np.arange(20).reshape(2, 10)
    runs = [made_run("curriculum", seed, one, SCORES_X) for seed, one in enumerate((easiest, evenly, evenly))]
    assert exposure_by_decile(runs) == {("curriculum", "cosine"): pytest.approx([4.0] + [2 / 3] * 9)}
