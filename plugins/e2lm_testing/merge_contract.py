"""What every merge strategy keeps to.

Shape suffix: M models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest

from e2lm.errors import UserError
from e2lm.merge_strategy import (
    WEIGHT,
    Combination,
    ElementwiseMerge,
    FunctionMerge,
    MergeStrategy,
    RowwiseMerge,
    ScoredMerge,
    TensorGroup,
    TrajectoryMerge,
    Value,
    WeightedSum,
)
from e2lm_testing.contract import check_described, outcome, own_randomness_only, resolved

if TYPE_CHECKING:
    import torch

#: Shapes that real checkpoints hold: a matrix, a vector of a norm, a single number.
SHAPES = {"a matrix": (6, 4), "a vector": (5,), "one number": (1,)}

#: Tensors that are likely to be divided by.
DEGENERATE_VALUES = ("all models alike", "all numbers zero", "models that are opposites")

MODELS = 3


def sample_tensors(count: int, shape: tuple[int, ...], values: str = "") -> list[torch.Tensor]:
    """``count`` float32 tensors around a common one."""
    import torch

    generator = torch.Generator().manual_seed(len(shape))
    common = torch.randn(shape, generator=generator)
    if values == "all models alike":
        return [common.clone() for _ in range(count)]
    if values == "all numbers zero":
        return [torch.zeros(shape) for _ in range(count)]
    if values == "models that are opposites":
        return [common * (-1) ** place for place in range(count)]
    return [common + 0.1 * torch.randn(shape, generator=generator) for _ in range(count)]


class WholeTensor:
    """A tensor as one block, for strategies that look before they merge."""

    def __init__(self, group: TensorGroup) -> None:
        self._whole = group

    @property
    def group(self) -> TensorGroup:
        """Everything but the numbers."""
        return replace(self._whole, tensors=(), base=None)

    def __iter__(self) -> Iterator[TensorGroup]:
        yield cloned(self._whole)

    def sample(self, part: int) -> Iterator[TensorGroup]:
        """All of it: the tensor is small."""
        yield cloned(self._whole)


def cloned(group: TensorGroup) -> TensorGroup:
    """``group`` with tensors of its own, as a strategy may overwrite what it gets."""
    tensors = tuple(tensor.clone() for tensor in group.tensors)
    return replace(group, tensors=tensors, base=None if group.base is None else group.base.clone())


class MergeContract:
    """Subclass it and set ``merge_strategy`` to a :class:`MergeStrategy`, or to the name of an installed one.

    Checked are its own numbers; that the output folder is whole is the engine's part.
    """

    merge_strategy: ClassVar[MergeStrategy | str]

    @property
    def _strategy(self) -> MergeStrategy:
        return resolved(self.merge_strategy, "e2lm_register_merge_strategies", MergeStrategy, "merge strategy")

    @property
    def _numbers(self) -> FunctionMerge | WeightedSum | None:
        """What merges the numbers; None for a scored merge, which has another strategy do it."""
        strategy = self._strategy
        return None if isinstance(strategy, ScoredMerge) else strategy.settled(strategy.defaults)

    def _group(self, shape: tuple[int, ...], values: str = "") -> TensorGroup:
        strategy = self._strategy
        least, most = strategy.inputs
        count = max(least, min(MODELS, most or MODELS))
        with_base = strategy.needs_base or strategy.takes_base
        tensors = sample_tensors(count + with_base, shape, values)
        if isinstance(self._numbers, ElementwiseMerge):
            tensors = [tensor.reshape(-1) for tensor in tensors]
        elif isinstance(self._numbers, RowwiseMerge):
            tensors = [tensor.reshape(-1, shape[-1]) for tensor in tensors]
        own = [strategy.model_defaults for _ in range(count)]
        weights = tuple(float(one.pop(WEIGHT, 1.0)) for one in own)
        if isinstance(strategy, TrajectoryMerge):
            weights = strategy.weigh(tuple(range(1, count + 1)), strategy.defaults)
        return TensorGroup(
            name="model.layers.0.mlp.up_proj.weight",
            tensors=tuple(tensors[:count]),
            base=tensors[count] if with_base else None,
            weights=weights,
            parameters=strategy.defaults,
            seed=20,
            models=tuple(f"model-{place}" for place in range(count)),
            model_parameters=tuple(own),
            shape=shape,
            layer=0,
            layers=1,
            with_base=with_base,
        )

    def _merged(self, group: TensorGroup) -> torch.Tensor | Combination:
        strategy, numbers = self._strategy, self._numbers
        if strategy.check is not None:
            strategy.check(replace(group, tensors=(), base=None))
        if isinstance(strategy, ScoredMerge):
            search = strategy.search({"merge_method": strategy.name}, Path())
            raise AssertionError(f"a config without models and items was taken, to be searched: {search.cost}")
        assert numbers is not None
        if isinstance(numbers, WeightedSum):
            return self._combined(numbers, group)
        blocks = WholeTensor(group)
        found = None if numbers.look_at_all is None else numbers.look_at_all([blocks])
        if numbers.look is not None:
            found = numbers.look(blocks, found)
        return numbers.merge(replace(cloned(group), found=found))

    def _combined(self, strategy: WeightedSum, group: TensorGroup) -> Combination:
        wanted = None if strategy.products_of is None else strategy.products_of(replace(group, tensors=(), base=None))
        products_MM = None
        if wanted is not None:
            inputs = [tensor.double().flatten() for tensor in group.tensors]
            if group.base is not None:
                base = group.base.double().flatten()
                inputs = [one - base for one in inputs] if wanted == "deltas" else [*inputs, base]
            products_MM = np.array([[float(one @ other) for other in inputs] for one in inputs])
        return strategy.combine(replace(group, tensors=(), base=None), products_MM)

    def _checked(self, group: TensorGroup) -> Any:
        merged = outcome(lambda: self._merged(group))
        if isinstance(merged, Combination):
            check_combination(merged, len(group.tensors))
        elif not isinstance(merged, UserError):
            check_tensor(merged, tuple(group.tensors[0].shape))
        return merged

    def test_it_says_what_it_is(self) -> None:
        check_described(self._strategy.name, self._strategy.description)

    @pytest.mark.parametrize("kind", SHAPES)
    def test_it_gives_a_finite_tensor_of_the_shape_of_its_inputs(self, kind: str) -> None:
        merged = self._checked(self._group(SHAPES[kind]))
        if isinstance(merged, UserError):
            assert isinstance(self._strategy, TrajectoryMerge | ScoredMerge), f"ordinary tensors are refused: {merged}"

    def test_the_same_input_and_seed_give_the_same_bits(self) -> None:
        first, second = (self._checked(self._group((6, 4))) for _ in range(2))
        if isinstance(first, Combination | UserError):
            assert repr(first) == repr(second)
        else:
            assert first.numpy().tobytes() == second.numpy().tobytes()

    def test_it_draws_from_the_seed_of_its_group_only(self) -> None:
        import torch  # noqa: F401  so that its global generator is watched as well

        with own_randomness_only():
            self._checked(self._group((6, 4)))

    def test_it_leaves_the_parameters_as_they_were(self) -> None:
        group = self._group((6, 4))
        before = _parameters(group)
        self._checked(group)
        assert _parameters(group) == before
        assert dict(self._strategy.defaults) == before[0]

    @pytest.mark.parametrize("values", DEGENERATE_VALUES)
    def test_degenerate_tensors_give_finite_numbers_or_a_refusal_of_one_line(self, values: str) -> None:
        self._checked(self._group((6, 4), values))


def _parameters(group: TensorGroup) -> tuple[dict[str, Value], list[Mapping[str, Value]]]:
    return dict(group.parameters), [dict(one) for one in group.model_parameters]


def check_tensor(merged: torch.Tensor, shape: tuple[int, ...]) -> None:
    """Shape, type and finite numbers of what ``merge`` gave."""
    import torch

    assert isinstance(merged, torch.Tensor), f"returned {merged!r}; expected a tensor"
    assert tuple(merged.shape) == shape, f"the merged shape is {tuple(merged.shape)}, expected {shape}"
    assert merged.is_floating_point(), f"the merged tensor holds {merged.dtype}; expected float32"
    assert bool(torch.isfinite(merged).all()), "the merged tensor holds NaN or infinity"


def check_combination(merged: Combination, models: int) -> None:
    """One finite coefficient per model."""
    assert len(merged.coefficients) == models, f"{len(merged.coefficients)} coefficients for {models} models"
    assert np.isfinite([*merged.coefficients, merged.base]).all(), f"coefficients {merged.coefficients} are not finite"
