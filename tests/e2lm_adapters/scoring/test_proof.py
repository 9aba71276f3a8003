"""Which requests are proven, at what cost, and that a way of scoring that is wrong is found out."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch

from e2lm_adapters.scoring.packed import PackedScorer
from e2lm_adapters.scoring.prefix_tree import ScoringPlan, TokenRequest, planned
from e2lm_adapters.scoring.proof import (
    Prover,
    StockScoring,
    in_float32,
    looked_at,
    random_requests,
    weights_mark,
    with_a_sibling,
)

LENGTH = 400


def tiny_model(dtype: torch.dtype = torch.float32, **special: Any) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        special.pop("kind", "llama"),
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        initializer_range=0.3,
        **special,
    )
    return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


def requests_of(items: int, preamble: int = 0, seed: int = 0) -> list[TokenRequest]:
    """Items of three choices; before the contexts of every second one stand ``preamble`` common tokens."""
    rng = np.random.default_rng(seed)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(map(int, rng.integers(1, 60, size=count)))

    shared = tokens(preamble)
    contexts = [(shared if item % 2 else ()) + tokens(int(rng.integers(8, 40))) for item in range(items)]
    return [TokenRequest(context, tokens(int(rng.integers(2, 6)))) for context in contexts for _ in range(3)]


def shared_answers(scorer: PackedScorer, plan: ScoringPlan) -> list[tuple[float, bool]]:
    return [(float(value), bool(flag)) for value, flag in zip(*scorer.score(plan), strict=True)]


def prover_of(model: Any) -> tuple[Prover, PackedScorer]:
    scorer = PackedScorer(model)
    eps = None if model.dtype == torch.float32 else torch.finfo(model.dtype).eps
    return Prover(model, StockScoring(model, LENGTH), scorer, eps, nullcontext), scorer


def test_a_small_list_is_proven_on_eight_requests_with_and_without_preamble_one_of_them_among_the_longest() -> None:
    requests = requests_of(100, preamble=200)
    plan = planned(requests, LENGTH)
    (shared,) = (group for group in plan.groups if len(group.preamble))
    has_preamble = {index for row in shared.rows for index in row.request_R.tolist()}
    chosen = looked_at(plan, requests, LENGTH, 1, half=False)
    assert len(set(chosen)) == 8
    assert len(has_preamble & set(chosen)) == 4
    lengths = sorted(request.tokens_forwarded(LENGTH) for request in requests)
    assert max(requests[index].tokens_forwarded(LENGTH) for index in chosen) >= lengths[-len(lengths) // 8]
    assert len(looked_at(plan, requests, LENGTH, 1, half=True)) == 2


def test_another_checkpoint_is_proven_on_other_requests() -> None:
    requests = requests_of(100)
    plan = planned(requests, LENGTH)
    model = tiny_model()
    seeds = [weights_mark(model)]
    with torch.no_grad():
        model.model.layers[0].self_attn.q_proj.weight += 1e-3
    seeds += [weights_mark(model), weights_mark(model)]
    first, second, again = (looked_at(plan, requests, LENGTH, seed, half=False) for seed in seeds)
    assert second == again
    assert set(first) != set(second)
    seen = {index for seed in range(60) for index in looked_at(plan, requests, LENGTH, seed, half=False)}
    assert len(seen) > 200


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("preamble", [0, 150])
def test_a_long_list_spends_at_most_three_percent_more_tokens(half: bool, preamble: int) -> None:
    requests = requests_of(1000, preamble)
    plan = planned(requests, LENGTH)
    model = tiny_model(torch.bfloat16 if half else torch.float32)
    prover, scorer = prover_of(model)
    answers = shared_answers(scorer, plan)
    seen: list[int] = []
    hook = model.register_forward_pre_hook(
        lambda module, arguments, options: seen.append((arguments or [options["input_ids"]])[0].numel()),
        with_kwargs=True,
    )
    chosen = looked_at(plan, requests, LENGTH, 5, half)
    assert prover.difference(plan, requests, answers, chosen, None).agrees
    hook.remove()
    assert 0 < sum(seen) <= 0.03 * plan.tokens_forwarded


def test_a_row_that_is_proven_keeps_a_branch_that_could_be_mistaken_for_what_is_before() -> None:
    requests = requests_of(6)
    plan = planned(requests, LENGTH)
    for index in range(len(requests)):
        (group,) = with_a_sibling(plan, [index]).groups
        (row,) = group.rows
        assert len(set(row.request_R.tolist())) == 2
        assert len(row) < len(requests[index].context) + 12


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["llama", "granite"])
def test_right_answers_agree(dtype: torch.dtype, kind: str) -> None:
    special = {"kind": "granite", "logits_scaling": 8.0} if kind == "granite" else {}
    model = tiny_model(dtype, **special)
    prover, scorer = prover_of(model)
    requests = requests_of(40, preamble=150)
    plan = planned(requests, LENGTH)
    answers = shared_answers(scorer, plan)
    for seed in range(10):
        found = prover.difference(plan, requests, answers, looked_at(plan, requests, LENGTH, seed, prover.half), None)
        assert found.agrees, found
    assert prover.difference(plan, requests, answers, random_requests(plan, 30, 3), None).agrees


def scaled_down(model: Any, share: float) -> None:
    """Nearly all logits near zero, as before training."""
    with torch.no_grad():
        model.lm_head.weight.mul_(share)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("share", [1.0, 0.02])
def test_a_tree_that_is_ignored_is_found_out_even_where_logits_are_near_zero(dtype: torch.dtype, share: float) -> None:
    model = tiny_model(dtype)
    scaled_down(model, share)
    prover, scorer = prover_of(model)
    scorer._mask = lambda ends_BQ, length: torch.ones(  # type: ignore[method-assign]
        (len(ends_BQ), 1, ends_BQ.shape[1], ends_BQ.shape[1] + length), dtype=torch.bool
    ).tril(length)
    requests = requests_of(40)
    plan = planned(requests, LENGTH)
    answers = shared_answers(scorer, plan)
    chosen = looked_at(plan, requests, LENGTH, 1, prover.half)
    assert not prover.difference(plan, requests, answers, chosen, None).agrees


def test_half_precision_hides_no_small_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """A factor of 1.01 on the logits is less than the rounding of bfloat16; in float32 it is seen."""
    model = tiny_model(torch.bfloat16)
    prover, scorer = prover_of(model)
    read = scorer._read_tokens.logits
    monkeypatch.setattr(scorer._read_tokens, "logits", lambda logits, place_N: read(logits, place_N) * 1.01)
    requests = requests_of(40)
    plan = planned(requests, LENGTH)
    answers = shared_answers(scorer, plan)
    found = prover.difference(plan, requests, answers, looked_at(plan, requests, LENGTH, 1, half=True), None)
    assert not found.agrees
    assert found.tolerance == pytest.approx(1e-4)


def test_without_room_for_float32_half_precision_is_held_against_its_own_rounding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("e2lm_adapters.scoring.proof._free_bytes", lambda device: 0)
    prover, scorer = prover_of(tiny_model(torch.bfloat16))
    requests = requests_of(40)
    plan = planned(requests, LENGTH)
    answers = shared_answers(scorer, plan)
    chosen = looked_at(plan, requests, LENGTH, 1, half=True)
    assert prover.difference(plan, requests, answers, chosen, None).agrees
    wrong = [(loglik - 3.0, flag) for loglik, flag in answers]
    assert not prover.difference(plan, requests, wrong, chosen, None).agrees


def test_after_float32_every_tensor_is_the_one_it_was() -> None:
    model = tiny_model(torch.bfloat16)
    before = {name: (tensor.data_ptr(), tensor.dtype) for name, tensor in model.state_dict(keep_vars=True).items()}
    with in_float32(model) as whole:
        assert whole
        assert {one.dtype for one in model.parameters()} == {torch.float32}
    after = {name: (tensor.data_ptr(), tensor.dtype) for name, tensor in model.state_dict(keep_vars=True).items()}
    assert before == after


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_numbers_that_are_none_agree_with_none_and_with_nothing_else(dtype: torch.dtype) -> None:
    model = tiny_model(dtype)
    prover, scorer = prover_of(model)
    requests = requests_of(10)
    plan = planned(requests, LENGTH)
    good = shared_answers(scorer, plan)
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    broken = shared_answers(scorer, plan)
    chosen = looked_at(plan, requests, LENGTH, 1, prover.half)
    assert prover.difference(plan, requests, broken, chosen, None).agrees
    assert not prover.difference(plan, requests, good, chosen, None).agrees


def test_stock_scoring_together_is_stock_scoring_alone() -> None:
    stock = StockScoring(tiny_model(), 30)
    requests = requests_of(8)
    alone, together = stock.alone(requests, None, 0.0), stock.together(requests, None, 0.0)
    np.testing.assert_allclose(together.loglik_K, alone.loglik_K, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(together.greedy_K, alone.greedy_K)
