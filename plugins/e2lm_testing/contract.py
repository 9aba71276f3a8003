"""What the contracts of all kinds of plugins share."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from e2lm.errors import E2LMError, UserError
from e2lm.plugin_manager import plugin_manager

T = TypeVar("T")


def resolved(given: object, hook: str, kind: type[T], what: str) -> T:
    """``given`` itself if it is of the ``kind``, else the installed object of that name.

    A name is the better choice: it also shows that the package is installed and its hook found.
    """
    if isinstance(given, kind):
        return given
    if not isinstance(given, str):
        raise E2LMError(f"the contract is about {given!r}; set its attribute to a {what}, or to the name of one")
    found: T = plugin_manager().find(hook, kind, given, what)
    return found


def outcome(action: Callable[[], T]) -> T | UserError:
    """What ``action`` returns, or the :class:`UserError` it raised, which must be one line that says something.

    Every other exception is a broken contract: a user would see a traceback.
    """
    try:
        return action()
    except UserError as error:
        check_refusal(error)
        return error


def check_refusal(error: UserError) -> None:
    """The text of a :class:`UserError` is printed as one line, so it must be one."""
    text = str(error)
    assert text.strip(), "a UserError must say what was found, where, and what to do"
    assert "\n" not in text, f"a UserError is printed as one line, found {text!r}"


@contextmanager
def own_randomness_only() -> Iterator[None]:
    """Fails where the block drew from, or seeded, a generator that belongs to everybody."""
    before = _shared_states()
    yield
    after = _shared_states()
    for name, state in before.items():
        assert after[name] == state, f"it draws from or seeds {name}; draw from the generator that is handed over"


def _shared_states() -> dict[str, Any]:
    states: dict[str, Any] = {"random": random.getstate()}
    numpy_state = np.random.get_state(legacy=False)
    states["numpy.random"] = repr(numpy_state["state"]["pos"]) + numpy_state["state"]["key"].tobytes().hex()
    if "torch" in sys.modules:
        states["torch's global generator"] = sys.modules["torch"].get_rng_state().numpy().tobytes()
    return states


def check_described(name: str, description: str) -> None:
    """Whoever lists plugins sees one sentence."""
    assert description.strip(), f"{name!r} has no description"
    assert "\n" not in description, f"the description of {name!r} is shown as one line, found {description!r}"
