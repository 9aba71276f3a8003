from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lm_eval.models.huggingface import HFLM

from e2lm import UserError
from e2lm.live_weights import WeightSwapper
from e2lm.weights import read_weight_index
from e2lm_adapters.scoring.hf import E2lmHf
from e2lm_adapters.scoring.swap import stored_tensors
from tests.e2lm_adapters.conftest import Pair, instances, pairs_of_items, scored, words

#: Largest allowed difference to stock scoring in float32, nats.
FLOAT32_DIFFERENCE = 1e-4
CONTEXT = 512
SIZE: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.1,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
GATED = {"intermediate_size": 128}
GROUPED = {**GATED, "num_key_value_heads": 2}
#: Family -> what is special about it.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {**GROUPED, "tie_word_embeddings": False}),
    "llama-tied": ("llama", {**GROUPED, "tie_word_embeddings": True}),
    "llama-eager": ("llama", {**GROUPED, "attn_implementation": "eager"}),
    "gpt2": ("gpt2", {}),
    "gpt-neox": ("gpt_neox", GATED),
    "olmo": ("olmo", GATED),
    "olmo2": ("olmo2", GATED),
    "qwen2": ("qwen2", {**GROUPED, "sliding_window": None}),
    "qwen3": ("qwen3", {**GROUPED, "head_dim": 16}),
    "mistral": ("mistral", {**GROUPED, "sliding_window": None}),
}


def built(kind: str, seed: int = 1, dtype: Any = None, **special: Any) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(seed)
    attention = special.pop("attn_implementation", "sdpa")
    config = AutoConfig.for_model(kind, **SIZE, **special)
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=dtype).eval()


def both(model: Any, tokenizer: Any, **options: Any) -> tuple[E2lmHf, HFLM]:
    common: dict[str, Any] = {"tokenizer": tokenizer, "device": "cpu"}
    return E2lmHf(model, **common, show_progress=False, **options), HFLM(model, **common, batch_size=8)


def mixed_pairs() -> list[Pair]:
    """Items, worked examples before all of them, empty contexts, letters, long contexts, repetitions."""
    rng = np.random.default_rng(3)
    examples = words(rng, 40) + "\n\n"
    pairs = pairs_of_items(1, 6) + pairs_of_items(2, 6, before=examples)
    pairs += [("", words(rng, 3)) for _ in range(3)]
    pairs += [(words(rng, 12) + "\nAnswer:", f" {letter}") for letter in "ABCD"]
    question = words(rng, 12) + "\nAnswer:"
    pairs += [(question, f" {letter}") for letter in "ABCD"]
    pairs += [(words(rng, 400), " " + words(rng, 4)) for _ in range(2)]
    return pairs + pairs[:5]


def assert_equals_stock(ours: E2lmHf, stock: HFLM, pairs: list[Pair]) -> None:
    loglik, greedy = scored(ours, pairs)
    stock_loglik, stock_greedy = scored(stock, pairs)
    np.testing.assert_allclose(loglik, stock_loglik, rtol=0, atol=FLOAT32_DIFFERENCE)
    np.testing.assert_array_equal(greedy, stock_greedy)


