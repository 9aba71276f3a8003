"""The parameters of a recipe: one value, a gradient over the layers, or filters, as mergekit's YAML writes them.

They are checked against the strategy that takes them, and resolved for every tensor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from e2lm.errors import UserError, nearest_names
from e2lm.merge_strategy import WEIGHT, MergeParameter, MergeStrategy, Value

#: ``model.layers.3.``, ``transformer.h.3.``, ``gpt_neox.layers.3.``, ``encoder.layer.3.``, ``blocks.3.``, and T5's
#: ``encoder.block.3.layer.1.``, of which the first number counts.
LAYER_PART = re.compile(r"(?:^|\.)(layers|layer|h|blocks|block)\.(\d+)\.")


def layer_of(name: str) -> int | None:
    """The layer that a tensor belongs to, None outside the layers.

    >>> layer_of("model.layers.11.mlp.up_proj.weight"), layer_of("lm_head.weight")
    (11, None)
    """
    match = LAYER_PART.search(name)
    return int(match.group(2)) if match else None


def stack_of(name: str) -> str | None:
    """The stack of layers that a tensor belongs to, None outside the layers: a model may have several.

    >>> stack_of("vision_tower.encoder.layers.3.fc1.weight"), stack_of("lm_head.weight")
    ('vision_tower.encoder.layers', None)
    """
    match = LAYER_PART.search(name)
    return name[: match.start(2) - 1] if match else None


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
    if isinstance(data, dict) and "value" in data:
        return Setting(filters=(_filter(data, where),))
    if isinstance(data, list) and data:
        gradient = [_anchor(entry) for entry in data]
        if None not in gradient:
            return Setting(gradient=tuple(anchor for anchor in gradient if anchor is not None))
        if all(isinstance(entry, dict) for entry in data):
            return Setting(filters=tuple(_filter(entry, where) for entry in data))
    raise UserError(
        f"{where}: found {data!r:.80}; allowed are one value, a list of numbers (a gradient over the layers), or "
        "{filter: part of a tensor name, value: ...}, one or a list of them"
    )


def _anchor(entry: Any) -> float | None:
    """An anchor of a gradient as a number: YAML 1.1 reads ``1e-4`` as text. None for what is none."""
    if isinstance(entry, bool) or not isinstance(entry, int | float | str):
        return None
    try:
        return float(entry)
    except ValueError:
        return None


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


@dataclass(frozen=True, slots=True)
class ParameterBook:
    """Settings of one place of a recipe (a model, a slice, the top), by parameter name; ``where`` names the place."""

    where: str
    settings: Mapping[str, Setting]

    def at(self, name: str, place: Place) -> Value | None:
        """The value of ``name`` for one tensor, None where this book does not say."""
        setting = self.settings.get(name)
        return None if setting is None else setting.at(place)


def parameter_book(data: Mapping[str, Any], where: str, strategy: MergeStrategy, of_model: bool) -> ParameterBook:
    """The settings in ``data``; unknown names are errors, and so are shared parameters given to one model."""
    known = {**strategy.model_parameters, **({} if of_model else strategy.parameters)}
    if WEIGHT not in known and data.get(WEIGHT) == 1 and data[WEIGHT] is not True:
        data = {name: value for name, value in data.items() if name != WEIGHT}  # all models count alike, and 1
    for name in data:
        if name in known:
            continue
        if name in strategy.parameters:
            raise UserError(f"{where}: parameter {name!r} belongs to the merge as a whole; write it under parameters")
        if name == WEIGHT:
            raise UserError(
                f"{where}.weight: found {data[name]!r:.80}, but to {strategy.name!r} all models count alike; remove it "
                '(a strategy whose models may count differently says so by model_defaults={"weight": 1.0})'
            )
        if not known:
            raise UserError(f"{where}: unknown parameter {name!r}; strategy {strategy.name!r} takes none here")
        raise UserError(f"{where}: unknown parameter {name!r} of {strategy.name!r}. {nearest_names(name, known)}")
    settings = {name: parse_setting(value, f"{where}.{name}") for name, value in data.items()}
    return ParameterBook(where, {name: _checked(one, known[name], f"{where}.{name}") for name, one in settings.items()})


def _checked(setting: Setting, parameter: MergeParameter, where: str) -> Setting:
    """Every value of ``setting`` in the type that the parameter has."""
    filters = tuple(replace(one, setting=_checked(one.setting, parameter, where)) for one in setting.filters)
    if setting.gradient and isinstance(parameter.default, str | bool):
        wanted = "true or false" if isinstance(parameter.default, bool) else f"one text, such as {parameter.default!r}"
        raise UserError(f"{where}: found the list {list(setting.gradient)}; expected {wanted}")
    gradient = tuple(float(parameter.checked(anchor, where)) for anchor in setting.gradient)
    value = setting.value
    if isinstance(parameter.default, bool) and value in (0, 1):
        value = bool(value)  # as older versions of mergekit wrote them down
    value = None if value is None else parameter.checked(value, where)
    return Setting(value, gradient, filters)


def resolved(names: Mapping[str, Value], books: Sequence[ParameterBook], place: Place) -> dict[str, Value]:
    """The value of every parameter for one tensor: the first book that says one, else the default."""
    values: dict[str, Value] = {}
    for name, default in names.items():
        said = next((value for book in books if (value := book.at(name, place)) is not None), None)
        values[name] = default if said is None else said
    return values
