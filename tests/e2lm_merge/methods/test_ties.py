"""Trimming keeps exactly the largest, or drops both ends; signs are elected."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MergeOne = Callable[..., torch.Tensor]
Gaussian = Callable[..., torch.Tensor]
FineTunes = Callable[..., tuple[torch.Tensor, list[torch.Tensor]]]
ULP = 2.0**-23
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 2**31)


def test_ties_of_one_model_at_full_density_is_task_arithmetic_bit_by_bit(
    merge_one: MergeOne, fine_tunes: FineTunes
) -> None:
    base, tensors = fine_tunes(3, 1, 300)
    assert torch.equal(merge_one("ties", tensors, base), merge_one("task_arithmetic", tensors, base))


@quick
@given(seed=seeds, density=st.floats(0.01, 0.99), size=st.integers(1, 400), levels=st.sampled_from([0, 3]))
def test_ties_keeps_exactly_the_largest(
    merge_one: MergeOne, seed: int, density: float, size: int, levels: int, gaussian: Gaussian
) -> None:
    delta = gaussian(seed, size)
    if levels:  # many equal magnitudes, so that the rule for ties decides
        delta = torch.sign(delta) * (1 + (delta.abs() * 10).floor() % levels)
    merged = merge_one("ties", [delta], torch.zeros(size), density=density)
    kept = torch.nonzero(merged).view(-1)
    count = max(1, int(density * size))
    assert len(kept) == count
    order = sorted(range(size), key=lambda index: (-abs(float(delta[index])), index))
    assert sorted(order[:count]) == kept.tolist()


@quick
@given(seed=seeds, density=st.floats(0.1, 1.0))
def test_ties_follows_the_elected_sign_and_stays_within_the_largest_difference(
    merge_one: MergeOne, seed: int, density: float, gaussian: Gaussian
) -> None:
    deltas = [gaussian(seed + index, 60) for index in range(3)]
    weights = [0.5, 0.3, 0.4]
    base = torch.zeros(60)
    merged = merge_one("ties", deltas, base, weights, density=density)
    assert bool((merged.abs() <= torch.stack(deltas).abs().amax(0) * (1 + 4 * ULP)).all())
    trimmed = [merge_one("ties", [delta], base, density=density) for delta in deltas]
    elected = torch.where(sum(w * d for w, d in zip(weights, trimmed, strict=True)) >= 0, 1.0, -1.0)
    assert bool(((merged == 0) | (merged.sign() == elected)).all())


def test_ties_trims_globally_as_the_paper_or_per_tensor_as_mergekit(merge_one: MergeOne) -> None:
    delta = torch.tensor([1.0, 2.0, 3.0, 4.0])
    merged = merge_one("ties", [delta], torch.zeros(4), density=0.5, trim_scope="global")
    assert merged.tolist() == [0, 0, 3, 4]
    equal = merge_one("ties", [torch.ones(4)], torch.zeros(4), density=0.5, trim_scope="global")
    assert equal.tolist() == [1, 1, 1, 1]  # the paper keeps all that equal the last one
    exact = merge_one("ties", [torch.ones(4)], torch.zeros(4), density=0.5, trim_scope="tensor")
    assert exact.tolist() == [1, 1, 0, 0]


def test_rescale_keeps_the_sum_of_magnitudes_of_trimming_merges(merge_one: MergeOne, gaussian: Gaussian) -> None:
    delta = gaussian(4, 500)
    for strategy in ("ties", "breadcrumbs"):
        merged = merge_one(strategy, [delta], torch.zeros(500), density=0.3, rescale=True)
        assert float(merged.abs().sum()) == pytest.approx(float(delta.abs().sum()), rel=1e-5)


@quick
@given(seed=seeds, density=st.floats(0.05, 0.9), gamma=st.floats(0, 0.3))
def test_breadcrumbs_drops_both_ends(
    merge_one: MergeOne, seed: int, density: float, gamma: float, gaussian: Gaussian
) -> None:
    size = 200
    delta = gaussian(seed, size)
    merged = merge_one("breadcrumbs", [delta], torch.zeros(size), density=density, gamma=gamma)
    kept, top = int(density * size), int(gamma * size)
    top = min(top, size - kept)
    order = delta.abs().argsort(descending=True)
    assert sorted(order[top : top + kept].tolist()) == torch.nonzero(merged).view(-1).tolist()


def test_breadcrumbs_without_outliers_is_magnitude_trimming(merge_one: MergeOne, gaussian: Gaussian) -> None:
    delta = gaussian(2, 300)
    zero = torch.zeros(300)
    assert torch.equal(
        merge_one("breadcrumbs", [delta], zero, density=0.4, gamma=0.0),
        merge_one("prune_scale", [delta], zero, density=0.4),
    )
