"""Memory that is kept from tensor to tensor."""

from __future__ import annotations

from e2lm_merge.numbers.blocks import Workspace


def test_a_buffer_has_the_length_asked_for_and_is_the_same_memory_until_more_is_needed() -> None:
    workspace = Workspace()
    sizes = [100, 40, 100, 5000, 64]
    buffers = [workspace.buffer("held", 0, size) for size in sizes]
    assert [len(one) for one in buffers] == sizes
    first, shorter, again, longer, last = (one.ctypes.data for one in buffers)
    assert first == shorter == again != longer == last
    assert workspace.buffer("held", 1, 100).ctypes.data != longer
