"""What a batch of rows gives does not depend on how it is computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from e2lm_adapters.scoring.packed import PackedScorer, _read_logits, in_order
from e2lm_adapters.scoring.prefix_tree import TokenRequest, planned


@pytest.fixture
def requests() -> list[TokenRequest]:
    rng = np.random.default_rng(0)
    contexts = [tuple(map(int, rng.integers(1, 60, size=int(rng.integers(3, 30))))) for _ in range(40)]
    return [TokenRequest(context, tuple(map(int, rng.integers(1, 60, size=4)))) for context in contexts for _ in "abc"]


def tiny_model() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            initializer_range=0.3,
        )
    ).eval()


def test_one_thread_and_three_give_the_same_bytes(requests: list[TokenRequest]) -> None:
    scorer, before = PackedScorer(tiny_model(), token_budget=128), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(scorer.score(planned(requests, 64)))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert found[0][0].tobytes() == found[1][0].tobytes()
    assert found[0][1].tobytes() == found[1][1].tobytes()


def test_an_error_in_a_thread_comes_out_and_the_number_of_cores_is_as_before() -> None:
    before = torch.get_num_threads()

    def failing(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    seen = []
    with pytest.raises(ValueError, match="three"):
        seen.extend(in_order(failing, range(100), threads=2))
    assert torch.get_num_threads() == before


def test_tasks_are_drawn_only_a_little_ahead_of_what_is_read() -> None:
    drawn = []

    def tasks() -> Any:
        for number in range(50):
            drawn.append(number)
            yield number

    results = in_order(lambda number: -number, tasks(), threads=2)
    assert [next(results) for _ in range(5)] == [0, -1, -2, -3, -4]
    assert len(drawn) <= 8
    results.close()


def test_log_softmax_and_greedy_flags_equal_torch_with_ties_to_the_first() -> None:
    rng = torch.Generator().manual_seed(1)
    logits_NV = torch.randn((50, 20), generator=rng) * 5
    logits_NV[7, 3] = logits_NV[7, 11] = 40.0
    slot_R = torch.tensor([0, 7, 7, 7, 20, 49, 49])
    target_R = torch.tensor([5, 3, 11, 2, int(logits_NV[20].argmax()), 0, int(logits_NV[49].argmax())])
    expected = torch.log_softmax(logits_NV, dim=-1)[slot_R, target_R]
    greedy = (logits_NV.argmax(dim=-1)[slot_R] == target_R).tolist()
    logp_R, is_greedy_R = _read_logits(logits_NV.clone(), slot_R, target_R)
    torch.testing.assert_close(logp_R, expected, rtol=0, atol=1e-6)
    assert is_greedy_R.tolist() == greedy == [False, True, False, False, True, False, True]


def test_the_last_feed_forward_block_sees_only_tokens_that_are_read(requests: list[TokenRequest]) -> None:
    model = tiny_model()
    scorer = PackedScorer(model)
    seen: dict[int, int] = {0: 0, 1: 0}
    for index, layer in enumerate(model.model.layers):

        def count(block: Any, arguments: Any, index: int = index) -> None:
            seen[index] += arguments[0].shape[0] * arguments[0].shape[1]

        layer.mlp.register_forward_pre_hook(count)
    plan = planned(requests, 64)
    scorer.score(plan)
    reads = sum(len(np.unique(row.read_token_R)) for group in plan.groups for row in group.rows)
    assert seen[1] == reads < seen[0]


def test_passes_outside_of_scoring_see_every_token(requests: list[TokenRequest]) -> None:
    model = tiny_model()
    tokens = torch.tensor([[5, 6, 7, 8]])
    before = model(tokens).logits
    PackedScorer(model).score(planned(requests, 64))
    torch.testing.assert_close(model(tokens).logits, before, rtol=0, atol=0)


def test_log_probabilities_are_computed_and_rounded_in_the_type_that_is_asked_for() -> None:
    logits_NV = (torch.randn((40, 30), generator=torch.Generator().manual_seed(2)) * 4).bfloat16()
    slot_R, target_R = torch.arange(40), torch.arange(40) % 30
    for asked in (None, torch.float32, torch.float64, torch.float16):
        expected = torch.log_softmax(logits_NV, dim=-1, dtype=asked)[slot_R, target_R]
        logp_R, _ = _read_logits(logits_NV, slot_R, target_R, asked)
        assert logp_R.dtype == (asked or torch.bfloat16)
        torch.testing.assert_close(logp_R, expected, rtol=0, atol=0)


def test_what_a_model_does_behind_its_head_is_in_the_numbers(requests: list[TokenRequest]) -> None:
    """Logits that are divided, as Granite's are: half as large at twice the scaling, whatever the batches."""
    from transformers import GraniteConfig, GraniteForCausalLM

    torch.manual_seed(0)
    config = GraniteConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, initializer_range=0.3, logits_scaling=2.0,
    )  # fmt: skip
    model = GraniteForCausalLM(config).eval()
    found, _ = PackedScorer(model, token_budget=200).score(planned(requests, 64))
    for request, loglik in list(zip(requests, found, strict=True))[::17]:
        tokens = torch.tensor([request.context + request.continuation])
        with torch.no_grad():
            logp_TV = model(tokens[:, :-1]).logits[0, -len(request.continuation) :].log_softmax(-1)
        alone = logp_TV[range(len(request.continuation)), request.continuation].sum()
        assert loglik == pytest.approx(float(alone), abs=1e-4)


def test_a_head_that_is_called_another_way_than_as_a_module_gives_the_same(requests: list[TokenRequest]) -> None:
    model = tiny_model()
    expected, _ = PackedScorer(model).score(planned(requests, 64))
    other, weight = tiny_model(), None
    weight = other.lm_head.weight
    other.get_output_embeddings = lambda: None
    other.lm_head.forward = lambda hidden: torch.nn.functional.linear(hidden, weight)
    found, _ = PackedScorer(other).score(planned(requests, 64))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_one_request_asked_many_times_has_one_value_to_the_last_bit() -> None:
    rng = np.random.default_rng(4)
    context = tuple(map(int, rng.integers(1, 60, size=5)))
    twice = TokenRequest(context, (7, 8, 9))
    others = [TokenRequest(context, tuple(map(int, rng.integers(1, 60, size=4)))) for _ in range(200)]
    listed = [twice, *others[:100], twice, *others[100:], twice]
    loglik, _ = PackedScorer(tiny_model(), token_budget=128).score(planned(listed, 64))
    assert len({loglik[0], loglik[101], loglik[-1]}) == 1
