"""The rule for names that plugins register: lower case, digits, ``-`` and ``_``, starting with a letter or digit."""

from __future__ import annotations

import re

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
