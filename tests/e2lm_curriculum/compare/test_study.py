"""The runs of a study: which arms with which seeds, each as dear as plain training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from e2lm_curriculum.compare.study import Study, equal_cost_tokens
from e2lm_curriculum.config.training import DataConfig
from e2lm_curriculum.plan.builder import chosen_curriculum

PLAIN: dict[str, Any] = {"corpus": ["a.txt", "b.txt"], "out": "o", "sizes": ["1x16"], "batch_size": 4, "seed": 7}
PLAIN |= {"sequence_length": 32, "tokens": 1000 * 4 * 32, "schedule": "cosine"}


def data_of(curriculum: Any, steps: int = 1000) -> DataConfig:
    fields = {"corpus": ["a.txt", "b.txt"], "batch_size": 4, "sequence_length": 32, "tokens": steps * 4 * 32}
    return DataConfig.from_data({**fields, "curriculum": curriculum}, "test")


def objectives(*stages: tuple[str, float, float]) -> dict[str, Any]:
    return {"objectives": [{"objective": one, "start": start, "end": end} for one, start, end in stages]}


@pytest.mark.parametrize(
    ("curriculum", "steps"),
    [
        ("shuffle", 1000),
        ("climb-ngram-linear", 1000),
        # Two passes throughout; two for a half and one for a half; three for the last quarter and two before.
        (objectives(("mlm", 0, 1), ("pos-all", 0, 1)), 500),
        (objectives(("mlm", 0, 1), ("pos-all", 0.5, 1)), 667),
        (objectives(("mlm", 0, 1), ("pos-all", 0, 1), ("pos-noun-verb", 0.75, 1)), 444),
    ],
)
def test_an_arm_with_more_passes_gets_fewer_tokens(curriculum: Any, steps: int) -> None:
    assert equal_cost_tokens(data_of(curriculum)) == pytest.approx(steps * 4 * 32, abs=4 * 32)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 50, 1001])
@pytest.mark.parametrize("name", ["climb-objective-multitask-pos-nv-all-mlm", "climb-objective-multitask-pos-all-mlm"])
def test_the_passes_of_an_arm_are_those_of_plain_training_to_within_one_step(name: str, steps: int) -> None:
    data = data_of(name, steps)
    budget = data.model_copy(update={"tokens": equal_cost_tokens(data)}).budget
    passes = chosen_curriculum(name).plan(np.zeros(8), budget, np.random.default_rng(0)).forward_passes
    assert abs(passes - steps) <= 1


def test_a_budget_is_at_least_one_step_and_a_mixture_finds_some_of_every_file() -> None:
    three = objectives(("mlm", 0, 1), ("pos-all", 0, 1), ("pos-noun-verb", 0, 1))
    assert equal_cost_tokens(data_of(three, steps=1)) == 4 * 32
    files = [f"{number}.txt" for number in range(6)]
    mixture = {"mixture": [{"start": 0.0, "weights": [1, 1, 1, 1, 1, 1]}]}
    data = data_of(mixture).model_copy(update={"corpus": tuple(files)})
    assert equal_cost_tokens(data) == 1000 * 4 * 32


def test_a_study_has_every_arm_with_every_seed_and_schedule() -> None:
    section = {"seeds": 3, "arms": ["vanilla", "curriculum"], "schedules": ["configured", "constant"]}
    study = Study.from_data({**PLAIN, "curriculum": "climb-ngram-linear", "compare": section}, "study.yml")
    assert [(run.schedule, run.seed, run.arm) for run in study.runs] == [
        (schedule, seed, arm)
        for schedule in ("cosine", "constant")
        for seed in range(3)
        for arm in ("vanilla", "curriculum")
    ]
    configs = [run.training.config for run in study.runs]
    assert [one.run.label for one in configs][:2] == ["vanilla-cosine-s0", "curriculum-cosine-s0"]
    assert [one.run.out for one in configs][:2] == ["o/vanilla-cosine-s0", "o/curriculum-cosine-s0"]
    # Weights begin alike in every arm of a seed; orders have seeds of their own, apart from those of weights.
    assert [one.run.seed_of_weights for one in configs][:6] == [7, 7, 8, 8, 9, 9]
    assert [one.run.seed_of_order for one in configs][:6] == [1_000_010] * 2 + [1_000_011] * 2 + [1_000_012] * 2
    assert {one.run.seed for one in configs} == {7}


def test_a_schedule_that_is_constant_anyway_is_trained_once() -> None:
    study = Study.from_data({**PLAIN, "schedule": "constant", "compare": {"seeds": 3, "arms": ["vanilla"]}}, "s.yml")
    assert [run.schedule for run in study.runs] == ["constant"] * 3


def test_vanilla_is_trained_on_what_was_asked_for() -> None:
    dear = objectives(("mlm", 0, 1), ("pos-all", 0, 1))
    study = Study.from_data({**PLAIN, "curriculum": dear, "compare": {"seeds": 3}}, "s.yml")
    steps = {run.arm: run.training.budget.steps for run in study.runs}
    assert steps.pop("vanilla") == 1000
    assert set(steps.values()) == {500}
