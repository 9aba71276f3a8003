"""Dropping at random: unbiased, binomial, by rank, and by a mask that belongs to model and tensor."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from e2lm import UserError
from e2lm_merge.plan.merge_plan import find_strategy

MergeOne = Callable[..., torch.Tensor]
Gaussian = Callable[..., torch.Tensor]
FineTunes = Callable[..., tuple[torch.Tensor, list[torch.Tensor]]]
ULP = 2.0**-23
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 2**31)
RANDOM = ["dare_linear", "dare_ties", "della", "della_linear"]


@pytest.mark.parametrize("strategy", RANDOM)
def test_copies_of_the_base_survive_random_dropping(strategy: str, merge_one: MergeOne, gaussian: Gaussian) -> None:
    base = gaussian(1, 12, 10)
    assert torch.equal(merge_one(strategy, [base, base], base, density=0.5), base)


@pytest.mark.parametrize("strategy", RANDOM)
def test_random_masks_belong_to_the_model_and_not_to_its_place(
    strategy: str, merge_one: MergeOne, fine_tunes: FineTunes
) -> None:
    base, tensors = fine_tunes(7, 2, 30, 8)
    forth = merge_one(strategy, tensors, base, [0.6, 0.3], ["a", "b"], density=0.5)
    back = merge_one(strategy, tensors[::-1], base, [0.3, 0.6], ["b", "a"], density=0.5)
    torch.testing.assert_close(forth, back, rtol=2 * ULP, atol=2 * ULP)


def test_dare_is_unbiased_and_its_error_falls_as_one_over_the_root_of_seeds(
    merge_one: MergeOne, fine_tunes: FineTunes
) -> None:
    base, tensors = fine_tunes(11, 3, 64, 64)
    target = merge_one("task_arithmetic", tensors, base, [0.5, 0.3, 0.4]) - base

    def error(count: int) -> float:
        total = torch.zeros_like(base)
        for seed in range(count):
            total += merge_one(
                "dare_linear", tensors, base, [0.5, 0.3, 0.4], density=0.3, seed=seed, rescale_norm="inverse"
            )
        return float((total / count - base - target).norm() / target.norm())

    # A mask at density d leaves a relative error of sqrt((1 − d)/d) = 1.53 per seed before models average out.
    expected = math.sqrt(0.7 / 0.3)
    for count in (4, 16, 64):
        assert error(count) == pytest.approx(expected / math.sqrt(count), rel=0.15)


@quick
@given(seed=seeds, density=st.floats(0.05, 0.95))
def test_dare_keeps_a_binomial_share_and_the_l1_norm(
    merge_one: MergeOne, seed: int, density: float, gaussian: Gaussian
) -> None:
    delta = gaussian(seed % 1000, 100, 100)
    merged = merge_one("dare_linear", [delta], torch.zeros(100, 100), density=density, seed=seed)
    kept = int(torch.count_nonzero(merged))
    spread = math.sqrt(10_000 * density * (1 - density))
    assert abs(kept - 10_000 * density) < 6 * spread
    assert float(merged.abs().sum()) == pytest.approx(float(delta.abs().sum()), rel=1e-4)
    assert torch.equal(merged, merge_one("dare_linear", [delta], torch.zeros(100, 100), density=density, seed=seed))


def test_dare_at_full_density_is_task_arithmetic_and_without_rescale_only_drops(
    merge_one: MergeOne, fine_tunes: FineTunes
) -> None:
    base, tensors = fine_tunes(13, 2, 50)
    for strategy in ("dare_linear", "della_linear"):
        full = merge_one(strategy, tensors, base, density=1.0)
        assert torch.equal(full, merge_one("task_arithmetic", tensors, base))
    dropped = merge_one("dare_linear", tensors[:1], torch.zeros(50), density=0.5, rescale=False)
    assert bool(((dropped == 0) | (dropped == tensors[0])).all())


def test_a_mask_does_not_depend_on_another_tensors_density(merge_one: MergeOne, gaussian: Gaussian) -> None:
    delta = gaussian(1, 200)
    one = merge_one("dare_linear", [delta], torch.zeros(200), density=0.5, name="a")
    other = merge_one("dare_linear", [delta], torch.zeros(200), density=0.5, name="b")
    assert not torch.equal(one, other)
    assert torch.equal(one, merge_one("dare_linear", [delta], torch.zeros(200), density=0.5, name="a"))


def test_della_keeps_larger_ranks_more_often_and_density_on_average(merge_one: MergeOne) -> None:
    columns, density, epsilon = 8, 0.5, 0.3
    delta = torch.arange(1.0, columns + 1).repeat(20_000, 1)
    merged = merge_one(
        "della_linear", [delta], torch.zeros_like(delta), density=density, epsilon=epsilon, rescale=False
    )
    share = (merged != 0).float().mean(0).numpy()
    expected = density - epsilon + 2 * epsilon * np.arange(columns) / (columns - 1)
    np.testing.assert_allclose(share, expected, atol=5 * 0.5 / math.sqrt(20_000))
    assert bool((np.diff(share) > 0).all())
    assert float(share.mean()) == pytest.approx(density, abs=0.01)


def test_an_epsilon_too_small_for_a_draw_to_see_is_none(merge_one: MergeOne) -> None:
    delta = torch.linspace(-1, 1, 4096).view(64, 64)
    tiny, none = (
        merge_one("della_linear", [delta], torch.zeros_like(delta), density=0.5, epsilon=epsilon)
        for epsilon in (1e-12, 0.0)
    )
    assert torch.equal(tiny, none)


def test_della_ranks_by_magnitude_wherever_it_stands_in_the_row(merge_one: MergeOne) -> None:
    delta = torch.tensor([[4.0, -1.0, 3.0, -2.0]]).repeat(20_000, 1)
    merged = merge_one("della_linear", [delta], torch.zeros_like(delta), density=0.5, epsilon=0.4, rescale=False)
    share = (merged != 0).float().mean(0)
    assert share.argsort().tolist() == [1, 3, 2, 0]


@pytest.mark.parametrize(("density", "epsilon"), [(0.1, 0.2), (0.9, 0.15), (0.5, 0.5)])
def test_della_refuses_probabilities_outside_zero_and_one(density: float, epsilon: float, merge_one: MergeOne) -> None:
    group = find_strategy("della")
    assert group.check is not None
    from e2lm.merge_strategy import TensorGroup

    given_group = TensorGroup(
        "t", (), None, (1.0,), models=("m",), model_parameters=({"density": density, "epsilon": epsilon},)
    )
    with pytest.raises(UserError, match="epsilon"):
        group.check(given_group)
