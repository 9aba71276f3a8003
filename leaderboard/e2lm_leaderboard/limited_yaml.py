"""YAML within limits: no aliases, no tags but an inert ``!function``, bounded depth and size, no key twice.

``!function module.name`` is read as the text of a reference and never imported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import yaml

from e2lm.errors import one_line

MAX_DEPTH = 20
MAX_NODES = 5000

FUNCTION_TAG = "!function"
#: libyaml's parser where PyYAML was built with it, as its wheels are: ten times as fast.
LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader

#: What a reference becomes: a mapping with this key alone.
FUNCTION_KEY = "!function"

PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null")}


class YamlError(Exception):
    """Why a text is refused; ``line`` counts from 1."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


@dataclass(slots=True)
class _Depth:
    now: int = 0
    nodes: int = 0


def parsed_yaml(text: str) -> Any:
    """The value of ``text``; a :class:`YamlError` for what is not plain YAML.

    >>> parsed_yaml("a: !function utils.f")
    {'a': {'!function': 'utils.f'}}
    """
    _check_events(text)
    loader = LOADER(text)
    try:
        node = loader.get_single_node()
        return None if node is None else _value(loader, node)
    except yaml.YAMLError as error:
        raise _told(error) from error
    except (ValueError, OverflowError) as error:
        raise YamlError(one_line(error)[:200]) from error
    finally:
        loader.dispose()


def _check_events(text: str) -> None:
    """Refuse what would cost memory or depth before anything is built."""
    depth = _Depth()
    try:
        for event in yaml.parse(text, Loader=LOADER):
            line = None if event.start_mark is None else event.start_mark.line + 1
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise YamlError("an anchor or alias; write the value out", line)
            if isinstance(event, yaml.NodeEvent):
                depth.nodes += 1
            if isinstance(event, yaml.CollectionStartEvent):
                depth.now += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth.now -= 1
            if depth.now > MAX_DEPTH or depth.nodes > MAX_NODES:
                raise YamlError(f"more than {MAX_DEPTH} levels or {MAX_NODES} values", line)
    except yaml.YAMLError as error:
        raise _told(error) from error
    except RecursionError as error:
        raise YamlError(f"more than {MAX_DEPTH} levels") from error


def _told(error: yaml.YAMLError) -> YamlError:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or one_line(error)
    return YamlError(f"no valid YAML ({problem})"[:200], None if mark is None else mark.line + 1)


def _value(loader: Any, node: yaml.Node) -> Any:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != "tag:yaml.org,2002:str":
                raise YamlError("a key that is no text", line)
            if key_node.value in result or key_node.value == FUNCTION_KEY:
                raise YamlError(f"the key {key_node.value[:60]!r} twice, or reserved", key_node.start_mark.line + 1)
            result[key_node.value] = _value(loader, value_node)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, child) for child in node.value]
    if node.tag == FUNCTION_TAG:
        return {FUNCTION_KEY: str(node.value)}
    if node.tag not in PLAIN_TAGS:
        raise YamlError(f"the tag {node.tag[:60]!r}; allowed is {FUNCTION_TAG}", line)
    value = loader.construct_object(node)
    if isinstance(value, float) and not math.isfinite(value):
        raise YamlError(f"the number {node.value!r}; numbers must be finite", line)
    return value
