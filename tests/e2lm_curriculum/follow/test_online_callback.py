"""A curriculum that is planned while transformers' Trainer trains: the same order in one go and after a kill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

from e2lm.command_line import main
from e2lm.errors import UserError
from e2lm_curriculum.follow.online import OnlineCurriculum, causal_losses
from e2lm_curriculum.follow.plan import FollowedPlan
from e2lm_curriculum.follow.torch_data import PlannedCollator
from tests.e2lm_curriculum.follow.killed import Killed

STEPS, BATCH, LENGTH, EXAMPLES = 12, 4, 8, 40
ROWS = np.random.default_rng(0).integers(0, 50, (EXAMPLES, LENGTH))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("online")
    np.save(place / "scores.npy", np.arange(EXAMPLES))
    online = {"kind": "self-perplexity", "segments": 3}
    pacing = {"kind": "step", "end": 1.0, "starting_share": 0.25}
    (place / "c.yml").write_text(json.dumps({"mode": "pool", "online": online, "pacing": pacing}), encoding="utf-8")
    words = ["--scores", str(place / "scores.npy"), "--curriculum", str(place / "c.yml"), "--steps", str(STEPS)]
    words += ["--batch", str(BATCH), "--sequence-length", str(LENGTH), "--out", str(place / "plan")]
    assert main(["train", "plan", *words]) == 0
    return place / "plan"


class Watched(LlamaForCausalLM):  # type: ignore[misc]
    """Writes down what it is trained on."""

    def forward(self, input_ids: torch.Tensor, **kwargs: Any) -> Any:
        if "labels" in kwargs:
            self.shown.append(input_ids.tolist())
        return super().forward(input_ids=input_ids, **kwargs)


def online_trainer(folder: Path, out: Path, *callbacks: TrainerCallback, ahead: int = 1, **told: Any) -> Trainer:
    online = OnlineCurriculum(folder, out / "order.bin", ROWS, ahead_steps=ahead)
    torch.manual_seed(0)
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = Watched(LlamaConfig(vocab_size=50, **shape))
    model.shown = []
    told = {"max_steps": STEPS, "per_device_train_batch_size": BATCH, "learning_rate": 0.05, **told}
    told |= {"save_strategy": "no", "use_cpu": True, "report_to": "none", "disable_tqdm": True} | told
    arguments = TrainingArguments(str(out), train_sampling_strategy="sequential", **told)
    collate = PlannedCollator(online.plan)
    made = Trainer(
        model, arguments, train_dataset=online.data(ROWS), data_collator=collate, callbacks=[online, *callbacks]
    )
    made.online = online
    return made


def test_a_part_is_drawn_from_what_the_model_finds_easiest_then(folder: Path, tmp_path: Path) -> None:
    found: dict[int, np.ndarray] = {}

    class Asked(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            found[state.global_step] = causal_losses(model, ROWS)

    trainer = online_trainer(folder, tmp_path, Asked())
    trainer.train()
    order_SB = trainer.online.planned.indices_SB
    assert np.array(trainer.model.shown).tolist() == ROWS[order_SB].tolist()
    easiest = EXAMPLES // 4
    assert set(order_SB[:4].ravel().tolist()) <= set(range(easiest + 1))
    for start in (4, 8):
        ranked = np.argsort(found[start - 1])[: easiest + 1]
        assert set(order_SB[start : start + 4].ravel().tolist()) <= set(ranked.tolist())
    assert set(np.argsort(found[7])[:easiest].tolist()) != set(range(easiest))


def test_after_a_kill_it_goes_on_with_the_order_in_the_checkpoint(folder: Path, tmp_path: Path) -> None:
    straight = online_trainer(folder, tmp_path / "straight")
    straight.train()
    killed = online_trainer(folder, tmp_path / "killed", Killed(9), save_strategy="steps", save_steps=7)
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    (tmp_path / "killed" / "order.bin").unlink()
    resumed = online_trainer(folder, tmp_path / "killed")
    resumed.train(resume_from_checkpoint=True)
    assert [*killed.model.shown[:7], *resumed.model.shown] == straight.model.shown
    assert resumed.online.planned.hash == straight.online.planned.hash
    weights = zip(straight.model.parameters(), resumed.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in weights)


def test_processes_that_read_ahead_need_parts_planned_ahead(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="2 processes read 5 steps ahead; give ahead_steps=5"):
        online_trainer(folder, tmp_path, dataloader_num_workers=2).train()
    with pytest.raises(UserError, match="give 1 to that"):
        online_trainer(folder, tmp_path, ahead=5)
    read_ahead = online_trainer(folder, tmp_path / "a", ahead=3, dataloader_num_workers=1)
    read_ahead.train()
    plain = online_trainer(folder, tmp_path / "b", ahead=3)
    plain.train()
    assert read_ahead.model.shown == plain.model.shown
    too_far = OnlineCurriculum(folder, tmp_path / "order.bin", ROWS)
    np.full((STEPS, BATCH), -1).tofile(tmp_path / "order.bin")
    with pytest.raises(UserError, match="step 6 is read before it is planned"):
        too_far.example(5 * BATCH)


def test_each_kind_of_plan_is_read_by_its_own_reader(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="planned while it trains; read it with"):
        FollowedPlan.read(folder)
    words = ["--curriculum", "shuffle", "--samples", "20", "--steps", "5", "--batch", "4"]
    assert main(["train", "plan", *words, "--out", str(tmp_path / "known")]) == 0
    with pytest.raises(UserError, match="known beforehand; read it with FollowedPlan"):
        OnlineCurriculum(tmp_path / "known", tmp_path / "order.bin", ROWS)
