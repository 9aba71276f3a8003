"""What Trainer is told, against what was published; the learning rates of heads, step by step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import Trainer

from e2lm.curriculum import ObjectiveSpan, TrainingBudget
from e2lm_curriculum.config.training import RunConfig
from e2lm_curriculum.train.recipe import HEAD_LEARNING_RATE, HEAD_WARM_UP, head_rate, training_arguments

BUDGET = TrainingBudget(200, 6, 32)


def test_the_optimiser_is_that_of_gpt_3() -> None:
    told = training_arguments(RunConfig(out="o", learning_rate=0.02, seed=7), BUDGET, Path("states"))
    # Brown et al. 2020, appendix B: Adam with 0.9 and 0.95, weight decay 0.1, gradients clipped at 1.
    assert (told.adam_beta1, told.adam_beta2, told.weight_decay, told.max_grad_norm) == (0.9, 0.95, 0.1, 1.0)
    assert (told.learning_rate, told.max_steps, told.per_device_train_batch_size, told.seed) == (0.02, 200, 6, 7)
    assert told.train_sampling_strategy == "sequential"
    assert told.gradient_accumulation_steps == 1


@pytest.mark.parametrize(("warmup", "steps"), [(0.1, 20), (0.0, 0), (0.128, 26), (0.126, 25)])
def test_the_learning_rate_rises_over_its_share_of_the_steps(warmup: float, steps: int) -> None:
    assert training_arguments(RunConfig(out="o", warmup=warmup), BUDGET, Path("states")).warmup_steps == steps


def rates(schedule: str) -> list[float]:
    """The share of the highest learning rate at each of 200 steps, with 20 steps of warm-up."""
    arguments = training_arguments(RunConfig.from_data({"out": "o", "schedule": schedule}, "t"), BUDGET, Path("states"))
    trainer = Trainer(model=torch.nn.Linear(1, 1), args=arguments)
    trainer.create_optimizer_and_scheduler(BUDGET.steps)
    assert trainer.optimizer is not None
    assert trainer.lr_scheduler is not None
    found = []
    for _ in range(BUDGET.steps):
        found.append(trainer.optimizer.param_groups[0]["lr"] / 3e-3)
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    return found


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear", "wsd"])
def test_every_schedule_warms_up_alike(schedule: str) -> None:
    assert rates(schedule)[:21] == pytest.approx([step / 20 for step in range(21)])


def test_schedules_end_as_their_names_say() -> None:
    assert rates("constant")[20:] == pytest.approx([1.0] * 180)
    assert rates("linear")[110] == pytest.approx(0.5)
    assert rates("cosine")[65] == pytest.approx(0.853553, abs=1e-6)  # (1 + cos(pi / 4)) / 2 after a quarter of 180
    # Haegele et al. 2024: stable, then down over the last fifth.
    wsd = rates("wsd")
    assert wsd[20:161] == pytest.approx([1.0] * 141)
    assert wsd[161] < 1.0
    assert wsd[180] == pytest.approx(0.5)
    for steps, decay in ((1000, 200), (2, 1)):
        told = training_arguments(RunConfig(out="o", schedule="wsd"), TrainingBudget(steps, 6, 32), Path("states"))
        assert told.lr_scheduler_kwargs == {"num_decay_steps": decay}


def test_heads_learn_as_climbs_do() -> None:
    assert (HEAD_LEARNING_RATE, HEAD_WARM_UP) == (1e-3, 0.1)


@pytest.mark.parametrize(("steps", "warm_up"), [(100, 10), (20, 2), (14, 1), (5, 1), (2, 1), (1, 1)])
def test_a_head_rises_over_a_tenth_of_its_span_and_falls_over_the_rest(steps: int, warm_up: int) -> None:
    span = ObjectiveSpan(50, 50 + steps, "pos-all")
    for place in range(steps + 1):
        expected = place / warm_up if place < warm_up else (steps - place) / max(1, steps - warm_up)
        assert head_rate(span, 50 + place) == pytest.approx(expected)
    assert head_rate(span, 49) == head_rate(span, 51 + steps) == 0.0
