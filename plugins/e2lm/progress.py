"""Progress with time left, on standard error, only where somebody watches."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(total: int, unit: str, description: str, quiet: bool = False, initial: int = 0) -> tqdm[Any]:
    """A bar of ``total`` units; silent when ``quiet`` or when standard error is no terminal."""
    return tqdm(
        total=total,
        initial=initial,
        unit=f" {unit}",
        desc=description,
        file=sys.stderr,
        disable=True if quiet else None,
        dynamic_ncols=True,
        smoothing=0.1,
    )
