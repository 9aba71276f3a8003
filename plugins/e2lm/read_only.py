"""Arrays handed to plugins: one plugin that writes into its input must not change what the next one sees."""

from __future__ import annotations

from typing import Any

import numpy as np


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
