"""What objectives mask and predict, against CLIMB's table; losses against their definitions."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from e2lm_curriculum.corpus.reader import LAST_TAG, TAGS
from e2lm_curriculum.corpus.special_tokens import SpecialTokens
from e2lm_curriculum.corpus.tokenizer import END_OF_TEXT_ID, FIRST_TEXT_ID, MASK_ID, PADDING_ID, UNKNOWN_ID
from e2lm_curriculum.model.loss import MASKED_PASSES, attention_of, new_heads, objective_loss, passes_of, pseudo_nats_B
from e2lm_curriculum.model.objective import (
    IGNORED,
    LISTED_TAG_RATE,
    REPLACED,
    REPLACED_BY_BERT,
    TAGS_OF_OBJECTIVE,
    classes,
    masked_tokens,
    masking_rates,
    planned_labels,
)
from e2lm_curriculum.plan.setting import MASK_RATE

TOKENS_PL = np.array([[0, 3, 4, 50, 60, 70, 80]])
TAGS_PL = np.array([[0, 1, 2, 11, -1, 1, 0]])


def test_the_constants_are_those_of_climb_and_bert() -> None:
    assert (MASK_RATE, LISTED_TAG_RATE) == (0.15, 0.4)
    # CLIMB: 90 % masks, 10 % random tokens, none kept; its objectives over tags as in BERT: 80, 10 and 10.
    assert REPLACED == {"mlm": (0.9, 0.1)}
    assert REPLACED_BY_BERT == (0.8, 0.1)
    assert TAGS == ("NOUN", "VERB", "ADJ", "ADV", "PRON", "DET", "ADP", "NUM", "CONJ", "PRT", ".", "X")
    assert LAST_TAG == 11
    assert {
        "pos-all": TAGS[:11],
        "pos-noun-verb": ("NOUN", "VERB"),
        "pos-noun-verb-adj": ("NOUN", "VERB", "ADJ"),
    } == TAGS_OF_OBJECTIVE
    assert [classes(one) for one in TAGS_OF_OBJECTIVE] == [12, 3, 4]
    assert (IGNORED, MASKED_PASSES) == (-100, 7)


def test_special_tokens_have_the_numbers_that_tokenizers_on_disk_give_them() -> None:
    assert (END_OF_TEXT_ID, PADDING_ID, MASK_ID, UNKNOWN_ID, FIRST_TEXT_ID) == (0, 1, 2, 3, 4)


def test_rates_are_by_tag_and_nothing_special_is_ever_masked() -> None:
    assert masking_rates("mlm", TOKENS_PL, None).tolist() == [[0.0, 0.0, *[0.15] * 5]]
    assert masking_rates("mlm", TOKENS_PL, None, 0.3).tolist() == [[0.0, 0.0, *[0.3] * 5]]
    assert masking_rates("pos-noun-verb", TOKENS_PL, TAGS_PL).tolist() == [[0.0, 0.0, 0.15, 0.15, 0.0, 0.4, 0.4]]
    assert masking_rates("pos-noun-verb-adj", TOKENS_PL, TAGS_PL).tolist() == [[0.0, 0.0, 0.4, 0.15, 0.0, 0.4, 0.4]]
    assert masking_rates("pos-all", TOKENS_PL, TAGS_PL).tolist() == [[0.0, 0.0, 0.4, 0.15, 0.0, 0.4, 0.4]]


def test_labels_are_tokens_or_the_class_of_the_tag_and_all_other_tags_are_the_last_class() -> None:
    assert planned_labels("mlm", TOKENS_PL, None).tolist() == TOKENS_PL.tolist()
    assert planned_labels("pos-noun-verb", TOKENS_PL, TAGS_PL).tolist() == [[0, 1, 2, 2, 2, 1, 0]]
    assert planned_labels("pos-noun-verb-adj", TOKENS_PL, TAGS_PL).tolist() == [[0, 1, 2, 3, 3, 1, 0]]
    assert planned_labels("pos-all", TOKENS_PL, TAGS_PL).tolist() == [[0, 1, 2, 11, 11, 1, 0]]


@pytest.mark.parametrize(
    ("objective", "mask", "random"), [("mlm", 0.9, 0.1), ("pos-all", 0.8, 0.1), ("pos-noun-verb", 0.8, 0.1)]
)
def test_chosen_tokens_are_replaced_in_the_published_shares(objective: str, mask: float, random: float) -> None:
    tokens_PL = np.full((400, 500), 5)
    chosen_PL = np.zeros(tokens_PL.shape, bool)
    chosen_PL[:, :250] = True
    replaced_PL = masked_tokens(objective, tokens_PL, chosen_PL, SpecialTokens.own(104), np.random.default_rng(0))
    assert (replaced_PL[:, 250:] == 5).all()
    chosen = replaced_PL[:, :250]
    # 100,000 draws: five standard deviations are 0.0065 and less.
    assert (chosen == MASK_ID).mean() == pytest.approx(mask, abs=0.007)
    # Random ones are of all 100 that are text, the original among them.
    assert ((chosen != MASK_ID) & (chosen != 5)).mean() == pytest.approx(random * 0.99, abs=0.007)
    assert set(np.unique(chosen)) == {MASK_ID, *range(FIRST_TEXT_ID, 104)}


def test_there_is_a_head_for_each_objective_over_tags_and_none_else() -> None:
    heads = new_heads(("clm", "pos-all", "mlm", "pos-noun-verb"), 16)
    assert {name: (head.in_features, head.out_features) for name, head in heads.items()} == {
        "pos-all": (16, 12),
        "pos-noun-verb": (16, 3),
    }


@torch.no_grad()
def test_losses_of_objectives_are_means_over_their_own_places_and_add_up() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden_NLD = torch.randn(6, 4, 5, generator=generator)
    labels_NL = torch.randint(0, 3, (6, 4), generator=generator)
    labels_NL[2:4][torch.tensor([[True, False, True, True], [False, True, True, True]])] = IGNORED
    head = torch.nn.Linear(5, 3)
    token_head = torch.randn(5, 3, generator=generator)

    def token_loss(hidden_RD: torch.Tensor, labels_R: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(hidden_RD @ token_head, labels_R)

    found = objective_loss(hidden_NLD, labels_NL, ("clm", "mlm", "pos-noun-verb"), {"pos-noun-verb": head}, token_loss)
    log_p = (hidden_NLD @ token_head).log_softmax(-1)
    # Next token: places 0 to 2 of each of two pieces predict the label one further on.
    clm = -sum(log_p[n, t, labels_NL[n, t + 1]] for n in (0, 1) for t in range(3)) / 6
    mlm = -(log_p[2, 1, labels_NL[2, 1]] + log_p[3, 0, labels_NL[3, 0]]) / 2
    tags = -head(hidden_NLD[4:]).log_softmax(-1).gather(2, labels_NL[4:, :, None]).mean()
    assert float(found) == pytest.approx(float(clm + mlm + tags), rel=1e-5)
    none = torch.full((6, 4), IGNORED)
    assert float(objective_loss(hidden_NLD, none, ("mlm",), None, token_loss)) == 0.0


def test_attention_is_causal_for_next_tokens_alone() -> None:
    masks = attention_of(("mlm", "clm"), 2, 3, torch.device("cpu"))
    assert masks is not None
    assert masks.shape == (4, 1, 3, 3)
    assert masks[:2].all()
    assert masks[2:, 0].int().tolist() == [[[1, 0, 0], [1, 1, 0], [1, 1, 1]]] * 2


@given(st.integers(1, 30))
def test_a_text_takes_seven_passes_or_one_a_token(tokens: int) -> None:
    assert passes_of(tokens) == min(7, tokens)


@pytest.mark.parametrize("tokens", [3, 7, 17])
def test_pseudo_nats_ask_for_each_token_once_under_masks_seven_places_apart(tokens: int) -> None:
    asked: list[torch.Tensor] = []
    vocabulary = 11

    def model(input_ids: torch.Tensor) -> SimpleNamespace:
        """Its logit for a token is that token's number, whatever it sees."""
        asked.append(input_ids)
        return SimpleNamespace(logits=torch.arange(float(vocabulary)).expand(*input_ids.shape, -1))

    ids_BT = torch.arange(2 * tokens).reshape(2, tokens) % 4 + 5
    nats_B = pseudo_nats_B(model, ids_BT)
    log_sum = float(torch.arange(float(vocabulary)).logsumexp(0))
    assert nats_B.tolist() == pytest.approx([sum(log_sum - float(token) for token in row) for row in ids_BT])
    masked = torch.stack([(one == MASK_ID) for one in asked])
    assert (masked.sum(dim=0) == 1).all()
    first = masked[0, 0].nonzero().ravel().tolist()
    assert first == list(range(0, tokens, min(7, tokens)))
