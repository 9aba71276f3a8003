"""Jinja templates that can neither reach Python nor run away.

Two fences. An allow-list over the syntax tree: expressions over the fields of an item, ``if``, one level of ``for``, a
few filters and text methods; no assignment, macro, import, ``range`` or arithmetic on text. And Jinja's immutable
sandbox under it, which refuses every attribute that leads to Python. What the list leaves cannot grow: there is no
assignment and no loop within a loop, and texts that filters build are bounded here.

Work is counted in characters, before it is done: a loop costs its rounds times the parts inside it times the text of
the item, a filter or method what it reads. An item has :data:`ITEM_STEPS`, a task :data:`TASK_STEPS` for all of its.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
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
#: About 0.05 s and 2 s. The longest of lm-eval's own templates over ten choices costs 100,000 an item.
ITEM_STEPS, TASK_STEPS = 20_000_000, 1_000_000_000

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


@dataclass(slots=True)
class TemplateSteps:
    """Work that may still be done: for one item, and for all items of a task."""

    all_items: int = TASK_STEPS
    item: int = ITEM_STEPS
    item_chars: int = 0

    def begin(self, fields: Mapping[str, Any]) -> None:
        """The next item."""
        self.item, self.item_chars = ITEM_STEPS, 1 + _chars(fields)

    def spend(self, chars: int) -> None:
        """Raise :class:`TemplateError` where too much would be done."""
        self.item -= chars
        self.all_items -= chars
        if self.item < 0 or self.all_items < 0:
            whose = "this item" if self.item < 0 else "the items of this task"
            raise TemplateError(
                f"rendering {whose} takes too many steps: a loop over a long text, or many filters in one"
            )


#: The steps of the item that is being rendered.
_STEPS: ContextVar[TemplateSteps] = ContextVar("steps")


def _chars(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_chars, value)) + sum(map(_chars, value.values()))
    return sum(map(_chars, value)) + len(value) if isinstance(value, list | tuple) else 1


def _spend(value: Any) -> None:
    _STEPS.get().spend(1 + (len(value) if isinstance(value, str | list | tuple | dict) else 0))


def _rounds(values: Any, parts: int) -> Any:
    """``values`` of a loop with so many parts inside, paid for before it begins."""
    if isinstance(values, str | list | tuple | dict):
        steps = _STEPS.get()
        steps.spend(len(values) * parts * steps.item_chars)
        return values
    if isinstance(values, jinja2.Undefined):
        return values
    return _rounds(list(values), parts)  # what items() and keys() give


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


def _paid(function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, what it reads paid for."""

    def filtered(value: Any, *arguments: Any) -> Any:
        _spend(value)
        return function(value, *arguments)

    return filtered


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
        for inner in ("_loop_vars", "_block_vars"):  # Jinja's own, given wherever a loop or block is
            kwargs.pop(inner, None)
        if not isinstance(owner, str | list | dict) or name not in METHODS or kwargs:
            raise SecurityError(f"{name!r} may not be called")
        _spend(owner)
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
    environment.filters = {name: _paid(function) for name, function in FILTERS.items()} | {ROUNDS: _rounds}
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
            _count_rounds(tree)
            self._template = environment.from_string(tree)
        except jinja2.TemplateError as error:
            raise TemplateError(f"no valid template ({error})"[:200]) from error
        except (RecursionError, MemoryError, SyntaxError, ValueError, OverflowError) as error:
            raise TemplateError("too deeply nested, or a number out of range") from error

    def render(self, fields: dict[str, Any], steps: TemplateSteps | None = None) -> str:
        """The text; a :class:`TemplateError` for a missing field, a forbidden call, or a text or work out of bounds."""
        parts, chars = [], 0
        steps = TemplateSteps() if steps is None else steps
        steps.begin(fields)
        token = _STEPS.set(steps)
        try:
            for part in self._template.generate(fields):
                chars += len(part)
                _check_size(chars)
                parts.append(part)
        except TemplateError:
            raise
        except Exception as error:  # whatever the item's values make of an expression
            raise TemplateError(f"{type(error).__name__}: {error}"[:200]) from error
        finally:
            _STEPS.reset(token)
        return "".join(parts)


#: No name that a template could write.
ROUNDS = "rounds of a loop"


def _count_rounds(tree: nodes.Template) -> None:
    """Let every loop pay for its rounds."""
    for loop in tree.find_all(nodes.For):
        parts = 1 + sum(1 for part in (*loop.body, *loop.else_) for _ in _walk(part, 0, 0))
        loop.iter = nodes.Filter(loop.iter, ROUNDS, [nodes.Const(parts)], [], None, None)


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
