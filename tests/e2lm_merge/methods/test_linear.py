"""Weighted means: copies come out to the bit, ratios of weights alone count; nearswap's clipped share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from e2lm import UserError

MergeOne = Callable[..., torch.Tensor]
Gaussian = Callable[..., torch.Tensor]
ULP = 2.0**-23
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 2**31)


@quick
@given(seed=seeds, weights=st.lists(st.floats(0.1, 10), min_size=1, max_size=5))
def test_linear_of_copies_is_the_copy_bit_by_bit(
    merge_one: MergeOne, seed: int, weights: list[float], gaussian: Gaussian
) -> None:
    x = gaussian(seed, 40)
    assert torch.equal(merge_one("linear", [x.clone() for _ in weights], weights=weights), x)


@quick
@given(seed=seeds, scale=st.floats(0.01, 100), weights=st.lists(st.floats(0.1, 3), min_size=2, max_size=4))
def test_linear_depends_on_ratios_of_weights_and_stays_between_its_inputs(
    merge_one: MergeOne, seed: int, scale: float, weights: list[float], gaussian: Gaussian
) -> None:
    tensors = [gaussian(seed + index, 50) for index in range(len(weights))]
    merged = merge_one("linear", tensors, weights=weights)
    torch.testing.assert_close(
        merged, merge_one("linear", tensors, weights=[scale * w for w in weights]), rtol=4 * ULP, atol=4 * ULP
    )
    stacked = torch.stack(tensors)
    room = 4 * ULP * stacked.abs().amax(0)
    assert bool((merged >= stacked.amin(0) - room).all())
    assert bool((merged <= stacked.amax(0) + room).all())


def test_linear_of_one_model_is_a_copy_and_of_cancelling_weights_an_error(
    merge_one: MergeOne, gaussian: Gaussian
) -> None:
    x, y = gaussian(1, 9), gaussian(2, 9)
    assert torch.equal(merge_one("linear", [x], weights=[0.37]), x)
    assert torch.equal(merge_one("linear", [x, y], weights=[0.0, 2.0]), y)
    with pytest.raises(UserError, match="add up to zero"):
        merge_one("linear", [x, y], weights=[1.0, -1.0])


def test_nearswap_swaps_what_is_near_and_keeps_what_is_far(merge_one: MergeOne) -> None:
    base, other = torch.tensor([0.0, 0.0]), torch.tensor([0.0005, 1.0])
    merged = merge_one("nearswap", [other], base, t=0.001)
    torch.testing.assert_close(merged, torch.tensor([0.0005, 0.001]))
