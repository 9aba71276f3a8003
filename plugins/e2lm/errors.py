"""The errors a user may see: what was found, where, what is allowed, what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from difflib import get_close_matches
from os import PathLike
from pathlib import Path


class E2LMError(Exception):
    """Root of every error that e2lm raises on purpose."""


class UserError(E2LMError):
    """A mistake in what the user gave us: printed as one line, exit code 2, no traceback."""


class MachineError(UserError):
    """What the machine does not give (disk, rights, network): printed as one line, exit code 3, no traceback."""


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


def no_such(path: str | PathLike[str], kind: str) -> str:
    """What is wrong with ``path`` where a ``kind`` (``file`` or ``folder``) is wanted: nothing there, or the other.

    >>> no_such("nowhere", "folder"), no_such(".", "file")
    ('no such folder', 'a folder, not a file')
    """
    place = Path(path)
    if place.is_dir() or place.is_file():
        return f"a {'folder' if place.is_dir() else 'file'}, not a {kind}"
    return "a link to nothing" if place.is_symlink() else f"no such {kind}"


def one_line(text: object) -> str:
    """``text`` with every run of white space turned into one space.

    >>> one_line("a   b")
    'a b'
    """
    return " ".join(str(text).split())


#: What another path mends; all other errors of the system are the machine's.
_WRONG_PATHS = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.ELOOP}
)
_REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EROFS: "name a place that can be written",
    errno.EACCES: "name another place, or get the right to this one",
    errno.EPERM: "name another place, or get the right to this one",
    errno.ENAMETOOLONG: "name a shorter one",
}


def system_error(error: OSError) -> UserError:
    """What to raise in place of an error of the operating system: one line that names the place and the remedy.

    A plain :class:`UserError` where another path would do, else a :class:`MachineError`.

    >>> str(system_error(OSError(errno.ENOSPC, "No space left on device", "out/scores.csv")))
    'out/scores.csv: No space left on device; make room'
    >>> str(system_error(OSError("connection lost")))
    'OSError: connection lost'
    """
    if error.errno is None:
        return MachineError(f"{type(error).__name__}: {one_line(error)}")
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    what = _in_the_way(names[-1]) if names and error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR) else None
    if what is None:
        remedy = _REMEDIES.get(error.errno)
        reason = one_line(error.strerror or os.strerror(error.errno)) + ("" if remedy is None else f"; {remedy}")
        what = f"{' -> '.join(names)}: {reason}" if names else reason
    return UserError(what) if error.errno in _WRONG_PATHS else MachineError(what)


def _in_the_way(name: str) -> str | None:
    """The part of the path ``name`` that is of the wrong kind, and what to do; None where nothing is."""
    path = Path(name)
    try:
        if path.is_dir():
            return f"{path}: is a folder; name a file, or another folder"
        file = next((place for place in (path, *path.parents) if os.path.lexists(place) and not place.is_dir()), None)
    except OSError:
        return None
    return None if file is None else f"{file}: is a file; name a folder"
