"""Calls of what a plugin brought while others are asked too: whatever it raises, or prints, costs itself alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from functools import cache
from importlib.metadata import distribution
from typing import Any, TypeVar

from e2lm.errors import E2LMError, UserError, one_line

T = TypeVar("T")


class PluginFaultError(E2LMError):
    """What a function of a plugin raised, in a line; the error itself is ``__cause__``."""


def asked(function: Callable[..., T], *given: Any) -> T:
    """What ``function`` gives for ``given``; what it prints meanwhile goes to standard error.

    Raises :class:`PluginFaultError` for whatever it raises, ``sys.exit()`` too; Ctrl-C is the user's and goes on.

    >>> asked(lambda: 1 / 0)
    Traceback (most recent call last):
    ...
    e2lm.plugin_call.PluginFaultError: it raised ZeroDivisionError: division by zero
    """
    try:
        with redirect_stdout(sys.stderr):
            return function(*given)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except UserError as error:
        raise PluginFaultError(str(error)) from error
    except BaseException as error:
        raise PluginFaultError(f"it raised {type(error).__name__}: {one_line(error)}") from error


@contextmanager
def printing_aside(as_json: bool) -> Iterator[None]:
    """What a plugin prints meanwhile goes to standard error where standard output is to hold JSON.

    >>> with printing_aside(True):
    ...     print("this spoils no JSON")
    """
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        yield


def is_ours(function: Callable[..., Any]) -> bool:
    """Whether a package of ours brought ``function``, so that what it says of the user's input is the user's.

    >>> is_ours(one_line), is_ours(redirect_stdout)
    (True, False)
    """
    return str(getattr(function, "__module__", "")).partition(".")[0] in _own_packages()


@cache
def _own_packages() -> frozenset[str]:
    """Packages of this distribution; those of others may be called ``e2lm_...`` too."""
    return frozenset({"e2lm", *(one.module.partition(".")[0] for one in distribution("e2lm").entry_points)})
