"""The parameters of a recipe, checked against the strategy that takes them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from e2lm.errors import UserError, nearest_names
from e2lm.merge_strategy import MergeStrategy, Value
from e2lm_merge.setting import Place, Setting, parse_setting

WEIGHT = "weight"

RANGE = re.compile(r"([\[(])\s*([-+.\deinf]+)\s*,\s*([-+.\deinf]+)\s*([\])])")


@dataclass(frozen=True, slots=True)
class ParameterBook:
    """Settings of one place of a recipe (a model, a slice, the top), by parameter name; ``where`` names the place."""

    where: str
    settings: Mapping[str, Setting]

    def at(self, name: str, place: Place) -> Value | None:
        """The value of ``name`` for one tensor, None where this book does not say."""
        setting = self.settings.get(name)
        return None if setting is None else setting.at(place)


def own_parameters(strategy: MergeStrategy) -> dict[str, Value]:
    """The parameters that every model has: ``weight`` first, unless the strategy finds weights itself."""
    return dict(strategy.model_defaults)


def parameter_book(data: Mapping[str, Any], where: str, strategy: MergeStrategy, of_model: bool) -> ParameterBook:
    """The settings in ``data``; unknown names are errors, and so are shared parameters given to one model."""
    own = own_parameters(strategy)
    known = {**own, **({} if of_model else strategy.defaults)}
    for name in data:
        if name in known:
            continue
        if name in strategy.defaults:
            raise UserError(f"{where}: parameter {name!r} belongs to the merge as a whole; write it under parameters")
        if not known:
            raise UserError(f"{where}: unknown parameter {name!r}; strategy {strategy.name!r} takes none here")
        raise UserError(f"{where}: unknown parameter {name!r} of {strategy.name!r}. {nearest_names(name, known)}")
    settings = {name: parse_setting(value, f"{where}.{name}") for name, value in data.items()}
    for name, setting in settings.items():
        _check_all(setting, name, f"{where}.{name}", known[name], strategy)
    return ParameterBook(where, {name: _typed(setting, known[name]) for name, setting in settings.items()})


def _check_all(setting: Setting, name: str, where: str, default: Value, strategy: MergeStrategy) -> None:
    for inner in setting.filters:
        _check_all(inner.setting, name, where, default, strategy)
    values: Sequence[Value] = (
        setting.gradient if setting.gradient else [setting.value] if setting.value is not None else []
    )
    if setting.gradient and isinstance(default, str):
        raise UserError(f"{where}: found the list {list(setting.gradient)}; expected one text, such as {default!r}")
    for value in values:
        checked_value(value, name, where, default, strategy)


def checked_value(value: Value, name: str, where: str, default: Value, strategy: MergeStrategy) -> Value:
    """``value`` in the type of ``default``; a :class:`UserError` for another type, choice or range."""
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise UserError(f"{where}: found {value!r}; expected true or false")
        return value
    if isinstance(default, str):
        allowed = strategy.choices.get(name)
        if allowed is None and isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str) or (allowed is not None and value not in allowed):
            raise UserError(f"{where}: found {value!r}. {nearest_names(str(value), allowed or ())}")
        return value
    number = _number(value, where)
    if name in strategy.ranges and not within(number, strategy.ranges[name]):
        raise UserError(f"{where}: found {number:g}; allowed is {strategy.ranges[name]}")
    return number


def _number(value: Value, where: str) -> float:
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except ValueError:
        number = float("nan")
    if not abs(number) < float("inf"):
        raise UserError(f"{where}: found {value!r}; expected a finite number")
    return number


def _typed(setting: Setting, default: Value) -> Setting:
    """Numbers that YAML 1.1 reads as text (``1e-4``) become numbers, and a text that is one number a text again."""
    filters = tuple(replace(one, setting=_typed(one.setting, default)) for one in setting.filters)
    value = setting.value
    if value is not None and not isinstance(default, bool | str):
        value = float(value)
    elif value is not None and isinstance(default, str):
        value = str(value)
    return Setting(value, setting.gradient, filters)


def within(number: float, interval: str) -> bool:
    """Whether ``number`` lies in an interval written as in mathematics.

    >>> within(0.0, "(0, 1]"), within(1.0, "(0, 1]"), within(7.0, "[0, inf)")
    (False, True, True)
    """
    match = RANGE.fullmatch(interval.strip())
    if match is None:
        raise ValueError(f"not an interval: {interval!r}")
    low, high = float(match.group(2)), float(match.group(3))
    above = number > low if match.group(1) == "(" else number >= low
    below = number < high if match.group(4) == ")" else number <= high
    return above and below


def resolved(names: Mapping[str, Value], books: Sequence[ParameterBook], place: Place) -> dict[str, Value]:
    """The value of every parameter for one tensor: the first book that says one, else the default."""
    values: dict[str, Value] = {}
    for name, default in names.items():
        said = next((value for book in books if (value := book.at(name, place)) is not None), None)
        values[name] = default if said is None else said
    return values
