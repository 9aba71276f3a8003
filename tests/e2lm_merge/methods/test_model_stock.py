"""Model Stock goes as far as the angle between fine-tunes says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MergeOne = Callable[..., torch.Tensor]
Gaussian = Callable[..., torch.Tensor]
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 2**31)


@pytest.mark.parametrize("filter_wise", [False, True])
def test_model_stock_goes_all_the_way_for_equal_and_nowhere_for_orthogonal_fine_tunes(
    filter_wise: bool, merge_one: MergeOne, gaussian: Gaussian
) -> None:
    base = gaussian(1, 6, 8)
    delta = 0.1 * gaussian(2, 6, 8)
    merged = merge_one("model_stock", [base + delta] * 2, base, filter_wise=filter_wise)
    torch.testing.assert_close(merged, base + delta, rtol=1e-5, atol=1e-6)
    left, right = torch.zeros(6, 8), torch.zeros(6, 8)
    left[:, 0], right[:, 1] = 1.0, 1.0
    torch.testing.assert_close(
        merge_one("model_stock", [left, right], torch.zeros(6, 8), filter_wise=filter_wise), torch.zeros(6, 8)
    )


@quick
@given(seed=seeds)
def test_model_stock_of_two_follows_two_cos_over_one_plus_cos(
    merge_one: MergeOne, seed: int, gaussian: Gaussian
) -> None:
    a, b = gaussian(seed, 30), gaussian(seed + 1, 30) + 0.5
    cosine = float(torch.nn.functional.cosine_similarity(a, b, dim=0))
    merged = merge_one("model_stock", [a, b], torch.zeros(30))
    torch.testing.assert_close(merged, 2 * cosine / (1 + cosine) * (a + b) / 2, rtol=1e-3, atol=1e-4)
