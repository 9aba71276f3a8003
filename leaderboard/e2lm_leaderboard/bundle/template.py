"""Jinja templates that can neither reach Python nor run away.

Two fences. An allow-list over the syntax tree: expressions over the fields of an item, ``if``, one level of ``for``, a
few filters and text methods; no assignment, macro, import, ``range`` or arithmetic on text. And Jinja's immutable
sandbox under it, which refuses every attribute that leads to Python. What the list leaves cannot grow: without
assignment and nested loops the work is bounded by template times item, and texts that filters build are bounded here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_TEMPLATE_CHARS = 4096
MAX_TEMPLATE_NODES = 400
MAX_TEMPLATE_DEPTH = 30
MAX_OUTPUT_CHARS = 128 * 1024

NODES = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Slice,
    nodes.If,
    nodes.CondExpr,
    nodes.For,
    nodes.Filter,
    nodes.Call,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Add,
    nodes.Sub,
    nodes.Concat,
    nodes.Neg,
    nodes.List,
    nodes.Tuple,
    nodes.Test,
)
TESTS = frozenset({"defined", "undefined", "none", "string", "number", "odd", "even", "in", "first", "last"})
METHODS = frozenset(
    {"strip", "lstrip", "rstrip", "lower", "upper", "title", "capitalize", "split", "join", "replace"}
    | {"startswith", "endswith", "index", "find", "count", "removeprefix", "removesuffix", "get", "keys", "items"}
)


class TemplateError(Exception):
    """Why a template is refused or could not be rendered."""


def _bounded(text: Any) -> Any:
    if isinstance(text, str) and len(text) > MAX_OUTPUT_CHARS:
        raise TemplateError(f"a text of more than {MAX_OUTPUT_CHARS} characters")
    return text


def _replace(text: Any, old: Any, new: Any, count: int | None = None) -> str:
    places = len(str(text)) + 1 if not str(old) else str(text).count(str(old))
    _check_size(len(str(text)) + places * len(str(new)))
    return str(text).replace(str(old), str(new), -1 if count is None else count)


def _join(values: Any, separator: Any = "") -> str:
    parts = [str(value) for value in values]
    _check_size(sum(map(len, parts)) + len(parts) * len(str(separator)))
    return str(separator).join(parts)


def _check_size(chars: int) -> None:
    if chars > MAX_OUTPUT_CHARS:
        raise TemplateError(f"a text of more than {MAX_OUTPUT_CHARS} characters")


#: Not lm-eval's ``regex_replace``: a regular expression can run away.
FILTERS: dict[str, Callable[..., Any]] = {
    "trim": lambda text: str(text).strip(),
    "lower": lambda text: str(text).lower(),
    "upper": lambda text: str(text).upper(),
    "title": lambda text: str(text).title(),
    "capitalize": lambda text: str(text).capitalize(),
    "replace": _replace,
    "join": _join,
    "length": len,
    "first": lambda values: next(iter(values), ""),
    "last": lambda values: values[-1] if len(values) else "",
    "list": list,
    "int": lambda value: int(str(value)[:20]),
    "string": str,
    "default": lambda value, other="": other if isinstance(value, jinja2.Undefined) else value,
}


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox with bounded methods and nothing global."""

    intercepted_binops = frozenset({"+", "-"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """``+`` and ``-``, the only operators left."""
        return _bounded(super().call_binop(context, operator, left, right))

    def call(self, context: Any, method: Any, *args: Any, **kwargs: Any) -> Any:
        """A method of a text, list or mapping of the item; the ones that build long texts are our own."""
        name, owner = getattr(method, "__name__", ""), getattr(method, "__self__", None)
        if not isinstance(owner, str | list | dict) or name not in METHODS or kwargs:
            raise SecurityError(f"{name!r} may not be called")
        if name == "replace":
            return _replace(owner, *args)
        if name == "join":
            return _join(args[0], owner)
        return _bounded(method(*args))


@cache
def _environment() -> _Environment:
    environment = _Environment(
        undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=True, cache_size=0
    )
    environment.globals.clear()
    environment.filters = dict(FILTERS)
    environment.tests = {name: environment.tests[name] for name in TESTS if name in environment.tests}
    return environment


class SafeTemplate:
    """A template that passed the fences; ``render`` gives its text for the fields of one item.

    >>> SafeTemplate("Q: {{question}}").render({"question": "Why?"})
    'Q: Why?'
    >>> SafeTemplate("{{ cycler.__init__ }}")
    Traceback (most recent call last):
    ...
    e2lm_leaderboard.bundle.template.TemplateError: the attribute '__init__' is not allowed
    """

    def __init__(self, source: str) -> None:
        if len(source) > MAX_TEMPLATE_CHARS:
            raise TemplateError(f"{len(source)} characters, allowed are {MAX_TEMPLATE_CHARS}")
        environment = _environment()
        try:
            tree = environment.parse(source)
            _check_tree(tree)
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise TemplateError(f"no valid template ({error})"[:200]) from error
        except (RecursionError, MemoryError, SyntaxError, ValueError, OverflowError) as error:
            raise TemplateError("too deeply nested, or a number out of range") from error

    def render(self, fields: dict[str, Any]) -> str:
        """The text; a :class:`TemplateError` for a missing field, a forbidden call, or a text out of bounds."""
        parts, chars = [], 0
        try:
            for part in self._template.generate(fields):
                chars += len(part)
                _check_size(chars)
                parts.append(part)
        except TemplateError:
            raise
        except Exception as error:  # whatever the item's values make of an expression
            raise TemplateError(f"{type(error).__name__}: {error}"[:200]) from error
        return "".join(parts)


def _check_tree(tree: nodes.Template) -> None:
    for count, (node, depth, loops) in enumerate(_walk(tree, 0, 0), start=1):
        if count > MAX_TEMPLATE_NODES or depth > MAX_TEMPLATE_DEPTH:
            raise TemplateError(f"more than {MAX_TEMPLATE_NODES} parts or {MAX_TEMPLATE_DEPTH} levels")
        if not isinstance(node, NODES):
            raise TemplateError(f"{type(node).__name__.lower()} is not allowed")
        if isinstance(node, nodes.For) and (loops > 0 or node.recursive):
            raise TemplateError("a loop within a loop is not allowed")
        _check_node(node)


def _check_node(node: nodes.Node) -> None:
    if isinstance(node, nodes.Getattr) and node.attr.startswith("_"):
        raise TemplateError(f"the attribute {node.attr!r} is not allowed")
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and str(node.arg.value).startswith("__"):
        raise TemplateError(f"the key {node.arg.value!r} is not allowed")
    if isinstance(node, nodes.Filter) and node.name not in FILTERS:
        raise TemplateError(f"the filter {node.name!r} is not allowed; allowed are {', '.join(sorted(FILTERS))}")
    if isinstance(node, nodes.Test) and node.name not in TESTS:
        raise TemplateError(f"the test {node.name!r} is not allowed")
    if isinstance(node, nodes.Call) and not (isinstance(node.node, nodes.Getattr) and node.node.attr in METHODS):
        raise TemplateError(f"a call that is not allowed; allowed are {', '.join(sorted(METHODS))}")
    if isinstance(node, nodes.Const) and isinstance(node.value, str):
        _bounded(node.value)


def _walk(node: nodes.Node, depth: int, loops: int) -> Iterator[tuple[nodes.Node, int, int]]:
    yield node, depth, loops
    if depth > MAX_TEMPLATE_DEPTH:
        return
    inside = loops + isinstance(node, nodes.For)
    for child in node.iter_child_nodes():
        yield from _walk(child, depth + 1, inside)
