"""What a step trains on; among it what CLIMB's code gets wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from e2lm.curriculum import ObjectiveSpan, Plan
from e2lm_curriculum.corpus.special_tokens import SpecialTokens
from e2lm_curriculum.corpus.tokenizer import FIRST_TEXT_ID, MASK_ID, UNKNOWN_ID
from e2lm_curriculum.model.family import new_llama, new_roberta
from e2lm_curriculum.model.loss import attention_of
from e2lm_curriculum.model.objective import classes, masking_rates
from e2lm_curriculum.model.size import model_size
from e2lm_curriculum.train.batch import Draw, PlannedBatch, limited_tokens
from e2lm_curriculum.train.recipe import head_rate

STEPS = 8
BATCH = 64
LENGTH = 32
VOCABULARY = 400
NO_INDICES = np.empty((STEPS, 0), dtype=np.int64)

PLAN = Plan(NO_INDICES)


def draws(step: int, seed: int = 0) -> list[Draw | None]:
    rng = np.random.default_rng(seed)
    tokens_BT = rng.integers(0, VOCABULARY, (BATCH, LENGTH))
    tags_BT = rng.integers(-1, 12, (BATCH, LENGTH)).astype(np.int8)
    return [Draw(step * BATCH + place, tokens_BT[place], tags_BT[place]) for place in range(BATCH)]


def maker(plan: Plan, default: str = "mlm") -> PlannedBatch:
    return PlannedBatch(plan, default, SpecialTokens.own(VOCABULARY), BATCH, seed=5)


def tokens(step: int) -> np.ndarray:
    return np.stack([draw.tokens_T for draw in draws(step) if draw is not None])


def test_masks_depend_on_the_place_in_the_plan_alone() -> None:
    batches = [maker(PLAN)(draws(3)) for _ in range(2)]
    torch.manual_seed(99)
    batches.append(maker(PLAN)(draws(3)))
    assert all(torch.equal(batch["labels"], batches[0]["labels"]) for batch in batches)
    assert not torch.equal(maker(PLAN)(draws(4))["labels"], batches[0]["labels"])


def test_masked_tokens_have_climbs_shares_and_special_tokens_are_never_chosen() -> None:
    inputs, labels = (maker(PLAN)(draws(0))[name].numpy() for name in ("input_ids", "labels"))
    original = tokens(0)
    chosen = labels != -100
    text = original >= FIRST_TEXT_ID
    assert not chosen[~text].any()
    assert chosen[text].mean() == pytest.approx(0.15, abs=0.03)
    assert (labels[chosen] == original[chosen]).all()
    assert (inputs[~chosen] == original[~chosen]).all()
    assert (inputs[chosen] == MASK_ID).mean() == pytest.approx(0.9, abs=0.06)
    assert ((inputs[chosen] != MASK_ID) & (inputs[chosen] == original[chosen])).mean() < 0.02


def test_the_mask_rate_is_that_of_the_step() -> None:
    plan = replace(PLAN, mask_rates_S=np.linspace(0.6, 0.1, STEPS))
    rates = [float((maker(plan)(draws(step))["labels"] != -100).float().mean()) for step in (0, STEPS - 1)]
    assert rates[0] == pytest.approx(0.6, abs=0.05)
    assert rates[1] == pytest.approx(0.1, abs=0.03)


def test_a_sequence_length_cuts_examples_and_keeps_every_token() -> None:
    plan = replace(PLAN, sequence_lengths_S=np.array([8] * 4 + [32] * 4))
    short, whole = (maker(plan, "clm")(draws(step))["input_ids"] for step in (0, 4))
    assert short.shape == (BATCH * 4, 8)
    assert whole.shape == (BATCH, 32)
    assert torch.equal(short.reshape(-1), whole.reshape(-1))


def test_objectives_change_exactly_at_their_steps_and_lie_below_each_other_where_they_overlap() -> None:
    spans = (ObjectiveSpan(0, 3, "pos-all"), ObjectiveSpan(2, 8, "mlm"))
    make = maker(replace(PLAN, objectives=spans))
    found = [make(draws(step))["objectives"] for step in range(STEPS)]
    assert found == [("pos-all",)] * 2 + [("pos-all", "mlm")] + [("mlm",)] * 5
    assert make(draws(2))["input_ids"].shape == (2 * BATCH, LENGTH)


def test_parts_of_speech_are_masked_more_often_and_labelled_with_their_class() -> None:
    make = maker(replace(PLAN, objectives=(ObjectiveSpan(0, STEPS, "pos-noun-verb"),)))
    labels = make(draws(0))["labels"].numpy()
    tags = np.stack([draw.tags_T for draw in draws(0) if draw is not None and draw.tags_T is not None])
    text = tokens(0) >= FIRST_TEXT_ID
    chosen = labels != -100
    assert not chosen[tags < 0].any()
    assert chosen[text & np.isin(tags, [0, 1])].mean() == pytest.approx(0.4, abs=0.07)
    assert chosen[text & (tags > 1)].mean() == pytest.approx(0.15, abs=0.03)
    assert (labels[chosen] == np.minimum(tags[chosen], 2)).all()
    assert [classes(one) for one in ("pos-all", "pos-noun-verb", "pos-noun-verb-adj")] == [12, 3, 4]
    assert masking_rates("mlm", np.array([[0, 1, 2, 3, 4]]), None).tolist() == [[0.0, 0.0, 0.0, 0.0, 0.15]]


def test_vocabulary_thresholds_are_climbs() -> None:
    ids = np.array([[0, 3, 40, 41, 399]])
    assert limited_tokens(ids, None, 0.1, "token-id", SpecialTokens.own(400)).tolist() == [
        [0, 3, 40, UNKNOWN_ID, UNKNOWN_ID]
    ]
    tags = np.array([[0, 1, 5, 6, -1]])
    # 0.5 of 11 is 5.5: tags 0 to 5 are in; without a tag nothing is known, so the token stays.
    assert limited_tokens(ids, tags, 0.5, "pos", SpecialTokens.own(400)).tolist() == [[0, 3, 40, UNKNOWN_ID, 399]]
    # A tag or an id right at the threshold is in; a noun, tag 0, is out of nothing but an empty pacing over tags.
    assert limited_tokens(ids, np.array([[0, 1, 5, 6, -1]]), 5 / 11, "pos", SpecialTokens.own(400)).tolist()[0][
        2:4
    ] == [
        40,
        UNKNOWN_ID,
    ]
    assert limited_tokens(
        np.array([[40, 41]]), np.array([[0, 0]]), 40 / 4400, "pos-and-token-id", SpecialTokens.own(400)
    ).tolist() == [[40, UNKNOWN_ID]]
    # 0.1 of 11 * 400 is 440: a noun (0) is in with any id, a verb (1) up to 40.
    one = np.array([[399, 39, 40, 41]])
    verb = np.array([[0, 1, 1, 1]])
    assert limited_tokens(one, verb, 0.1, "pos-and-token-id", SpecialTokens.own(400)).tolist() == [
        [399, 39, 40, UNKNOWN_ID]
    ]


def test_a_limited_vocabulary_reaches_inputs_and_token_labels_but_never_labels_of_parts_of_speech() -> None:
    spans = (ObjectiveSpan(0, STEPS, "pos-all"), ObjectiveSpan(0, STEPS, "mlm"))
    free = replace(PLAN, objectives=spans)
    limited = replace(free, vocabulary_shares_S=np.full(STEPS, 0.0), vocabulary_map="pos")
    labels = [maker(plan)(draws(0))["labels"].chunk(2) for plan in (free, limited)]
    # CLIMB overwrites tags above the largest special identifier with the unknown token's.
    assert torch.equal(labels[0][0], labels[1][0])
    assert int(labels[1][0].max()) > UNKNOWN_ID
    inputs = maker(limited)(draws(0))["input_ids"].numpy()
    tags = np.stack([draw.tags_T for draw in draws(0) if draw is not None and draw.tags_T is not None])
    assert set(np.unique(inputs[BATCH:][tags > 0])) <= {0, 1, MASK_ID, UNKNOWN_ID}
    masked = labels[1][1].numpy()
    assert (masked[(masked != -100) & (tags > 0)] == UNKNOWN_ID).all()


def test_draws_that_are_not_planned_yet_make_a_batch_that_no_model_takes() -> None:
    batch = maker(PLAN)([*draws(0)[:3], None])
    assert batch == {}
    with pytest.raises(ValueError, match="input_ids"):
        new_llama(model_size("1x16"), VOCABULARY, LENGTH, 0)(**batch)


def test_a_llama_looks_both_ways_only_for_masked_tokens() -> None:
    clm, mlm = (attention_of((one, "mlm"), 2, 4, torch.device("cpu")) for one in ("clm", "mlm"))
    assert attention_of(("clm",), 2, 4, torch.device("cpu")) is None
    assert clm is not None
    assert mlm is not None
    assert torch.equal(clm[0, 0], torch.ones(4, 4, dtype=torch.bool).tril())
    assert clm[2:].all()
    assert mlm.all()
    model = new_llama(model_size("1x16"), VOCABULARY, LENGTH, 0)
    ids = torch.arange(4, 12)[None]
    labels = torch.full_like(ids, -100)
    labels[0, 0] = 50
    changed = ids.clone()
    changed[0, 7] = 99
    with torch.no_grad():
        losses = [float(model(input_ids=one, labels=labels, objectives=("mlm",)).loss) for one in (ids, changed)]
        causal = [model(input_ids=one).logits[0, :7] for one in (ids, changed)]
    assert losses[0] != losses[1]  # the first place sees the last
    assert torch.equal(*causal)


@torch.no_grad()
def test_the_losses_of_objectives_are_added_in_one_pass() -> None:
    model = new_roberta(model_size("1x16"), VOCABULARY, LENGTH, 0, ("pos-all", "mlm"))
    spans = (ObjectiveSpan(0, STEPS, "pos-all"), ObjectiveSpan(0, STEPS, "mlm"))
    batch = maker(replace(PLAN, objectives=spans))(draws(0))
    both = float(model(**batch).loss)
    parts = [
        float(model(input_ids=ids, labels=labels, objectives=(one,)).loss)
        for ids, labels, one in zip(
            batch["input_ids"].chunk(2), batch["labels"].chunk(2), batch["objectives"], strict=True
        )
    ]
    assert both == pytest.approx(sum(parts), rel=1e-5)
    reference = torch.nn.functional.cross_entropy(
        model(input_ids=batch["input_ids"].chunk(2)[1]).logits.flatten(0, 1), batch["labels"].chunk(2)[1].flatten()
    )
    assert parts[1] == pytest.approx(float(reference), rel=1e-5)


def test_a_head_warms_up_within_its_own_span_and_rests_outside_it() -> None:
    span = ObjectiveSpan(100, 200, "pos-all")
    assert head_rate(span, 99) == 0.0
    assert head_rate(span, 105) == pytest.approx(0.5)
    assert head_rate(span, 110) == 1.0
    assert head_rate(span, 155) == pytest.approx(0.5)
    assert head_rate(span, 201) == 0.0


def test_heads_are_in_the_one_optimiser_that_clips_everything_and_are_paced_by_their_own_span() -> None:
    from transformers import Trainer, TrainingArguments

    from e2lm_curriculum.train.recipe import HEAD_LEARNING_RATE, add_head_groups

    model = new_roberta(model_size("1x16"), VOCABULARY, LENGTH, 0, ("pos-all", "mlm"))
    arguments = TrainingArguments(output_dir="unused", max_steps=40, use_cpu=True, report_to="none", learning_rate=0.5)
    trainer = Trainer(model=model, args=arguments)
    add_head_groups(trainer, model, (ObjectiveSpan(10, 30, "pos-all"), ObjectiveSpan(0, 40, "mlm")), 40)
    assert trainer.optimizer is not None
    assert trainer.lr_scheduler is not None
    grouped = [id(one) for group in trainer.optimizer.param_groups for one in group["params"]]
    # Trainer clips model.parameters(): CLIMB's heads were not among them.
    assert sorted(grouped) == sorted(id(one) for one in model.parameters())
    head = [id(one) for one in model.objective_heads["pos-all"].parameters()]
    assert [id(one) for one in trainer.optimizer.param_groups[-1]["params"]] == head
    rates = []
    for _ in range(40):
        rates.append(trainer.optimizer.param_groups[-1]["lr"])
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    # The step that the span begins with is the first of the warm-up, two steps long.
    assert rates[:13] == pytest.approx([0.0] * 11 + [0.5 * HEAD_LEARNING_RATE, HEAD_LEARNING_RATE])
    assert rates[29] > 0.0
    assert rates[30:] == [0.0] * 10
    assert trainer.optimizer.param_groups[0]["lr"] < 0.5


@torch.no_grad()
def test_next_tokens_cost_the_same_with_and_without_a_name() -> None:
    model = new_llama(model_size("1x16"), VOCABULARY, LENGTH, 0)
    ids = torch.from_numpy(tokens(0))
    named = model(input_ids=ids, labels=ids, objectives=("clm",)).loss
    assert float(named) == pytest.approx(float(model(input_ids=ids, labels=ids).loss), rel=1e-6)
    logits = model(input_ids=ids).logits[:, :-1].flatten(0, 1)
    assert float(named) == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits, ids[:, 1:].flatten())), rel=1e-5
    )
