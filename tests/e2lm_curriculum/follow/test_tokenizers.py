"""A plan that limits a vocabulary or masks, with the tokenizers that people have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from e2lm.command_line import main
from e2lm.errors import UserError
from e2lm_curriculum.corpus.special_tokens import SpecialTokens
from e2lm_curriculum.follow.plan import FollowedPlan
from e2lm_curriculum.follow.torch_data import PlannedCollator, PlannedExamples

STEPS, LENGTH = 5, 12
SPACE = LENGTH * 28


def gpt2_like(**special: str) -> Any:
    """All 256 bytes first, merges after them, and one special token at the end that is four things at once."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=SPACE - 1, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([f"{a}{b}{a}{c}" for a in "abcdefgh" for b in "ijklmn" for c in "opqrs"], trainer)
    end = "<|endoftext|>"
    roles = {"bos_token": end, "eos_token": end, "unk_token": end}
    found = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles)
    if special:
        found.add_special_tokens(special)
    return found


def plan_of(curriculum: dict[str, Any], examples: int, place: Path) -> FollowedPlan:
    (place / "scores.txt").write_text("\n".join(map(str, range(examples))), encoding="utf-8")
    words = ["--scores", str(place / "scores.txt"), "--sequence-length", str(LENGTH), "--steps", str(STEPS)]
    config = place / "c.yml"
    config.write_text(json.dumps(curriculum), encoding="utf-8")
    words += ["--curriculum", str(config), "--batch", str(examples), "--out", str(place / "plan")]
    assert main(["train", "plan", *words]) == 0
    return FollowedPlan.read(place / "plan")


VOCABULARY = {"vocabulary": {"map": "token-id", "pacing": {"kind": "linear", "start": 0.0, "end": 0.5}}}


def test_a_vocabulary_curriculum_keeps_special_tokens_and_ends_with_every_ordinary_one(tmp_path: Path) -> None:
    tokenizer = gpt2_like(unk_token="<|unk|>")
    vocabulary = len(tokenizer)
    ids = np.arange(vocabulary)
    rows = np.resize(ids, (-(-vocabulary // LENGTH), LENGTH)).tolist()
    plan = plan_of(VOCABULARY, len(rows), tmp_path)
    shares_S = plan.plan.vocabulary_shares_S
    assert shares_S is not None
    data = PlannedExamples(plan, [{"input_ids": row} for row in rows])
    collate = PlannedCollator(plan, tokenizer)
    end, unknown = tokenizer.eos_token_id, tokenizer.unk_token_id
    for step in range(STEPS):
        draws = [data[step * len(rows) + place] for place in range(len(rows))]
        asked = np.concatenate([draw.item["input_ids"] for draw in draws])
        batch = collate(draws)
        shown = batch["input_ids"].numpy().reshape(-1)
        left_out = (asked > shares_S[step] * vocabulary) & (asked != end)
        assert (shown == np.where(left_out, unknown, asked)).all()
        assert (batch["labels"].numpy().reshape(-1) == shown).all()
    assert shares_S[0] < 0.2
    assert shares_S[-1] == 1.0
    assert (shown == asked).all()
    assert set(asked.tolist()) == set(range(vocabulary))


def test_masks_fall_on_ordinary_tokens_alone_and_random_ones_are_ordinary(tmp_path: Path) -> None:
    tokenizer = gpt2_like(mask_token="<|mask|>")
    special = {tokenizer.eos_token_id, tokenizer.mask_token_id}
    rows = np.random.default_rng(0).integers(0, len(tokenizer), (60, LENGTH))
    plan = plan_of({"mask_rate": {"start": 0.6, "end": 0.6}}, len(rows), tmp_path)
    data = PlannedExamples(plan, rows.tolist())
    collate = PlannedCollator(plan, tokenizer, objective="mlm")
    draws = [data[place] for place in range(len(rows))]
    batch = collate(draws)
    asked = np.stack([draw.item for draw in draws])
    shown, labels = batch["input_ids"].numpy(), batch["labels"].numpy()
    assert not np.isin(asked[labels != -100], list(special)).any()
    assert (labels != -100).mean() == pytest.approx(0.6, abs=0.06)
    changed = shown != asked
    assert set(shown[changed].tolist()) & special == {tokenizer.mask_token_id}
    assert (changed <= (labels != -100)).all()
    # The mask of a draw is its own, whoever shares its batch.
    alone = [collate([draw])["input_ids"].numpy() for draw in draws]
    assert (np.concatenate(alone) == shown).all()


def test_a_token_that_is_missing_or_means_something_else_is_refused(tmp_path: Path) -> None:
    assert SpecialTokens.of(gpt2_like()).unknown is None
    for name, curriculum, objective in (
        ("unk", VOCABULARY, "clm"),
        ("mask", {"mask_rate": {"start": 0.3, "end": 0.1}}, "mlm"),
    ):
        (tmp_path / name).mkdir()
        plan = plan_of(curriculum, 4, tmp_path / name)
        with pytest.raises(UserError, match=rf"has no {name}_token of its own.*add_special_tokens"):
            PlannedCollator(plan, gpt2_like(), objective=objective)


@pytest.mark.parametrize(
    ("curriculum", "told", "message"),
    [
        ({"objectives": [{"objective": "pos-all"}]}, {}, "trains pos-all, which takes heads"),
        ({"objectives": [{"objective": "mlm", "end": 0.5}, {"objective": "clm", "start": 0.5}]}, {}, "trains mlm"),
        ({"mask_rate": {"start": 0.3, "end": 0.1}}, {}, "objective='clm' masks none"),
        (VOCABULARY, {"collate": list}, "sets vocabulary_shares by step, which collate= would not do"),
        ({"vocabulary": {"map": "pos"}}, {}, "vocabulary by pos needs parts of speech"),
    ],
)
def test_what_a_model_of_ones_own_cannot_do_is_refused(
    curriculum: dict[str, Any], told: dict[str, Any], message: str, tmp_path: Path
) -> None:
    plan = plan_of(curriculum, 4, tmp_path)
    with pytest.raises(UserError, match=message):
        PlannedCollator(plan, gpt2_like(unk_token="<|unk|>", mask_token="<|mask|>"), **told)


def test_tokens_of_the_plan_are_not_read_by_another_tokenizer(corpus_file: Path, tmp_path: Path) -> None:
    words = ["--corpus", str(corpus_file), "--curriculum", "shuffle", "--sequence-length", "16", "--steps", "4"]
    assert main(["train", "plan", *words, "--batch", "2", "--out", str(tmp_path / "plan")]) == 0
    plan = FollowedPlan.read(tmp_path / "plan")
    data = PlannedExamples(plan)
    with pytest.raises(UserError, match="tokens of its own tokenizer, not of the one given"):
        PlannedCollator(plan, gpt2_like())([data[0], data[1]])
    own = PreTrainedTokenizerFast.from_pretrained(tmp_path / "plan")
    assert PlannedCollator(plan, own)([data[0], data[1]])["input_ids"].shape == (2, 16)
