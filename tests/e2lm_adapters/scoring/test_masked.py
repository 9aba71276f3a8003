"""Pseudo-log-likelihoods are those of the definition, for RoBERTa and BERT, whole words or not."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
)

from e2lm import UserError
from e2lm.errors import NotFiniteError
from e2lm_adapters.scoring.masked import E2lmMlm, MaskedCopy

TEXT = "the unbelievable cat sat on the unbelievably warm mat and the dog sat on the cat " * 4
SPECIAL = {"cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>", "pad_token": "<pad>"}


def tokenizer() -> PreTrainedTokenizerFast:
    own = Tokenizer(models.BPE())
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=list(SPECIAL.values()), initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    own.train_from_iterator([TEXT], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=own, **SPECIAL)


@pytest.fixture(scope="module", params=["roberta", "bert"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("mlm") / request.param
    words = tokenizer()
    shape = {
        "vocab_size": len(words),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": 40,
        "pad_token_id": words.pad_token_id,
        "initializer_range": 0.5,
    }
    torch.manual_seed(0)
    if request.param == "roberta":
        model: Any = RobertaForMaskedLM(RobertaConfig(**shape))
    else:
        model = BertForMaskedLM(BertConfig(**shape))
    model.save_pretrained(place)
    words.save_pretrained(place)
    return place


def requests(*pairs: tuple[str, ...]) -> list[Instance]:
    kind = "loglikelihood" if len(pairs[0]) == 2 else "loglikelihood_rolling"
    return [Instance(request_type=kind, doc={}, arguments=pair, idx=0) for pair in pairs]


def by_definition(folder: Path, context: str, continuation: str, whole_words: bool = False) -> tuple[float, bool]:
    """One forward pass per token over the whole text, with all logits."""
    model, words = AutoModelForMaskedLM.from_pretrained(folder).eval(), PreTrainedTokenizerFast.from_pretrained(folder)
    encoding = words(context + continuation)
    ids = [words.cls_token_id, *encoding["input_ids"], words.sep_token_id]
    of_word = [None, *encoding.word_ids(), None]
    first = 1 + len(words(context)["input_ids"])
    total, greedy = 0.0, True
    for place in range(first, len(ids) - 1):
        masked = list(ids)
        for other in range(place, len(ids) - 1):
            if other == place or (whole_words and of_word[other] == of_word[place]):
                masked[other] = words.mask_token_id
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([masked])).logits[0, place]
        total += float(logits.log_softmax(-1)[ids[place]])
        greedy &= int(logits.argmax()) == ids[place]
    return total, greedy


PAIRS = [("", "the cat sat on the mat"), ("the dog", " sat on the unbelievable mat"), ("", "unbelievably")]


@pytest.mark.parametrize("whole_words", [False, True])
def test_scores_are_those_of_the_definition(folder: Path, whole_words: bool) -> None:
    model = E2lmMlm(str(folder), whole_words=whole_words, device="cpu")
    answers = model.loglikelihood(requests(*PAIRS), disable_tqdm=True)
    for (loglik, greedy), pair in zip(answers, PAIRS, strict=True):
        expected = by_definition(folder, *pair, whole_words=whole_words)
        assert loglik == pytest.approx(expected[0], abs=1e-4)
        assert greedy == expected[1]


def test_whole_words_change_the_score_of_words_of_several_pieces_only(folder: Path) -> None:
    one, other = (E2lmMlm(str(folder), whole_words=whole, device="cpu") for whole in (False, True))
    pieces = [one.tokenizer(text)["input_ids"] for text in ("e", "warmest")]
    assert len(pieces[0]) == 1 < len(pieces[1])
    asked = requests(("", "e"), ("", "warmest"))
    plain, whole = one.loglikelihood(asked, disable_tqdm=True), other.loglikelihood(asked, disable_tqdm=True)
    assert plain[0][0] == pytest.approx(whole[0][0], abs=1e-5)
    assert abs(plain[1][0] - whole[1][0]) > 1e-3


def test_batches_do_not_change_scores(folder: Path) -> None:
    small, large = (E2lmMlm(str(folder), token_budget=budget, device="cpu") for budget in (1, 10_000))
    for one, other in zip(
        small.loglikelihood(requests(*PAIRS), disable_tqdm=True),
        large.loglikelihood(requests(*PAIRS), disable_tqdm=True),
        strict=True,
    ):
        assert one[0] == pytest.approx(other[0], abs=1e-4)


def test_a_text_longer_than_the_model_is_scored_in_windows(folder: Path) -> None:
    model = E2lmMlm(str(folder), device="cpu")
    (total,) = model.loglikelihood_rolling(requests((TEXT,)), disable_tqdm=True)
    assert len(model.tokenizer(TEXT)["input_ids"]) > 40
    assert -1e5 < total < 0


def test_a_text_that_cannot_be_encoded_is_named_and_is_not_the_likeliest_of_all(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = E2lmMlm(str(folder), device="cpu")
    texts: list[Any] = [("the cat",), (7,), ("",)]
    with pytest.raises(UserError, match="1 of 3 requests have no token to score"):
        model.loglikelihood_rolling(requests(*texts), disable_tqdm=True)
    model.raises_if_not_finite = False
    known, unknown, nothing = model.loglikelihood_rolling(requests(*texts), disable_tqdm=True)
    assert unknown == -math.inf < known < nothing == 0.0
    assert "1 of 3 requests have no token to score (7)" in caplog.text


def test_the_context_is_seen_but_not_scored(folder: Path) -> None:
    model = E2lmMlm(str(folder), device="cpu")
    asked = requests(("the dog", " sat"), ("the cat", " sat"), ("the dog ", "sat"))
    first, second, spaced = (loglik for loglik, _ in model.loglikelihood(asked, disable_tqdm=True))
    assert first != second
    assert first == spaced
    assert model.continuation_tokens_of([("the dog", " sat"), ("never", " asked")]) == [
        len(model.tokenizer(" sat")["input_ids"]),
        -1,
    ]


def test_a_causal_model_and_a_tokenizer_without_mask_are_refused_in_one_line(tmp_path: Path) -> None:
    words = tokenizer()
    LlamaForCausalLM(
        LlamaConfig(vocab_size=300, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    ).save_pretrained(tmp_path / "llama")
    words.save_pretrained(tmp_path / "llama")
    with pytest.raises(UserError, match="no masked language model"):
        E2lmMlm(str(tmp_path / "llama"), device="cpu")
    words.mask_token = None
    words.save_pretrained(tmp_path / "llama")
    with pytest.raises(UserError, match="no mask token"):
        E2lmMlm(str(tmp_path / "llama"), device="cpu")


def test_generation_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="cannot generate"):
        E2lmMlm(str(folder), device="cpu").generate_until([])


def test_the_stock_registry_knows_the_model() -> None:
    from e2lm_adapters.eval.evaluator import model_class

    assert model_class("e2lm-mlm") is E2lmMlm


def test_a_number_that_is_none_is_refused_unless_somebody_looks_at_every_task(folder: Path) -> None:
    lm = E2lmMlm(str(folder), device="cpu")
    with torch.no_grad():
        next(iter(lm.model.parameters())).fill_(float("nan"))
    asked = requests(("the cat", " sat"))
    with pytest.raises(NotFiniteError, match=r"log-likelihood of nan \(request 0\)"):
        lm.loglikelihood(asked, disable_tqdm=True)
    lm.raises_if_not_finite = False
    ((loglik, _),) = lm.loglikelihood(asked, disable_tqdm=True)
    assert math.isnan(loglik)


def test_a_token_is_greedy_where_its_logit_is_the_largest(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = E2lmMlm(str(folder), device="cpu")
    logits_RV = torch.tensor([[0.0, 1.0, 5.0], [3.0, 1.0, -2.0], [0.0, 9.0, -9.0]])
    monkeypatch.setattr(model, "_logits", lambda *given: logits_RV)
    copies = [MaskedCopy(request=0, tokens=(0, 1), place=1, target=target) for target in (2, 2, 1)]
    logliks, greedy = model._scored(copies)
    assert greedy == [True, False, True]
    assert logliks == pytest.approx(
        [float(row.log_softmax(-1)[t]) for row, t in zip(logits_RV, (2, 2, 1), strict=True)]
    )


#: What looks at padding, and what has fewer positions than its config says.
OTHERS: dict[str, dict[str, Any]] = {
    "fnet": {},
    "convbert": {"embedding_size": 32},
    "mpnet": {},
    "longformer": {"attention_window": [4, 4]},
    "esm": {"mask_token_id": 2},
    "modernbert": {"local_attention": 8, "global_attn_every_n_layers": 2},
    "ibert": {},
}


@pytest.fixture(scope="module", params=OTHERS)
def other_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place, words = tmp_path_factory.mktemp("others") / request.param, tokenizer()
    config = AutoConfig.for_model(
        request.param,
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=40,
        pad_token_id=words.pad_token_id,
        initializer_range=0.3,
        **OTHERS[request.param],
    )
    torch.manual_seed(0)
    AutoModelForMaskedLM.from_config(config).save_pretrained(place)
    words.save_pretrained(place)
    return place


def test_the_definition_holds_for_every_family_whatever_shares_a_batch_and_long_texts_are_cut(
    other_folder: Path,
) -> None:
    model = E2lmMlm(str(other_folder), device="cpu")
    answers = model.loglikelihood(requests(*PAIRS), disable_tqdm=True)
    for (loglik, greedy), pair in zip(answers, PAIRS, strict=True):
        expected = by_definition(other_folder, *pair)
        assert loglik == pytest.approx(expected[0], abs=1e-4)
        assert greedy == expected[1]
    assert len(model.tokenizer(TEXT)["input_ids"]) > 40
    assert math.isfinite(model.loglikelihood(requests((TEXT, " the cat")), disable_tqdm=True)[0][0])


def test_a_family_that_takes_no_text_of_this_length_is_named_in_one_line(tmp_path: Path) -> None:
    words = tokenizer()
    config = AutoConfig.for_model(
        "nystromformer", vocab_size=300, hidden_size=32, num_hidden_layers=1, num_attention_heads=4,
        intermediate_size=48, num_landmarks=8, segment_means_seq_len=64, max_position_embeddings=80,
    )  # fmt: skip
    AutoModelForMaskedLM.from_config(config).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="NystromformerForMaskedLM does not take a text of"):
        E2lmMlm(str(tmp_path), device="cpu").loglikelihood(requests(("the cat", " sat")), disable_tqdm=True)


def test_a_choice_without_tokens_is_named_and_never_the_likeliest(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lm = E2lmMlm(str(folder), device="cpu")
    asked = requests(("the cat", ""), ("the cat", " sat"))
    with pytest.raises(UserError, match="1 of 2 requests have no token to score"):
        lm.loglikelihood(asked, disable_tqdm=True)
    lm.raises_if_not_finite = False
    (empty, greedy), (other, _) = lm.loglikelihood(asked, disable_tqdm=True)
    assert (empty, greedy) == (-math.inf, False)
    assert other > empty
    assert "have no token to score" in caplog.text
    assert lm.continuation_tokens_of([("the cat", "")]) == [0]
