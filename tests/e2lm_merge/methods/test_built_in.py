"""Properties of every strategy, one tensor at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from e2lm import UserError
from e2lm.merge_strategy import ScoredMerge
from e2lm_merge.methods.slerp import slerp_coefficients
from e2lm_merge.plan.merge_plan import find_strategy
from e2lm_merge.plugin import e2lm_register_merge_strategies

MergeOne = Callable[..., torch.Tensor]

#: One unit in the last place of a float32 near 1, relative.
ULP = 2.0**-23
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 2**31)

MERGING = [one for one in e2lm_register_merge_strategies() if not isinstance(one, ScoredMerge)]
NEED_BASE = [one.name for one in MERGING if one.needs_base]
PLAIN = ["linear", "karcher", "multislerp", "lawa", "wma", "ema", "wsm"]
RANDOM = ["dare_linear", "dare_ties", "della", "della_linear"]


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def fine_tunes(seed: int, count: int, *shape: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    base = random(seed, *shape)
    return base, [base + 0.1 * random(seed + 1 + index, *shape) for index in range(count)]


# 1 identity


@pytest.mark.parametrize("strategy", [name for name in NEED_BASE if name not in RANDOM])
def test_copies_of_the_base_merge_to_the_base_bit_by_bit(strategy: str, merge_one: MergeOne) -> None:
    base = random(1, 12, 10)
    count = find_strategy(strategy).inputs[1] or 3
    merged = merge_one(strategy, [base.clone() for _ in range(count)], base)
    torch.testing.assert_close(merged, base, rtol=ULP if strategy in ("iso_c", "tsv_m") else 0, atol=0)


@pytest.mark.parametrize("strategy", RANDOM)
def test_copies_of_the_base_survive_random_dropping(strategy: str, merge_one: MergeOne) -> None:
    base = random(1, 12, 10)
    assert torch.equal(merge_one(strategy, [base, base], base, density=0.5), base)


@quick
@given(seed=seeds, weights=st.lists(st.floats(0.1, 10), min_size=1, max_size=5))
def test_linear_of_copies_is_the_copy_bit_by_bit(merge_one: MergeOne, seed: int, weights: list[float]) -> None:
    x = random(seed, 40)
    assert torch.equal(merge_one("linear", [x.clone() for _ in weights], weights=weights), x)


@pytest.mark.parametrize("strategy", ["slerp", "nuslerp", "multislerp", "karcher"])
def test_spherical_merges_of_copies_are_the_copy_to_two_ulp(strategy: str, merge_one: MergeOne) -> None:
    x = random(3, 64)
    merged = merge_one("slerp", [x], x, t=0.3) if strategy == "slerp" else merge_one(strategy, [x, x])
    torch.testing.assert_close(merged, x, rtol=2 * ULP, atol=1e-9)


# 2 order


@pytest.mark.parametrize("strategy", ["linear", "task_arithmetic", "ties", "model_stock", "multislerp", "sce"])
def test_order_of_models_changes_at_most_two_ulp(strategy: str, merge_one: MergeOne) -> None:
    base, tensors = fine_tunes(5, 3, 20, 8)
    weights = [0.5, 0.3, 0.4]
    needs = find_strategy(strategy).needs_base
    results = [
        merge_one(strategy, [tensors[i] for i in order], base if needs else None, [weights[i] for i in order])
        for order in itertools.permutations(range(3))
    ]
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=2 * ULP, atol=2 * ULP)


@pytest.mark.parametrize("strategy", RANDOM)
def test_random_masks_belong_to_the_model_and_not_to_its_place(strategy: str, merge_one: MergeOne) -> None:
    base, tensors = fine_tunes(7, 2, 30, 8)
    forth = merge_one(strategy, tensors, base, [0.6, 0.3], ["a", "b"], density=0.5)
    back = merge_one(strategy, tensors[::-1], base, [0.3, 0.6], ["b", "a"], density=0.5)
    torch.testing.assert_close(forth, back, rtol=2 * ULP, atol=2 * ULP)


# 3 linear


@quick
@given(seed=seeds, scale=st.floats(0.01, 100), weights=st.lists(st.floats(0.1, 3), min_size=2, max_size=4))
def test_linear_depends_on_ratios_of_weights_and_stays_between_its_inputs(
    merge_one: MergeOne, seed: int, scale: float, weights: list[float]
) -> None:
    tensors = [random(seed + index, 50) for index in range(len(weights))]
    merged = merge_one("linear", tensors, weights=weights)
    torch.testing.assert_close(
        merged, merge_one("linear", tensors, weights=[scale * w for w in weights]), rtol=4 * ULP, atol=4 * ULP
    )
    stacked = torch.stack(tensors)
    room = 4 * ULP * stacked.abs().amax(0)
    assert bool((merged >= stacked.amin(0) - room).all())
    assert bool((merged <= stacked.amax(0) + room).all())


def test_linear_of_one_model_is_a_copy_and_of_cancelling_weights_an_error(merge_one: MergeOne) -> None:
    x, y = random(1, 9), random(2, 9)
    assert torch.equal(merge_one("linear", [x], weights=[0.37]), x)
    assert torch.equal(merge_one("linear", [x, y], weights=[0.0, 2.0]), y)
    with pytest.raises(UserError, match="add up to zero"):
        merge_one("linear", [x, y], weights=[1.0, -1.0])


# 4 slerp


def test_slerp_ends_are_bit_exact(merge_one: MergeOne) -> None:
    a, b = random(1, 33), random(2, 33)
    assert torch.equal(merge_one("slerp", [b], a, t=0.0), a)
    assert torch.equal(merge_one("slerp", [b], a, t=1.0), b)


@quick
@given(seed=seeds, t=st.floats(0.01, 0.99))
def test_slerp_is_symmetric_and_its_norm_lies_between(merge_one: MergeOne, seed: int, t: float) -> None:
    a, b = random(seed, 40), 2 * random(seed + 1, 40)
    forth, back = merge_one("slerp", [b], a, t=t), merge_one("slerp", [a], b, t=1 - t)
    torch.testing.assert_close(forth, back, rtol=1e-5, atol=1e-6)
    unit_a, unit_b = a / a.norm(), b / b.norm()
    assert abs(float(merge_one("slerp", [unit_b], unit_a, t=t).norm()) - 1) < 1e-5


def test_slerp_of_collinear_antipodal_and_zero_vectors_is_lerp(merge_one: MergeOne) -> None:
    a = random(1, 16)
    for b in (3 * a, -a, torch.zeros(16)):
        torch.testing.assert_close(merge_one("slerp", [b], a, t=0.25), 0.75 * a + 0.25 * b, rtol=1e-6, atol=1e-7)


# 5 task arithmetic


@quick
@given(seed=seeds, scale=st.floats(-2, 2))
def test_task_arithmetic_is_linear_in_lambda(merge_one: MergeOne, seed: int, scale: float) -> None:
    base, (model,) = fine_tunes(seed, 1, 30)
    merged = merge_one("task_arithmetic", [model], base, **{"lambda": scale})
    torch.testing.assert_close(merged, base + scale * (model - base), rtol=4 * ULP, atol=4 * ULP)


def test_task_arithmetic_of_one_is_the_model_and_its_negation_takes_it_back(merge_one: MergeOne) -> None:
    base, (model,) = fine_tunes(3, 1, 30)
    forth = merge_one("task_arithmetic", [model], base)
    torch.testing.assert_close(forth, model, rtol=ULP, atol=ULP)
    mirrored = merge_one("task_arithmetic", [forth, model], base, [1.0, -1.0])
    torch.testing.assert_close(mirrored, base, rtol=2 * ULP, atol=2 * ULP)


def test_lines_scales_by_layer_and_equals_task_arithmetic_without_a_slope(merge_one: MergeOne) -> None:
    base, tensors = fine_tunes(3, 2, 30)
    flat = merge_one("lines", tensors, base, alpha=1.0, beta=0.0)
    assert torch.equal(flat, merge_one("task_arithmetic", tensors, base))
    shallow = merge_one("lines", tensors, base, alpha=0.5, beta=0.5)
    torch.testing.assert_close(shallow - base, 0.5 * (flat - base), rtol=1e-4, atol=1e-6)


# 6 TIES


def test_ties_of_one_model_at_full_density_is_task_arithmetic_bit_by_bit(merge_one: MergeOne) -> None:
    base, tensors = fine_tunes(3, 1, 300)
    assert torch.equal(merge_one("ties", tensors, base), merge_one("task_arithmetic", tensors, base))


@quick
@given(seed=seeds, density=st.floats(0.01, 0.99), size=st.integers(1, 400), levels=st.sampled_from([0, 3]))
def test_ties_keeps_exactly_the_largest(merge_one: MergeOne, seed: int, density: float, size: int, levels: int) -> None:
    delta = random(seed, size)
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
    merge_one: MergeOne, seed: int, density: float
) -> None:
    deltas = [random(seed + index, 60) for index in range(3)]
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


def test_rescale_keeps_the_sum_of_magnitudes_of_trimming_merges(merge_one: MergeOne) -> None:
    delta = random(4, 500)
    for strategy in ("ties", "breadcrumbs"):
        merged = merge_one(strategy, [delta], torch.zeros(500), density=0.3, rescale=True)
        assert float(merged.abs().sum()) == pytest.approx(float(delta.abs().sum()), rel=1e-5)


# 7 DARE


def test_dare_is_unbiased_and_its_error_falls_as_one_over_the_root_of_seeds(merge_one: MergeOne) -> None:
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
def test_dare_keeps_a_binomial_share_and_the_l1_norm(merge_one: MergeOne, seed: int, density: float) -> None:
    delta = random(seed % 1000, 100, 100)
    merged = merge_one("dare_linear", [delta], torch.zeros(100, 100), density=density, seed=seed)
    kept = int(torch.count_nonzero(merged))
    spread = math.sqrt(10_000 * density * (1 - density))
    assert abs(kept - 10_000 * density) < 6 * spread
    assert float(merged.abs().sum()) == pytest.approx(float(delta.abs().sum()), rel=1e-4)
    assert torch.equal(merged, merge_one("dare_linear", [delta], torch.zeros(100, 100), density=density, seed=seed))


def test_dare_at_full_density_is_task_arithmetic_and_without_rescale_only_drops(merge_one: MergeOne) -> None:
    base, tensors = fine_tunes(13, 2, 50)
    for strategy in ("dare_linear", "della_linear"):
        full = merge_one(strategy, tensors, base, density=1.0)
        assert torch.equal(full, merge_one("task_arithmetic", tensors, base))
    dropped = merge_one("dare_linear", tensors[:1], torch.zeros(50), density=0.5, rescale=False)
    assert bool(((dropped == 0) | (dropped == tensors[0])).all())


def test_a_mask_does_not_depend_on_another_tensors_density(merge_one: MergeOne) -> None:
    delta = random(1, 200)
    one = merge_one("dare_linear", [delta], torch.zeros(200), density=0.5, name="a")
    other = merge_one("dare_linear", [delta], torch.zeros(200), density=0.5, name="b")
    assert not torch.equal(one, other)
    assert torch.equal(one, merge_one("dare_linear", [delta], torch.zeros(200), density=0.5, name="a"))


# 8 DELLA


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


# 9 breadcrumbs


@quick
@given(seed=seeds, density=st.floats(0.05, 0.9), gamma=st.floats(0, 0.3))
def test_breadcrumbs_drops_both_ends(merge_one: MergeOne, seed: int, density: float, gamma: float) -> None:
    size = 200
    delta = random(seed, size)
    merged = merge_one("breadcrumbs", [delta], torch.zeros(size), density=density, gamma=gamma)
    kept, top = int(density * size), int(gamma * size)
    top = min(top, size - kept)
    order = delta.abs().argsort(descending=True)
    assert sorted(order[top : top + kept].tolist()) == torch.nonzero(merged).view(-1).tolist()


def test_breadcrumbs_without_outliers_is_magnitude_trimming(merge_one: MergeOne) -> None:
    delta = random(2, 300)
    zero = torch.zeros(300)
    assert torch.equal(
        merge_one("breadcrumbs", [delta], zero, density=0.4, gamma=0.0),
        merge_one("prune_scale", [delta], zero, density=0.4),
    )


# 10 model stock


@pytest.mark.parametrize("filter_wise", [False, True])
def test_model_stock_goes_all_the_way_for_equal_and_nowhere_for_orthogonal_fine_tunes(
    filter_wise: bool, merge_one: MergeOne
) -> None:
    base = random(1, 6, 8)
    delta = 0.1 * random(2, 6, 8)
    merged = merge_one("model_stock", [base + delta] * 2, base, filter_wise=filter_wise)
    torch.testing.assert_close(merged, base + delta, rtol=1e-5, atol=1e-6)
    left, right = torch.zeros(6, 8), torch.zeros(6, 8)
    left[:, 0], right[:, 1] = 1.0, 1.0
    torch.testing.assert_close(
        merge_one("model_stock", [left, right], torch.zeros(6, 8), filter_wise=filter_wise), torch.zeros(6, 8)
    )


@quick
@given(seed=seeds)
def test_model_stock_of_two_follows_two_cos_over_one_plus_cos(merge_one: MergeOne, seed: int) -> None:
    a, b = random(seed, 30), random(seed + 1, 30) + 0.5
    cosine = float(torch.nn.functional.cosine_similarity(a, b, dim=0))
    merged = merge_one("model_stock", [a, b], torch.zeros(30))
    torch.testing.assert_close(merged, 2 * cosine / (1 + cosine) * (a + b) / 2, rtol=1e-3, atol=1e-4)


# the rest of the family


def test_nearswap_swaps_what_is_near_and_keeps_what_is_far(merge_one: MergeOne) -> None:
    base, other = torch.tensor([0.0, 0.0]), torch.tensor([0.0005, 1.0])
    merged = merge_one("nearswap", [other], base, t=0.001)
    torch.testing.assert_close(merged, torch.tensor([0.0005, 0.001]))


def test_consensus_with_every_entry_allowed_is_task_arithmetic(merge_one: MergeOne) -> None:
    base, tensors = fine_tunes(17, 3, 40)
    allowed = merge_one("consensus", tensors, base, agreement=0.0)
    torch.testing.assert_close(allowed, merge_one("task_arithmetic", tensors, base), rtol=4 * ULP, atol=4 * ULP)
    strict = merge_one("consensus", tensors, base, agreement=4.0)
    assert torch.equal(strict, base)


def test_iso_c_keeps_directions_and_flattens_the_spectrum(merge_one: MergeOne) -> None:
    delta = random(2, 6, 4)
    merged = merge_one("iso_c", [delta], torch.zeros(6, 4))
    values = torch.linalg.svdvals(merged)
    mean = float(torch.linalg.svdvals(delta).mean())
    torch.testing.assert_close(values, torch.full((4,), mean), rtol=1e-4, atol=1e-4)


def test_tsv_m_of_one_model_is_the_model(merge_one: MergeOne) -> None:
    base, tensors = fine_tunes(5, 1, 6, 4)
    torch.testing.assert_close(merge_one("tsv_m", tensors, base), tensors[0], rtol=1e-4, atol=1e-5)


def test_tsv_m_of_models_that_do_not_touch_is_their_sum(merge_one: MergeOne) -> None:
    left, right = torch.zeros(4, 4), torch.zeros(4, 4)
    left[0, 0], right[1, 1] = 3.0, 2.0
    merged = merge_one("tsv_m", [left, right], torch.zeros(4, 4))
    torch.testing.assert_close(merged, left + right, rtol=1e-5, atol=1e-5)


def test_spectral_merges_average_embeddings_and_vectors(merge_one: MergeOne) -> None:
    base, tensors = fine_tunes(5, 2, 6, 4)
    for strategy in ("iso_c", "tsv_m"):
        merged = merge_one(strategy, tensors, base, name="model.embed_tokens.weight")
        torch.testing.assert_close(merged, torch.stack(tensors).mean(0), rtol=1e-5, atol=1e-6)


def test_pcb_lets_the_strong_and_agreed_numbers_win(merge_one: MergeOne) -> None:
    a, b = 0.01 * random(1, 400), 0.01 * random(2, 400)
    a[7], b[7] = 2.0, 1.9
    merged = merge_one("pcb", [a, b], torch.zeros(400), ratio=0.05)
    # Each model keeps 20 of its scores; the outlier is kept, clipped to the second largest magnitude.
    assert int(torch.count_nonzero(merged)) <= 40
    assert 0.02 < float(merged[7]) < 0.04


def test_sce_selects_by_variance_and_weighs_by_energy(merge_one: MergeOne) -> None:
    a, b = torch.tensor([2.0, 1.0, 0.1]), torch.tensor([0.0, 1.0, 0.1])
    merged = merge_one("sce", [a, b], torch.zeros(3), select_topk=0.5)
    # Only the first varies, int(1·0.5) = 0 of it are kept; at 1.0 all are.
    assert merged.tolist() == [0, 0, 0]
    energy_a, energy_b = 5.01, 1.01
    merged = merge_one("sce", [a, b], torch.zeros(3), select_topk=1.0)
    # Zero has no sign, so b takes no part in the first number.
    expected = torch.tensor([2.0, 1.0, 0.1])
    assert energy_a > energy_b
    torch.testing.assert_close(merged, expected)


def test_karcher_of_two_is_the_middle_of_the_arc(merge_one: MergeOne) -> None:
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    expected = torch.full((2,), math.sqrt(0.5))
    for merged in (merge_one("karcher", [a, b]), merge_one("nuslerp", [a, b])):
        torch.testing.assert_close(merged, expected, rtol=1e-5, atol=1e-6)


def test_nuslerp_by_rows_and_columns_interpolates_each_alone(merge_one: MergeOne) -> None:
    a, b = random(1, 5, 7), random(2, 5, 7)
    rows = merge_one("nuslerp", [a, b], nuslerp_flatten=False)
    one = merge_one("nuslerp", [a[2], b[2]])
    torch.testing.assert_close(rows[2], one, rtol=1e-5, atol=1e-6)
    columns = merge_one("nuslerp", [a, b], nuslerp_flatten=False, nuslerp_row_wise=True)
    torch.testing.assert_close(columns[:, 3], merge_one("nuslerp", [a[:, 3], b[:, 3]]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("strategy", MERGING, ids=lambda s: s.name)
def test_every_strategy_says_where_it_comes_from_and_gives_finite_numbers(strategy, merge_one: MergeOne) -> None:  # type: ignore[no-untyped-def]
    assert strategy.formula
    assert strategy.source
    count = strategy.inputs[1] or max(3, strategy.inputs[0])
    base, tensors = fine_tunes(23, count, 12, 20)
    merged = merge_one(strategy.name, tensors, base if strategy.needs_base else None)
    assert bool(torch.isfinite(merged).all())


@pytest.mark.parametrize(("energy", "by_energy"), [(0.995e-6, False), (1.005e-6, True)])
def test_sce_weighs_models_by_energy_from_a_millionth_on_and_alike_below(
    energy: float, by_energy: bool, merge_one: MergeOne
) -> None:
    small, large = math.sqrt(energy / 5), 2 * math.sqrt(energy / 5)
    merged = merge_one("sce", [torch.full((4,), small), torch.full((4,), large)], torch.zeros(4))
    expected = 0.2 * small + 0.8 * large if by_energy else (small + large) / 2
    torch.testing.assert_close(merged, torch.full((4,), expected), rtol=1e-4, atol=0)


def test_slerp_is_on_the_arc_up_to_its_bound_and_on_the_line_beyond_it() -> None:
    for angle in (0.03, 0.5, 2.0):
        gram = np.array([[4.0, 6 * math.cos(angle)], [6 * math.cos(angle), 9.0]])
        arc = (math.sin(0.75 * angle) / math.sin(angle), math.sin(0.25 * angle) / math.sin(angle))
        expected = (0.75, 0.25) if angle == 0.03 else arc
        assert slerp_coefficients(gram, 0.25) == pytest.approx(expected, rel=1e-12)
        assert slerp_coefficients(gram, 0.25, 1 - 1e-12) == pytest.approx(arc, rel=1e-6)
    for gram in (np.diag([4.0, 0.0]), np.diag([0.0, 9.0])):
        assert slerp_coefficients(gram, 0.25) == (0.75, 0.25)
    assert [slerp_coefficients(np.eye(2), t) for t in (0.0, 1.0)] == [(1.0, 0.0), (0.0, 1.0)]
