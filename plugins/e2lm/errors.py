"""The errors a user may see: what was found, where, what is allowed, what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class E2LMError(Exception):
    """Root of every error that e2lm raises on purpose."""


class UserError(E2LMError):
    """A mistake in what the user gave us: printed as one line, exit code 2, no traceback."""


class NotFiniteError(UserError):
    """Numbers of a model are NaN or infinite: nothing can be said of it, and others are none the worse for it."""


def nearest_names(name: str, allowed: Iterable[str], count: int = 3) -> str:
    """A sentence that offers the allowed names closest to ``name``.

    >>> nearest_names("sginal", ["signal", "train"])
    "Did you mean 'signal'?"
    >>> nearest_names("xyz", ["signal", "train"])
    'Known: signal, train.'
    >>> nearest_names("xyz", [])
    'None is known.'
    """
    known = sorted(set(allowed))
    if not known:
        return "None is known."
    close = get_close_matches(name, known, n=count, cutoff=0.6)
    if close:
        return "Did you mean " + " or ".join(repr(candidate) for candidate in close) + "?"
    shown = ", ".join(known[:12])
    rest = len(known) - 12
    return f"Known: {shown}{f' and {rest} more' if rest > 0 else ''}."


def one_line(text: object) -> str:
    """``text`` with every run of white space turned into one space.

    >>> one_line("a   b")
    'a b'
    """
    return " ".join(str(text).split())
