"""Whoever follows a plan shows it: the batches of a plain loop and of transformers' Trainer against the plan's rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainerState, TrainingArguments

from e2lm.command_line import main
from e2lm.errors import UserError
from e2lm_curriculum.follow.plan import FollowedPlan
from e2lm_curriculum.follow.torch_data import PlannedCollator, PlannedExamples, PlannedSteps
from e2lm_curriculum.follow.trainer import PlanGuard
from tests.e2lm_curriculum.follow.killed import Killed

STEPS, BATCH, LENGTH = 10, 4, 16


@pytest.fixture(scope="module")
def folder(corpus_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plan_of(corpus_file, tmp_path_factory.mktemp("followed"), "climb-ngram-linear")


def plan_of(corpus: Path, place: Path, curriculum: Any) -> Path:
    config = place / "config.yml"
    fields = {"corpus": [str(corpus)], "out": "o", "vocabulary": 400, "curriculum": curriculum}
    config.write_text(json.dumps({**fields, "tokens": STEPS * BATCH * LENGTH}), encoding="utf-8")
    words = ["--batch", str(BATCH), "--sequence-length", str(LENGTH), "--steps", str(STEPS)]
    assert main(["train", "plan", str(config), *words, "--out", str(place / "plan"), "--json"]) == 0
    return place / "plan"


def planned_rows(folder: Path) -> list[list[list[int]]]:
    """Of each step the tokens of its examples, from the files alone."""
    tokens_K, indices_SB = np.load(folder / "tokens.npy"), np.load(folder / "plan.npy")
    return [[tokens_K[one * LENGTH : (one + 1) * LENGTH].tolist() for one in row] for row in indices_SB]


def loader(folder: Path, workers: int = 0, **steps: int) -> DataLoader[Any]:
    plan = FollowedPlan.read(folder)
    return DataLoader(
        PlannedExamples(plan),
        batch_sampler=PlannedSteps(plan, **steps),
        collate_fn=PlannedCollator(plan),
        num_workers=workers,
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_a_plain_loop_shows_the_plan_and_goes_on_at_any_step(folder: Path, workers: int) -> None:
    rows = planned_rows(folder)
    assert [batch["input_ids"].tolist() for batch in loader(folder, workers)] == rows
    assert [batch["labels"].tolist() for batch in loader(folder, workers, start_step=7)] == rows[7:]


def test_processes_and_micro_batches_share_a_step_between_them(folder: Path) -> None:
    shared = [list(loader(folder, rank=rank, processes=2, micro_batches=2)) for rank in (0, 1)]
    joined = [
        [
            row
            for micro in (2 * step, 2 * step + 1)
            for rank in (0, 1)
            for row in shared[rank][micro]["input_ids"].tolist()
        ]
        for step in range(STEPS)
    ]
    assert joined == planned_rows(folder)


class Watched(LlamaForCausalLM):  # type: ignore[misc]
    """Writes down what it is shown."""

    def forward(self, input_ids: torch.Tensor, **kwargs: Any) -> Any:
        self.shown.append(input_ids.tolist())
        return super().forward(input_ids=input_ids, **kwargs)


def watched_trainer(folder: Path, out: Path, *callbacks: TrainerCallback, **arguments: Any) -> Trainer:
    plan = FollowedPlan.read(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = Watched(LlamaConfig(vocab_size=400, **shape))
    model.shown = []
    told = {"max_steps": plan.steps, "per_device_train_batch_size": 4, "train_sampling_strategy": "sequential"}
    told |= {"save_strategy": "no", "use_cpu": True, "report_to": "none", "disable_tqdm": True, **arguments}
    return Trainer(
        model,
        TrainingArguments(str(out), **told),
        train_dataset=PlannedExamples(plan),
        data_collator=PlannedCollator(plan),
        callbacks=[PlanGuard(plan), *callbacks],
    )


@pytest.mark.parametrize(
    "arguments", [{"dataloader_num_workers": 2}, {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}]
)
def test_transformers_trainer_shows_the_plan(folder: Path, tmp_path: Path, arguments: dict[str, Any]) -> None:
    trainer = watched_trainer(folder, tmp_path, **arguments)
    trainer.train()
    shown = np.array(trainer.model.shown).reshape(STEPS, BATCH, LENGTH)
    assert shown.tolist() == planned_rows(folder)


def test_transformers_trainer_goes_on_with_the_plan_to_the_same_weights_and_with_no_other(
    folder: Path, corpus_file: Path, tmp_path: Path
) -> None:
    saves = {"save_strategy": "steps", "save_steps": 6, "save_total_limit": 1}
    straight = watched_trainer(folder, tmp_path / "straight")
    straight.train()
    killed = watched_trainer(folder, tmp_path / "killed", Killed(7), **saves)
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    resumed = watched_trainer(folder, tmp_path / "killed")
    resumed.train(resume_from_checkpoint=True)
    other = watched_trainer(plan_of(corpus_file, tmp_path, "shuffle"), tmp_path / "killed")
    with pytest.raises(UserError, match="trained by another plan"):
        other.train(resume_from_checkpoint=True)
    assert [*killed.model.shown[:6], *resumed.model.shown] == planned_rows(folder) == straight.model.shown
    weights = zip(straight.model.parameters(), resumed.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in weights)


def test_the_processes_of_accelerate_share_every_step(folder: Path) -> None:
    plan = FollowedPlan.read(folder)
    whole = DataLoader(PlannedExamples(plan), batch_size=BATCH // 2, collate_fn=PlannedCollator(plan))
    shards = [
        [batch["input_ids"].tolist() for batch in prepare_data_loader(whole, num_processes=2, process_index=rank)]
        for rank in (0, 1)
    ]
    assert [one + other for one, other in zip(*shards, strict=True)] == planned_rows(folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train_sampling_strategy": "random"}, "makes an order of its own"),
        ({"per_device_train_batch_size": 2}, "= 2 examples, the plan 4"),
        ({"gradient_accumulation_steps": 2}, "= 8 examples, the plan 4"),
        ({"max_steps": 9}, "9 steps, the plan paces 10"),
        ({"ignore_data_skip": True}, "shows the beginning of the plan again"),
    ],
)
def test_a_trainer_that_would_not_follow_is_told_before_its_first_step(
    folder: Path, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    told = {"max_steps": STEPS, "per_device_train_batch_size": 4, "train_sampling_strategy": "sequential", **arguments}
    told = TrainingArguments(str(tmp_path), use_cpu=True, report_to="none", **told)
    state = TrainerState(max_steps=told.max_steps)
    with pytest.raises(UserError, match=message):
        PlanGuard(FollowedPlan.read(folder)).on_train_begin(told, state, None)


def test_a_shuffling_loader_and_another_number_of_examples_are_told(folder: Path) -> None:
    plan = FollowedPlan.read(folder)
    shuffled = DataLoader(PlannedExamples(plan), batch_size=4, shuffle=True, collate_fn=PlannedCollator(plan))
    with pytest.raises(UserError, match="does not read in order"):
        list(shuffled)
    with pytest.raises(UserError, match=r"planned for \d+ examples, found 3"):
        PlannedExamples(plan, [[1], [2], [3]])


def test_a_plan_that_was_changed_is_told(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    np.save(tmp_path / "plan.npy", np.load(folder / "plan.npy")[:, ::-1])
    with pytest.raises(UserError, match="not what was planned"):
        FollowedPlan.read(tmp_path)
    (tmp_path / "planned.json").unlink()
    with pytest.raises(UserError, match=r"planned\.json: no such file"):
        FollowedPlan.read(tmp_path)
