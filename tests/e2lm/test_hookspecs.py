"""Every hook says what it is, since when, and shows an implementation that works."""

from __future__ import annotations

import doctest
import inspect
import re
from collections.abc import Callable

import pytest

from e2lm import hookspecs
from e2lm._core.plugins_command import registered_kinds

HOOKS = {name: value for name, value in vars(hookspecs).items() if name.startswith("e2lm_")}


def test_there_are_register_and_notify_hooks() -> None:
    assert len(HOOKS) == 16
    assert {name for name in HOOKS if name.startswith("e2lm_register_")} == set(registered_kinds())


@pytest.mark.parametrize("name", HOOKS)
def test_the_first_word_of_the_docstring_tells_the_kind_of_hook(name: str) -> None:
    expected = "Register" if name.startswith("e2lm_register_") else "Notify"
    documentation = inspect.getdoc(HOOKS[name]) or ""
    assert documentation.split()[0] == expected
    assert "Called " in documentation
    assert re.search(r"^\.\. versionadded:: \d+\.\d+$", documentation, re.MULTILINE)


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_marked_and_typed(name: str) -> None:
    assert getattr(HOOKS[name], f"{hookspecs.PROJECT}_spec")
    signature = inspect.signature(HOOKS[name])
    assert signature.return_annotation != inspect.Signature.empty
    assert all(parameter.annotation != inspect.Parameter.empty for parameter in signature.parameters.values())
    if name in registered_kinds():
        assert not signature.parameters
        assert signature.return_annotation == f"Iterable[{registered_kinds()[name].__name__}]"


@pytest.mark.parametrize("name", registered_kinds())
def test_the_example_of_a_register_hook_gives_what_the_hook_expects(name: str) -> None:
    (example,) = doctest.DocTestFinder(recurse=False).find(HOOKS[name], name, globs={})
    assert example.examples
    assert doctest.DocTestRunner().run(example, clear_globs=False).failed == 0
    implementation: Callable[[], object] = example.globs[name]
    items = list(implementation())  # type: ignore[call-overload]
    assert items
    assert all(isinstance(item, registered_kinds()[name]) for item in items)