@pytest.mark.parametrize("family", FAMILIES)
def test_log_likelihoods_and_greedy_flags_are_those_of_stock_scoring(
    family: str, tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    kind, special = FAMILIES[family]
    ours, stock = both(built(kind, **special), tokenizer)
    with caplog.at_level(logging.WARNING):
        assert_equals_stock(ours, stock, mixed_pairs())
    assert "scores the stock way" not in caplog.text
    assert ours.verification is not None
    assert ours.verification.agrees
    assert ours.verification.largest_difference <= FLOAT32_DIFFERENCE


def test_the_most_likely_continuation_is_flagged_greedy(tokenizer: Any) -> None:
    import torch

    model = built("llama", **FAMILIES["llama"][1])
    ours, _ = both(model, tokenizer)
    context = tokenizer.encode("The statement is")
    pairs = []
    for length in (1, 2, 3):
        with torch.inference_mode():
            whole = model.generate(torch.tensor([context]), max_new_tokens=length, do_sample=False)[0].tolist()
        pairs.append((context, whole[len(context) :]))
    from e2lm_adapters.scoring.prefix_tree import TokenRequest, planned

    requests = [TokenRequest(tuple(start), tuple(rest)) for start, rest in pairs]
    requests += [TokenRequest(one.context, (*one.continuation[:-1], one.continuation[-1] ^ 1)) for one in requests]
    _, greedy = ours._scorer.score(planned(requests, CONTEXT))  # type: ignore[union-attr]
    assert greedy.tolist() == [True] * 3 + [False] * 3


@pytest.mark.parametrize(
    ("kind", "special", "reason"),
    [
        (
            "mistral",
            {**GROUPED, "sliding_window": 16},
            "layers see 16 tokens (sliding_window); the longest request has",
        ),
        ("gemma2", {**GROUPED, "head_dim": 16, "sliding_window": 4096}, ""),
    ],
)
def test_where_prefixes_cannot_be_shared_stock_scoring_is_used_or_agrees(
    kind: str, special: dict[str, Any], reason: str, tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        ours, stock = both(built(kind, **special), tokenizer)
        assert_equals_stock(ours, stock, pairs_of_items(1, 6))
    stock_way = "scores the stock way" in caplog.text
    assert stock_way or (ours.verification is not None and ours.verification.agrees)
    assert reason in caplog.text
    assert not reason or stock_way


def test_one_text_cut_at_two_places_is_scored_as_each_cut_alone(
    tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """lm-eval 0.4.13 itself gives the shorter continuation the wrong rows when both are in one list."""
    ours, stock = both(built("llama", **FAMILIES["llama"][1]), tokenizer, verify=2)
    text = words(np.random.default_rng(0), 12).split()
    pairs = [(" ".join(text[:cut]), " " + " ".join(text[cut:])) for cut in (6, 9)]
    alone = [scored(stock, [pair])[0][0] for pair in pairs]
    with caplog.at_level(logging.WARNING):
        np.testing.assert_allclose(scored(ours, pairs)[0], alone, rtol=0, atol=FLOAT32_DIFFERENCE)
    assert "scores the stock way" not in caplog.text
    assert ours.verification is not None
    assert ours.verification.agrees


def test_prefix_sharing_can_be_switched_off(tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        ours, stock = both(built("gpt2"), tokenizer, prefix_sharing=False)
    assert "stock way: prefix_sharing=False" in caplog.text
    assert_equals_stock(ours, stock, pairs_of_items(1, 3))


def test_a_model_that_ignores_the_token_tree_is_found_out(tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    model = built("llama", **FAMILIES["llama"][1])
    ours, stock = both(model, tokenizer)
    forward = model.model.forward

    def deaf(*arguments: Any, **options: Any) -> Any:
        if getattr(options.get("attention_mask"), "dim", lambda: 0)() == 4:
            options["attention_mask"] = None
        return forward(*arguments, **options)

    model.model.forward = deaf
    with caplog.at_level(logging.WARNING):
        assert_equals_stock(ours, stock, pairs_of_items(1, 6))
    assert "shared prefixes differ from stock scoring by" in caplog.text


def test_rolling_log_likelihoods_are_those_of_stock_scoring(tokenizer: Any) -> None:
    ours, stock = both(built("llama", **FAMILIES["llama"][1]), tokenizer)
    rng = np.random.default_rng(0)
    texts = [(words(rng, count),) for count in (1, 30, 300, 500)]
    requests = instances("loglikelihood_rolling", texts)
    np.testing.assert_allclose(
        ours.loglikelihood_rolling(requests, disable_tqdm=True),
        stock.loglikelihood_rolling(requests, disable_tqdm=True),
        # Sums over up to 1,500 tokens: the tolerance of one continuation for every 50 of them.
        rtol=0,
        atol=30 * FLOAT32_DIFFERENCE,
    )


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3"])
def test_long_worked_examples_are_run_once_and_change_nothing(family: str, tokenizer: Any) -> None:
    kind, special = FAMILIES[family]
    ours, stock = both(built(kind, **special), tokenizer)
    examples = words(np.random.default_rng(0), 150) + "\n\n"
    pairs = pairs_of_items(4, 12, (2, 12), before=examples)
    plan = ours._plan(ours._list("pairs", ours._encoder.pairs(pairs)))
    assert [len(group.preamble) >= 250 for group in plan.groups] == [True]
    assert_equals_stock(ours, stock, pairs)


def test_half_precision_is_no_farther_from_float32_than_stock_scoring(tokenizer: Any) -> None:
    import torch

    special = FAMILIES["llama"][1]
    half = built("llama", dtype=torch.bfloat16, **special)
    whole = built("llama", **special)
    whole.load_state_dict({name: tensor.float() for name, tensor in half.state_dict().items()})
    ours, stock = both(half, tokenizer)
    pairs = pairs_of_items(1, 40)
    truth, _ = scored(both(whole, tokenizer)[1], pairs)
    our_error, stock_error = (scored(lm, pairs)[0] - truth for lm in (ours, stock))
    assert ours.verification is not None
    assert ours.verification.agrees
    # Stock scoring rounds the sum over tokens to bfloat16 once more; ours adds up in float64.
    assert np.sqrt(np.mean(our_error**2)) <= np.sqrt(np.mean(stock_error**2))
    assert np.abs(our_error).max() <= np.abs(stock_error).max()


def test_half_precision_of_single_tokens_differs_from_stock_as_stock_differs_between_batch_sizes(
    tokenizer: Any,
) -> None:
    import torch

    half = built("llama", dtype=torch.bfloat16, **FAMILIES["llama"][1])
    ours, stock = both(half, tokenizer)
    one_by_one = HFLM(half, tokenizer=tokenizer, device="cpu", batch_size=1)
    rng = np.random.default_rng(2)
    contexts = [words(rng, int(rng.integers(5, 40))) for _ in range(60)]
    pairs = [(context, f" {letter}") for context in contexts for letter in "ABCD"]
    loglik, in_eights, alone = (scored(lm, pairs)[0] for lm in (ours, stock, one_by_one))
    effect = np.abs(in_eights - alone)
    print(
        f"stock, batch 8 against 1: {effect.max():.4f} nats; ours against stock: {np.abs(loglik - in_eights).max():.4f}"
    )
    assert np.abs(loglik - in_eights).max() <= effect.max()


def test_verify_scores_so_many_requests_twice_and_reports_the_difference(
    tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ours, _ = both(built("llama", **FAMILIES["llama"][1]), tokenizer, verify=7)
    with caplog.at_level(logging.WARNING):
        scored(ours, pairs_of_items(1, 6))
    assert ours.verification is not None
    assert ours.verification.requests == 7
    assert ours.verification.largest_difference <= FLOAT32_DIFFERENCE
    assert ours.verification.greedy_differences == 0
    assert "e2lm-hf verify" in caplog.text


def test_token_counts_of_continuations_are_known_after_scoring(tokenizer: Any) -> None:
    ours, _ = both(built("llama", **FAMILIES["llama"][1]), tokenizer)
    pairs = pairs_of_items(1, 2)
    scored(ours, pairs)
    expected = [len(tokenizer.encode(a + b)) - len(tokenizer.encode(a)) for a, b in pairs]
    assert ours.continuation_tokens_of([*pairs, ("never", " scored")]) == [*expected, -1]


def test_a_small_token_budget_changes_no_number_beyond_rounding(tokenizer: Any) -> None:
    model = built("llama", **FAMILIES["llama"][1])
    ours, _ = both(model, tokenizer)
    tight, _ = both(model, tokenizer, token_budget=64)
    pairs = pairs_of_items(1, 10)
    np.testing.assert_allclose(scored(tight, pairs)[0], scored(ours, pairs)[0], rtol=0, atol=FLOAT32_DIFFERENCE)


def test_memory_that_runs_out_halves_the_batch(tokenizer: Any) -> None:
    import torch

    model = built("llama", **FAMILIES["llama"][1])
    ours, stock = both(model, tokenizer)
    forward, sizes = model.model.forward, []

    def tight(*arguments: Any, **options: Any) -> Any:
        sizes.append(options["input_ids"].shape[0] if "input_ids" in options else 0)
        if sizes[-1] > 3:
            raise torch.OutOfMemoryError("DefaultCPUAllocator: can't allocate memory")
        return forward(*arguments, **options)

    context = words(np.random.default_rng(0), 12)
    pairs = [(f"{number}. {context}", f" {letter}") for number in range(10, 40) for letter in "ABCD"]
    expected, _ = scored(stock, pairs)
    model.model.forward = tight
    found, _ = scored(ours, pairs)
    np.testing.assert_allclose(found, expected, rtol=0, atol=FLOAT32_DIFFERENCE)
    assert max(sizes) > 3


def test_log_probabilities_are_rounded_as_softmax_dtype_says(tokenizer: Any) -> None:
    import torch

    model = built("llama", dtype=torch.bfloat16, **FAMILIES["llama"][1])
    rng = np.random.default_rng(2)
    pairs = [(words(rng, 12) + "\nAnswer:", f" {letter}") for _ in range(25) for letter in "ABCD"]
    found = {}
    for kind in (E2lmHf, HFLM):
        lm = kind(model, tokenizer=tokenizer, device="cpu", batch_size=1, softmax_dtype="float32")
        found[kind] = scored(lm, pairs)[0]
    rounded = scored(both(model, tokenizer)[0], pairs)[0]
    assert len(set(found[E2lmHf])) == len(set(found[HFLM])) == len(pairs)
    assert len(set(rounded)) < len(pairs)
    # What is left is the rounding of logits of up to 4 to bfloat16.
    np.testing.assert_allclose(found[E2lmHf], found[HFLM], rtol=0, atol=2**-5)


def test_identical_choices_tie_to_the_last_bit_whatever_else_is_asked(tokenizer: Any) -> None:
    model = built("llama", **FAMILIES["llama"][1])
    rng = np.random.default_rng(3)
    context = words(rng, 3)
    others = [(context, " " + words(rng, 3)) for _ in range(300)]
    same = (context, " " + words(rng, 3))
    for sharing in (True, False):
        ours, _ = both(model, tokenizer, prefix_sharing=sharing)
        loglik, _ = scored(ours, [same, *others[:150], same, *others[150:], same])
        assert len({loglik[0], loglik[151], loglik[-1]}) == 1


def test_what_cannot_be_scored_is_never_chosen_and_costs_nothing_else_where_every_task_is_looked_at(
    tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ours, _ = both(built("llama", **FAMILIES["llama"][1]), tokenizer)
    pairs = pairs_of_items(1, 3)
    expected, _ = scored(ours, pairs)
    ours.raises_if_not_finite = False
    bad = [("Some context", ""), ("Some context", " word" * 2 * CONTEXT), (" ", "x"), ("Some context", None)]
    with caplog.at_level(logging.WARNING):
        loglik, greedy = scored(ours, [*pairs[:5], *bad, *pairs[5:]])  # type: ignore[list-item]
    assert "cannot score 4 of 16 requests: a request without tokens" in caplog.text
    assert loglik[5:9].tolist() == [-np.inf] * 4
    assert not greedy[5:9].any()
    np.testing.assert_allclose(np.delete(loglik, range(5, 9)), expected, rtol=0, atol=1e-5)
    assert ours.continuation_tokens_of(bad) == [0] * 4  # type: ignore[arg-type]
    assert scored(ours, bad)[0].tolist() == [-np.inf] * 4  # type: ignore[arg-type]


def test_a_model_that_fails_behind_the_first_rows_is_scored_the_stock_way_with_a_line(
    tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    model = built("llama", **FAMILIES["llama"][1])
    ours, stock = both(model, tokenizer)
    forward = model.forward

    def failing(*arguments: Any, **options: Any) -> Any:
        if options.get("past_key_values") is not None:
            raise IndexError("list index out of range")
        return forward(*arguments, **options)

    model.forward = failing
    pairs = pairs_of_items(4, 12, before=words(np.random.default_rng(0), 150) + "\n\n")
    with caplog.at_level(logging.WARNING):
        assert_equals_stock(ours, stock, pairs)
        assert_equals_stock(ours, stock, pairs_of_items(1, 2))
    assert caplog.text.count("LlamaForCausalLM takes no token tree (IndexError: list index out of range)") == 1
    assert len(ours.fallbacks) == 1


def test_a_checkpoint_that_fails_its_check_is_scored_the_stock_way_and_the_next_one_is_not(
    tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Step 0, all logits near zero, says nothing of those that come: every checkpoint is checked by itself."""
    import torch

    model = built("llama", **FAMILIES["llama"][1])
    trained = model.lm_head.weight.detach().clone()
    with torch.no_grad():
        model.lm_head.weight.zero_()
    ours, stock = both(model, tokenizer)
    assert_equals_stock(ours, stock, pairs_of_items(1, 6))
    assert ours.fallbacks == []
    scorer = ours._scorer
    assert scorer is not None
    read = scorer._read_tokens.logits
    scorer._read_tokens.logits = lambda *given: read(*given) * 1.001  # type: ignore[method-assign]
    with torch.no_grad():
        model.lm_head.weight.copy_(trained)
    with caplog.at_level(logging.WARNING):
        for seed in (1, 2):
            assert_equals_stock(ours, stock, pairs_of_items(seed, 6))
    assert len(ours.fallbacks) == 1
    assert "scores the stock way: shared prefixes differ from stock scoring by" in caplog.text
    assert "scores the stock way: the check of this checkpoint failed" in caplog.text
    scorer._read_tokens.logits = read  # type: ignore[method-assign]
    with torch.no_grad():
        model.lm_head.weight.mul_(1.5)
    assert_equals_stock(ours, stock, pairs_of_items(3, 6))
    assert len(ours.fallbacks) == 1
    assert ours._why_stock is None


def test_a_verify_that_fails_is_an_error_unless_somebody_looks_at_every_task(tokenizer: Any) -> None:
    ours, stock = both(built("llama", **FAMILIES["llama"][1]), tokenizer, verify=40)
    scorer = ours._scorer
    assert scorer is not None
    score = scorer.score

    def one_is_wrong(*given: Any) -> Any:
        loglik, greedy = score(*given)
        loglik[13] += 0.01
        return loglik, greedy

    scorer.score = one_is_wrong  # type: ignore[method-assign]
    pairs = pairs_of_items(1, 10)
    with pytest.raises(UserError, match=r"verify: largest difference 0\.01 nats on 40 requests \(allowed 0\.0001\)"):
        scored(ours, pairs)
    ours.raises_if_not_finite = False
    ours._failed_mark = None
    assert_equals_stock(ours, stock, pairs)
    assert len(ours.failed_verifications) == 2


@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_stock_way_scores_one_text_cut_at_two_places_as_each_cut_alone(tokenizer: Any, batch_size: int) -> None:
    model = built("llama", **FAMILIES["llama"][1])
    ours = E2lmHf(
        model, tokenizer=tokenizer, device="cpu", batch_size=batch_size, prefix_sharing=False, show_progress=False
    )
    text = words(np.random.default_rng(0), 12).split()
    pairs = [(" ".join(text[:cut]), " " + " ".join(text[cut:])) for cut in (6, 9, 3)]
    alone = [scored(ours, [pair])[0][0] for pair in pairs]
    np.testing.assert_allclose(scored(ours, pairs)[0], alone, rtol=0, atol=FLOAT32_DIFFERENCE)


def test_an_empty_choice_is_named(tokenizer: Any) -> None:
    ours, _ = both(built("llama", **FAMILIES["llama"][1]), tokenizer)
    with pytest.raises(UserError, match="an answer choice is empty"):
        scored(ours, [("Some context", "")])


def test_an_empty_choice_after_an_empty_context_is_named(tokenizer: Any) -> None:
    ours, _ = both(built("llama", **FAMILIES["llama"][1]), tokenizer)
    with pytest.raises(UserError, match="an answer choice is empty"):
        scored(ours, [("", "")])


def test_log_likelihoods_of_a_model_that_is_to_think_are_refused_as_by_stock_lm_eval(tokenizer: Any) -> None:
    asked = instances("loglikelihood", [("a b", " c")])
    asked[0].task_name = "arc_easy"
    for lm in both(built("llama", **GROUPED), tokenizer):
        lm.enable_thinking = True
        with pytest.raises(ValueError, match=r"enable_thinking=True.*arc_easy"):
            lm.loglikelihood(asked, disable_tqdm=True)


def test_no_requests_give_no_answers(tokenizer: Any) -> None:
    ours, _ = both(built("llama", **FAMILIES["llama"][1]), tokenizer)
    assert ours.loglikelihood([], disable_tqdm=True) == []


def test_texts_are_encoded_cut_and_written_as_by_stock_lm_eval(tokenizer: Any) -> None:
    """What lm-eval's own tests of its ``hf`` ask of weights from the Hub, here of a model at hand, beside ``hf``."""
    ours, stock = both(built("llama", **FAMILIES["llama"][1]), tokenizer)
    rng = np.random.default_rng(1)
    texts = [words(rng, count) for count in (1, 7, 30)]
    for text in texts:
        tokens = ours.tok_encode(text)
        assert tokens == stock.tok_encode(text)
        assert ours.tok_decode(tokens) == stock.tok_decode(tokens) == text
    assert ours.tok_batch_encode(texts)[0].tolist() == stock.tok_batch_encode(texts)[0].tolist()
    assert (ours.max_length, ours.eot_token_id, ours.vocab_size) == (
        stock.max_length,
        stock.eot_token_id,
        stock.vocab_size,
    )
    asked = [(text, {"until": ["\n"], "max_gen_toks": 12, "do_sample": False}) for text in texts]
    requests = instances("generate_until", asked)
    written = ours.generate_until(requests, disable_tqdm=True)
    assert written == stock.generate_until(requests, disable_tqdm=True)
    assert any(written)


def test_swapped_weights_score_bit_for_bit_as_a_fresh_model(tiny_series: Path) -> None:
    folders = [tiny_series / f"checkpoint-{step}" for step in (0, 10, 20)]
    live = E2lmHf(str(folders[0]), device="cpu", dtype="float32", show_progress=False)
    swapper = WeightSwapper(live.model, read_weight_index(folders[0]))
    pairs = pairs_of_items(1, 12)
    scored(live, pairs)
    before = None
    for folder in (folders[1], folders[2], folders[0]):
        swapper.swap(dict(stored_tensors(read_weight_index(folder))))
        found = scored(live, pairs)
        fresh = scored(E2lmHf(str(folder), device="cpu", dtype="float32", show_progress=False), pairs)
        np.testing.assert_array_equal(found[0], fresh[0])
        np.testing.assert_array_equal(found[1], fresh[1])
        assert before is None or not np.array_equal(before, found[0])
        before = found[0]


def test_damaged_weights_that_give_no_number_are_an_error(tokenizer: Any) -> None:
    import torch

    model = built("llama", **FAMILIES["llama"][1])
    ours, _ = both(model, tokenizer)
    pairs = pairs_of_items(1, 4)
    scored(ours, pairs)
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    with pytest.raises(UserError, match="log-likelihood of nan"):
        scored(ours, pairs)
