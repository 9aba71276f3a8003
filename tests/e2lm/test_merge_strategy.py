"""Kinds of merge strategies: each is a type with fields of its own, and what was written before gives them too."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from pathlib import Path
from typing import Any

import pytest

from e2lm import E2LMError, MergeStrategy, UserError
from e2lm.merge_strategy import (
    Combination,
    ElementwiseMerge,
    FunctionMerge,
    MergeParameter,
    RowwiseMerge,
    ScoredMerge,
    SwitchedMerge,
    TensorGroup,
    TrajectoryMerge,
    WeightedSum,
    WholeTensorMerge,
)


def first(group: TensorGroup) -> Any:
    return group.tensors[0]


def half(group: TensorGroup, products: Any) -> Combination:
    return Combination((0.5, 0.5))


def of_parameters(parameters: Any) -> Any:
    return "sum" if parameters["flat"] else "row"


WEIGHED = {"weigh": lambda steps, parameters: (1.0,), "along": lambda series, parameters: iter(())}

#: What a plugin could write when all kinds were one, and the kind that it meant.
WRITTEN_BEFORE: list[tuple[dict[str, Any], type[MergeStrategy]]] = [
    ({"merge": first}, WholeTensorMerge),
    ({"merge": first, "scope": "tensor"}, WholeTensorMerge),
    ({"merge": first, "scope": "element", "look": lambda blocks, found: 3}, ElementwiseMerge),
    ({"merge": first, "scope": "row", "look_at_all": lambda tensors: 4}, RowwiseMerge),
    ({"combine": half, "scope": "sum", "products_of": lambda group: "inputs"}, WeightedSum),
    ({"merge": first, "combine": half, "scope": of_parameters, "defaults": {"flat": True}}, SwitchedMerge),
    ({"combine": half, "scope": "sum", **WEIGHED}, TrajectoryMerge),
    ({"merge": first, **WEIGHED}, TrajectoryMerge),
    ({"merge": first, "needs_score": True}, ScoredMerge),
]


@pytest.mark.parametrize(("fields", "kind"), WRITTEN_BEFORE)
def test_what_was_written_before_gives_the_kind_that_it_meant(
    fields: dict[str, Any], kind: type[MergeStrategy]
) -> None:
    facts = {"needs_base": True, "inputs": (2, 3), "formula": "f", "source": "s", "ordered": True, "takes_base": True}
    strategy = MergeStrategy("thing", "A merge.", **fields, **facts, check=print)
    assert type(strategy) is kind
    assert isinstance(strategy, MergeStrategy)
    assert {name: getattr(strategy, name) for name in facts} == facts
    assert (strategy.name, strategy.description, strategy.check) == ("thing", "A merge.", print)
    for name in ("merge", "combine", "look", "look_at_all", "products_of", "weigh", "along"):
        if name in fields and hasattr(strategy, name):
            assert getattr(strategy, name) is fields[name]


def test_arguments_may_stand_by_place_as_before() -> None:
    strategy = MergeStrategy("thing", "A merge.", first, True, {"t": 0.5}, "source", "formula", False, True, "element")
    assert isinstance(strategy, ElementwiseMerge)
    assert (strategy.needs_base, strategy.defaults, strategy.source, strategy.ordered) == (
        True, {"t": 0.5}, "source", True,
    )  # fmt: skip


def test_a_parameter_told_in_three_places_becomes_one() -> None:
    strategy = MergeStrategy(
        "thing",
        "A merge.",
        first,
        defaults={"t": 0.5, "how": "fast"},
        model_defaults={"weight": 1.0},
        ranges={"t": "[0, 1]", "weight": "(0, inf)"},
        choices={"how": ("fast", "slow")},
    )
    assert strategy.parameters == {
        "t": MergeParameter(0.5, "[0, 1]"),
        "how": MergeParameter("fast", choices=("fast", "slow")),
    }
    assert strategy.model_parameters == {"weight": MergeParameter(1.0, "(0, inf)")}
    assert (strategy.defaults, strategy.model_defaults) == ({"t": 0.5, "how": "fast"}, {"weight": 1.0})


def test_what_depends_on_parameters_settles_for_one_kind_under_each() -> None:
    switched = MergeStrategy("thing", "A merge.", first, scope=of_parameters, combine=half, defaults={"flat": True})
    assert type(switched.settled({"flat": True})) is WeightedSum
    assert type(switched.settled({"flat": False})) is RowwiseMerge
    along = MergeStrategy("thing", "A merge.", first, scope=of_parameters, combine=half, **WEIGHED)
    assert type(along.settled({"flat": False})) is RowwiseMerge
    for kind in (WholeTensorMerge("a", "b", first), WeightedSum("a", "b", half)):
        assert kind.settled({}) is kind


def test_no_kind_has_a_field_that_only_another_uses() -> None:
    shared = {field.name for field in dataclasses.fields(MergeStrategy)}
    own = {
        kind: {field.name for field in dataclasses.fields(kind)} - shared
        for kind in (FunctionMerge, WeightedSum, SwitchedMerge, TrajectoryMerge, ScoredMerge)
    }
    assert own == {
        FunctionMerge: {"merge", "look", "look_at_all"},
        WeightedSum: {"combine", "products_of"},
        SwitchedMerge: {"choose"},
        TrajectoryMerge: {"weigh", "along", "numbers"},
        ScoredMerge: {"search"},
    }


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: MergeStrategy("thing", "A merge."), "neither merge nor combine"),
        (lambda: MergeStrategy("thing", "A merge.", combine=half), "merge is None; expected a function"),
        (lambda: MergeStrategy("thing", "A merge.", first, scope="sum"), "combine is None; expected a function"),
        (lambda: MergeStrategy("thing", "A merge.", first, scope="rows"), "scope is 'rows'. Did you mean 'row'"),  # type: ignore[arg-type]
        (lambda: MergeStrategy("thing", "A merge.", first, weigh=WEIGHED["weigh"]), "along is None"),
        (lambda: MergeStrategy("Thing", "A merge.", first), "merge strategy name 'Thing' is not allowed"),
        (
            lambda: MergeStrategy("a", "b", first, defaults={"t": 1.0}, ranges={"t": "0..1"}),
            "'0..1' is not an interval",
        ),
        (lambda: WeightedSum("thing", "A merge.", 3), "combine is 3; expected a function"),  # type: ignore[arg-type]
        (lambda: SwitchedMerge("thing", "A merge.", None), "choose is None"),  # type: ignore[arg-type]
        (lambda: ScoredMerge("thing", "A merge.", None), "search is None"),  # type: ignore[arg-type]
        (lambda: RowwiseMerge("no such name", "A merge.", first), "name 'no such name' is not allowed"),
    ],
)
def test_a_strategy_that_cannot_work_is_refused_when_it_is_made(make: Any, said: str) -> None:
    with pytest.raises(E2LMError, match=said):
        make()


def test_a_field_that_no_kind_has_is_named() -> None:
    with pytest.raises(TypeError, match="combin"):
        MergeStrategy("thing", "A merge.", first, combin=half)


def test_a_scored_merge_merges_no_numbers_and_without_a_search_says_so() -> None:
    strategy = MergeStrategy("thing", "A merge.", needs_score=True)
    assert isinstance(strategy, ScoredMerge)
    with pytest.raises(E2LMError, match="'thing' merges no numbers itself"):
        strategy.settled({})
    with pytest.raises(UserError, match="'thing' needs a score, and brings no way to score candidates"):
        strategy.search({}, Path())


@pytest.mark.parametrize("kind", [WholeTensorMerge, ElementwiseMerge, RowwiseMerge])
def test_a_strategy_can_be_copied_pickled_and_changed(kind: type[FunctionMerge]) -> None:
    strategy = kind("thing", "A merge.", first, parameters={"t": MergeParameter(0.5)})
    assert copy.copy(strategy) == copy.deepcopy(strategy) == strategy
    assert pickle.loads(pickle.dumps(strategy)) == strategy
    changed = dataclasses.replace(strategy, name="other")
    assert (type(changed), changed.name, changed.merge) == (kind, "other", first)


@pytest.mark.parametrize(
    ("parameter", "value", "taken"),
    [
        (MergeParameter(0.5, "(0, 1]"), 1, 1.0),
        (MergeParameter(0.5, "(0, 1]"), "1e-4", 1e-4),
        (MergeParameter(True), False, False),
        (MergeParameter("tensor", choices=("tensor", "global")), "global", "global"),
        (MergeParameter("1-sqrt"), 0.9, "0.9"),
    ],
)
def test_a_value_is_taken_in_the_type_of_the_default(parameter: MergeParameter, value: Any, taken: Any) -> None:
    found = parameter.checked(value, "t")
    assert found == taken
    assert type(found) is type(taken)


@pytest.mark.parametrize(
    ("parameter", "value", "said"),
    [
        (MergeParameter(0.5, "(0, 1]"), 0.0, r"t: found 0; allowed is \(0, 1\]"),
        (MergeParameter(0.5, "(0, 1]"), 1.01, r"t: found 1.01; allowed is \(0, 1\]"),
        (MergeParameter(0.5), float("nan"), "expected a finite number"),
        (MergeParameter(0.5), "half", "t: found 'half'; expected a finite number"),
        (MergeParameter(0.5), True, "t: found True; expected a finite number"),
        (MergeParameter(True), 1.0, "t: found 1.0; expected true or false"),
        (MergeParameter("tensor", choices=("tensor", "global")), "tensr", "t: found 'tensr'. Did you mean 'tensor'"),
        (MergeParameter("tensor", choices=("tensor", "global")), 1.0, "t: found 1.0"),
        (MergeParameter("1-sqrt"), True, "t: found True"),
    ],
)
def test_a_value_of_another_type_range_or_choice_is_refused(parameter: MergeParameter, value: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parameter.checked(value, "t")
