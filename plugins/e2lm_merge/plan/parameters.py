"""The parameters of a recipe, checked against the strategy that takes them.

A parameter as mergekit's YAML writes it: one value, a gradient over the layers, or a list of filters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from e2lm.errors import UserError, nearest_names
from e2lm.merge_strategy import MergeStrategy, Value

#: ``model.layers.3.``, ``transformer.h.3.``, ``gpt_neox.layers.3.``, ``encoder.layer.3.``, ``blocks.3.``
LAYER_PART = re.compile(r"(?:^|\.)(layers|layer|h|blocks)\.(\d+)\.")


def layer_of(name: str) -> int | None:
    """The layer that a tensor belongs to, None outside the layers.

    >>> layer_of("model.layers.11.mlp.up_proj.weight"), layer_of("lm_head.weight")
    (11, None)
    """
    match = LAYER_PART.search(name)
    return int(match.group(2)) if match else None


def with_layer(name: str, layer: int) -> str:
    """The same tensor of another layer.

    >>> with_layer("model.layers.11.mlp.up_proj.weight", 3)
    'model.layers.3.mlp.up_proj.weight'
    """
    match = LAYER_PART.search(name)
    if match is None:
        return name
    return f"{name[: match.start(2)]}{layer}{name[match.end(2) :]}"


@dataclass(frozen=True, slots=True)
class Place:
    """The tensor a parameter is asked for: its name and how deep it lies, 0 at the first layer and 1 at the last."""

    tensor: str
    depth: float


@dataclass(frozen=True, slots=True)
class Filter:
    """A value for tensors whose name contains ``part``; None or ``*`` for all that are left."""

    part: str | None
    setting: Setting


@dataclass(frozen=True, slots=True)
class Setting:
    """One value, the anchors of a gradient, or filters, of which the first that fits counts."""

    value: Value | None = None
    gradient: tuple[float, ...] = ()
    filters: tuple[Filter, ...] = ()

    def at(self, place: Place) -> Value | None:
        """The value for one tensor; None where no filter fits.

        A gradient is linear between its anchors, which are spread evenly over the layers. Tensors outside the layers
        lie at depth 0 and so take the first anchor, as in mergekit.
        """
        if self.filters:
            for candidate in self.filters:
                if candidate.part in (None, "*") or str(candidate.part) in place.tensor:
                    return candidate.setting.at(place)
            return None
        if self.gradient:
            return _interpolated(self.gradient, place.depth)
        return self.value


def _interpolated(anchors: tuple[float, ...], depth: float) -> float:
    if len(anchors) == 1:
        return anchors[0]
    position = depth * (len(anchors) - 1)
    left = min(int(position), len(anchors) - 2)
    share = position - left
    return (1 - share) * anchors[left] + share * anchors[left + 1]


def parse_setting(data: Any, where: str) -> Setting:
    """The setting in ``data``; a :class:`UserError` names ``where`` for anything else.

    >>> parse_setting([0.0, 1.0], "t").at(Place("model.layers.1.x", 0.25))
    0.25
    >>> parse_setting([{"filter": "mlp", "value": 0.3}, {"value": 0.7}], "t").at(Place("model.norm", 0.0))
    0.7
    """
    if isinstance(data, bool | int | float | str):
        return Setting(value=data)
    if isinstance(data, list) and data:
        if all(isinstance(entry, int | float) and not isinstance(entry, bool) for entry in data):
            return Setting(gradient=tuple(float(entry) for entry in data))
        if all(isinstance(entry, dict) for entry in data):
            return Setting(filters=tuple(_filter(entry, where) for entry in data))
    raise UserError(
        f"{where}: found {data!r:.80}; allowed are one value, a list of numbers (a gradient over the layers), or a "
        "list of {filter: part of a tensor name, value: ...}"
    )


def _filter(entry: dict[str, Any], where: str) -> Filter:
    unknown = sorted(set(map(str, entry)) - {"filter", "value"})
    if unknown or "value" not in entry:
        found = f"unknown field {unknown[0]!r}" if unknown else "field 'value' is missing"
        raise UserError(f"{where}: {found}; a filter has the fields filter and value")
    part = entry.get("filter")
    if part is not None and not isinstance(part, str):
        raise UserError(f"{where}.filter: found {part!r}; expected a part of a tensor name")
    inner = parse_setting(entry["value"], f"{where}.value")
    if inner.filters:
        raise UserError(f"{where}.value: a filter inside a filter; write them one below the other")
    return Filter(part, inner)


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
