"""What every merge method keeps to: order, copies, size and origin.

Models that are drawn are multiples of powers of two, so that differences are exact.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from e2lm.merge_strategy import ScoredMerge, TrajectoryMerge
from e2lm_merge.plan.merge_plan import find_strategy
from e2lm_merge.plugin import e2lm_register_merge_strategies

MergeOne = Callable[..., torch.Tensor]
Gaussian = Callable[..., torch.Tensor]
FineTunes = Callable[..., tuple[torch.Tensor, list[torch.Tensor]]]
ULP = 2.0**-23
MERGING = [one for one in e2lm_register_merge_strategies() if not isinstance(one, ScoredMerge)]
NEED_BASE = [one.name for one in MERGING if one.needs_base]
RANDOM = ["dare_linear", "dare_ties", "della", "della_linear"]


@pytest.mark.parametrize("strategy", [name for name in NEED_BASE if name not in RANDOM])
def test_copies_of_the_base_merge_to_the_base_bit_by_bit(
    strategy: str, merge_one: MergeOne, gaussian: Gaussian
) -> None:
    base = gaussian(1, 12, 10)
    count = find_strategy(strategy).inputs[1] or 3
    merged = merge_one(strategy, [base.clone() for _ in range(count)], base)
    torch.testing.assert_close(merged, base, rtol=ULP if strategy in ("iso_c", "tsv_m") else 0, atol=0)


@pytest.mark.parametrize("strategy", ["linear", "task_arithmetic", "ties", "model_stock", "multislerp", "sce"])
def test_order_of_models_changes_at_most_two_ulp(strategy: str, merge_one: MergeOne, fine_tunes: FineTunes) -> None:
    base, tensors = fine_tunes(5, 3, 20, 8)
    weights = [0.5, 0.3, 0.4]
    needs = find_strategy(strategy).needs_base
    results = [
        merge_one(strategy, [tensors[i] for i in order], base if needs else None, [weights[i] for i in order])
        for order in itertools.permutations(range(3))
    ]
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=2 * ULP, atol=2 * ULP)


@pytest.mark.parametrize("strategy", MERGING, ids=lambda s: s.name)
def test_every_strategy_says_where_it_comes_from_and_gives_finite_numbers(
    strategy, merge_one: MergeOne, fine_tunes: FineTunes
) -> None:  # type: ignore[no-untyped-def]
    assert strategy.formula
    assert strategy.source
    count = strategy.inputs[1] or max(3, strategy.inputs[0])
    base, tensors = fine_tunes(23, count, 12, 20)
    merged = merge_one(strategy.name, tensors, base if strategy.needs_base else None)
    assert bool(torch.isfinite(merged).all())


Array = NDArray[np.float64]
MergeArrays = Callable[..., Array]
DrawnModels = Callable[..., tuple[list[Array], Array]]

STRATEGIES = {one.name: one for one in e2lm_register_merge_strategies() if not isinstance(one, ScoredMerge)}
OF_THREE = [name for name, one in STRATEGIES.items() if one.inputs[1] is None]
LABELS = ("mild", "bold", "apex")
STEPS = (100, 250, 300)

#: How far rounding in float32 goes (numbers are about 1): singular vectors, angles of nearly equal directions.
ROUNDING = {"iso_c": 2e-4, "tsv_m": 2e-4, "model_stock": 2e-4, "pcb": 1e-4}
FEW_ULP = 1e-5

weights_of_three = st.tuples(*[st.integers(1, 32).map(lambda sixteenths: sixteenths / 16)] * 3)
examples = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def with_and_without_base(names: Sequence[str]) -> list[tuple[str, bool]]:
    """Every method with a base where it takes one, and without where it needs none."""
    found = []
    for name in names:
        strategy = STRATEGIES[name]
        found += [(name, True)] if strategy.needs_base or strategy.takes_base else []
        found += [] if strategy.needs_base else [(name, False)]
    return found


def close(found: Array, expected: Array, name: str) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING.get(name, FEW_ULP))


def merged(merge_arrays: MergeArrays, name: str, models: Sequence[Array], base: Array | None,
           order: Sequence[int] = (0, 1, 2)) -> Array:  # fmt: skip
    """The models in some order, each with its weight, label and parameters."""
    given_own = [{"density": density, "gamma": 0.1, "epsilon": 0.2} for density in (0.5, 0.6, 0.4)]
    known = find_strategy(name).model_parameters
    own = [{key: value for key, value in one.items() if key in known} for one in given_own]
    order = [place for place in order if place < len(models)]
    return merge_arrays(
        name,
        [models[place] for place in order],
        base,
        [(0.5, 0.25, 0.75)[place] for place in order],
        [LABELS[place] for place in order],
        model_parameters=[own[place] for place in order],
    )


def drawn(drawn_models: DrawnModels, name: str, seed: int, with_base: bool) -> tuple[list[Array], Array | None]:
    # Variances that are equal but for rounding would have no order, so sce gets a fine grid.
    grid = 2.0**-18 if name == "sce" else 2.0**-7
    models, base = drawn_models(seed, (6, 5), STRATEGIES[name].inputs[1] or 3, grid)
    return models, base if with_base else None


@pytest.mark.parametrize(
    ("name", "with_base"), with_and_without_base([name for name in OF_THREE if not STRATEGIES[name].ordered])
)
@examples
@given(seed=st.integers(0, 2**31), order=st.permutations(range(3)))
def test_the_order_of_models_does_not_matter(
    name: str, with_base: bool, seed: int, order: list[int], drawn_models: DrawnModels, merge_arrays: MergeArrays
) -> None:
    models, base = drawn(drawn_models, name, seed, with_base)
    close(merged(merge_arrays, name, models, base, order), merged(merge_arrays, name, models, base), name)


#: Three copies of a model merge to it where models are averaged, and where they are added by weights of 1 in all.
AVERAGING = ["linear", "multislerp", "karcher", "model_stock", "sce", "ties", "ram", "ramplus_tl",
             "lawa", "sma", "wma", "ema", "swa", "wsm"]  # fmt: skip
ADDING = ["task_arithmetic", "prune_scale", "consensus", "breadcrumbs", "breadcrumbs_ties", "dare_linear", "dare_ties",
          "della_linear", "della"]  # fmt: skip
#: They do not where a spectrum is made flat, directions orthogonal, numbers compete, or shallow layers count less.
NEITHER = ["iso_c", "tsv_m", "pcb", "lines"]


def test_copies_are_asked_of_every_method_of_three() -> None:
    assert {*AVERAGING, *ADDING, *NEITHER} == set(OF_THREE)


@pytest.mark.parametrize(("name", "with_base"), with_and_without_base([*AVERAGING, *ADDING]))
@examples
@given(seed=st.integers(0, 2**31), weights=weights_of_three)
def test_copies_of_one_model_merge_to_it(
    name: str,
    with_base: bool,
    seed: int,
    weights: tuple[float, ...],
    drawn_models: DrawnModels,
    merge_arrays: MergeArrays,
) -> None:
    (model, *_), base = drawn(drawn_models, name, seed, with_base)
    shares = [weight / sum(weights) for weight in weights] if name in ADDING else list(weights)
    if name == "consensus":  # a number that only one model has use for is not taken
        shares = [0.3, 0.3, 0.4]
    if isinstance(strategy := find_strategy(name), TrajectoryMerge):
        shares = list(strategy.weigh(STEPS, strategy.defaults))
    close(merge_arrays(name, [model] * 3, base, shares, LABELS), model, name)


#: They measure differences in absolute terms, so the size of numbers matters to them.
ABSOLUTE = ("nearswap", "pcb", "arcee_fusion")


@pytest.mark.parametrize(
    ("name", "with_base"), with_and_without_base([name for name in STRATEGIES if name not in ABSOLUTE])
)
@examples
@given(seed=st.integers(0, 2**31), power=st.integers(-3, 6))
def test_models_times_a_number_merge_to_the_merge_times_it(
    name: str, with_base: bool, seed: int, power: int, drawn_models: DrawnModels, merge_arrays: MergeArrays
) -> None:
    models, base = drawn(drawn_models, name, seed, with_base)
    scale = 2.0**power
    larger = merged(merge_arrays, name, [scale * one for one in models], None if base is None else scale * base)
    close(larger / scale, merged(merge_arrays, name, models, base), name)


#: slerp turns models themselves; every other method that takes a base sees differences from it.
DIFFERENCES = [name for name, one in STRATEGIES.items() if (one.needs_base or one.takes_base) and name != "slerp"]


@pytest.mark.parametrize("name", DIFFERENCES)
@examples
@given(seed=st.integers(0, 2**31), shift=st.integers(-4, 4).filter(bool))
def test_what_is_added_to_base_and_models_alike_is_added_to_the_merge(
    name: str, seed: int, shift: int, drawn_models: DrawnModels, merge_arrays: MergeArrays
) -> None:
    models, base = drawn(drawn_models, name, seed, True)
    assert base is not None
    moved = merged(merge_arrays, name, [one + shift for one in models], base + shift)
    close(moved - shift, merged(merge_arrays, name, models, base), name)
