"""Task vectors: linear in the scale, taken back by negation, by layers, and where several models agree."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MergeOne = Callable[..., torch.Tensor]
FineTunes = Callable[..., tuple[torch.Tensor, list[torch.Tensor]]]
ULP = 2.0**-23
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 2**31)


@quick
@given(seed=seeds, scale=st.floats(-2, 2))
def test_task_arithmetic_is_linear_in_lambda(
    merge_one: MergeOne, seed: int, scale: float, fine_tunes: FineTunes
) -> None:
    base, (model,) = fine_tunes(seed, 1, 30)
    merged = merge_one("task_arithmetic", [model], base, **{"lambda": scale})
    torch.testing.assert_close(merged, base + scale * (model - base), rtol=4 * ULP, atol=4 * ULP)


def test_task_arithmetic_of_one_is_the_model_and_its_negation_takes_it_back(
    merge_one: MergeOne, fine_tunes: FineTunes
) -> None:
    base, (model,) = fine_tunes(3, 1, 30)
    forth = merge_one("task_arithmetic", [model], base)
    torch.testing.assert_close(forth, model, rtol=ULP, atol=ULP)
    mirrored = merge_one("task_arithmetic", [forth, model], base, [1.0, -1.0])
    torch.testing.assert_close(mirrored, base, rtol=2 * ULP, atol=2 * ULP)


def test_lines_scales_by_layer_and_equals_task_arithmetic_without_a_slope(
    merge_one: MergeOne, fine_tunes: FineTunes
) -> None:
    base, tensors = fine_tunes(3, 2, 30)
    flat = merge_one("lines", tensors, base, alpha=1.0, beta=0.0)
    assert torch.equal(flat, merge_one("task_arithmetic", tensors, base))
    shallow = merge_one("lines", tensors, base, alpha=0.5, beta=0.5)
    torch.testing.assert_close(shallow - base, 0.5 * (flat - base), rtol=1e-4, atol=1e-6)


def test_consensus_with_every_entry_allowed_is_task_arithmetic(merge_one: MergeOne, fine_tunes: FineTunes) -> None:
    base, tensors = fine_tunes(17, 3, 40)
    allowed = merge_one("consensus", tensors, base, agreement=0.0)
    torch.testing.assert_close(allowed, merge_one("task_arithmetic", tensors, base), rtol=4 * ULP, atol=4 * ULP)
    strict = merge_one("consensus", tensors, base, agreement=4.0)
    assert torch.equal(strict, base)
