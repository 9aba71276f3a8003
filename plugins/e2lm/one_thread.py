"""Torch held to one thread.

Sums split over threads would depend on how many there are, and threads that share a small tensor wait for each other
longer than they work, on a busy machine many times longer.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Inside, torch's operations called from this thread run on this thread alone; without torch there is none."""
    if "torch" not in sys.modules:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
