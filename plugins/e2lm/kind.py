"""What everything that plugins register or are handed keeps to: the rule for names, targets, arrays nobody can change.

Names: lower case, digits, ``-`` and ``_``, starting with a letter or digit. Targets: a function named instead of
imported, ``module:function``. Arrays: one plugin that writes into its input must not change what the next one sees.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

import numpy as np

from e2lm.errors import E2LMError

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9_.-]*")


def checked_name(name: str, kind: str) -> str:
    """``name`` itself if it follows the rule, else an :class:`E2LMError`.

    >>> checked_name("e2lmc_sq", "signal score")
    'e2lmc_sq'
    """
    if not isinstance(name, str) or not NAME_PATTERN.fullmatch(name):
        raise E2LMError(
            f"{kind} name {name!r} is not allowed: use lower-case letters, digits, '-', '_' and '.', "
            "starting with a letter or digit"
        )
    return name


def checked_target(target: str, owner: str, kind: str = "function") -> str:
    """``target`` itself if it is of the form ``module:function``, else an :class:`E2LMError` that names ``owner``."""
    module, colon, attribute = target.partition(":")
    if not (module and colon and attribute):
        raise E2LMError(f"{owner}: target {target!r} is not of the form 'module:{kind}'")
    return target


def imported(target: str, owner: str) -> Any:
    """The function that ``module:function`` names, its module imported now; an :class:`E2LMError` if it is not there.

    >>> imported("math:hypot", "verb")(3.0, 4.0)
    5.0
    """
    module, _, attribute = checked_target(target, owner).partition(":")
    loaded = import_module(module)
    if not hasattr(loaded, attribute):
        raise E2LMError(f"{owner}: the module {module} has no {attribute!r}")
    return getattr(loaded, attribute)


def lock_arrays(frozen: Any, *names: str) -> None:
    """Replace the arrays ``names`` of a frozen dataclass by read-only views: nothing is copied.

    The owner of an array may still write into it; who got the dataclass may not.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Pair:
    ...     values: np.ndarray
    >>> pair = Pair(np.zeros(2))
    >>> lock_arrays(pair, "values")
    >>> pair.values[0] = 1.0
    Traceback (most recent call last):
    ...
    ValueError: assignment destination is read-only
    """
    for name in names:
        array = getattr(frozen, name)
        if isinstance(array, np.ndarray) and array.flags.writeable:
            view = array.view()
            view.flags.writeable = False
            object.__setattr__(frozen, name, view)
