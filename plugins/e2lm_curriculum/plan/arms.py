"""The arms of a comparison: a curriculum and its controls (vanilla, anti, random-pacing, exposure-matched).

============== ====================================================== ==========================================
arm            what it trains on                                      what its difference from the curriculum is
============== ====================================================== ==========================================
vanilla        each epoch a fresh permutation                         the effect itself
curriculum     the plan of the curriculum                             -
exposure-matched  the same draws as the curriculum, shuffled          the order alone (the rest is re-weighting)
anti           the curriculum over reversed difficulties              easy first against hard first
random-pacing  the curriculum over shuffled difficulties              difficulty against a growing pool alone
============== ====================================================== ==========================================

Shape suffixes: X examples, S optimiser steps, B examples per step, N draws (S * B).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from e2lm.curriculum import Curriculum, Plan, TrainingBudget
from e2lm_curriculum.plan.draws import shuffled_plan

Arm = Literal["vanilla", "curriculum", "exposure-matched", "anti", "random-pacing"]
ARMS: tuple[Arm, ...] = get_args(Arm)

VANILLA: Arm = "vanilla"
CURRICULUM: Arm = "curriculum"
EXPOSURE_MATCHED: Arm = "exposure-matched"


def arm_plan(
    arm: Arm, curriculum: Curriculum, scores_X: NDArray[np.float64], budget: TrainingBudget, rng: np.random.Generator
) -> Plan:
    """The plan of ``arm`` for ``curriculum``.

    With generators in the same state ``exposure-matched`` holds exactly the draws of ``curriculum``. All else that a
    plan may hold (sequence lengths, objectives, vocabulary) is that of the curriculum in every arm but ``vanilla``.
    """
    match arm:
        case "vanilla":
            return shuffled_plan(scores_X, budget, rng)
        case "curriculum":
            return curriculum.planned(scores_X, budget, rng)
        case "exposure-matched":
            return shuffled_draws(curriculum.planned(scores_X, budget, rng), rng)
        case "anti":
            return curriculum.planned(reversed_scores(scores_X), budget, rng)
        case "random-pacing":
            return curriculum.planned(rng.permutation(scores_X), budget, rng)


def reversed_scores(scores_X: NDArray[np.float64]) -> NDArray[np.float64]:
    """Difficulties mirrored within their own range, so that thresholds on their value keep their meaning.

    >>> reversed_scores(np.array([1.0, 2.0, 4.0])).tolist()
    [4.0, 3.0, 1.0]
    """
    return np.asarray(scores_X.max() + scores_X.min() - scores_X)


def shuffled_draws(plan: Plan, rng: np.random.Generator) -> Plan:
    """The same examples as often as in ``plan``, in random order over the whole run.

    >>> plan = shuffled_draws(Plan(np.array([[0, 0], [0, 1]])), np.random.default_rng(0))
    >>> sorted(plan.indices_SB.ravel().tolist())
    [0, 0, 0, 1]
    """
    indices_N = rng.permutation(np.asarray(plan.indices_SB).reshape(-1))
    return replace(plan, indices_SB=indices_N.reshape(plan.indices_SB.shape))
