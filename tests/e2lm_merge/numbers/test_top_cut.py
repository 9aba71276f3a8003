"""Of equal magnitudes the first are kept, block after block."""

from __future__ import annotations

import pytest

from e2lm_merge.numbers.top_cut import TopCut


@pytest.mark.parametrize(
    ("kept_equal", "here"),
    [(1, [(1, 3), (0, 2), (0, 4)]), (4, [(3, 3), (1, 2), (0, 4)]), (7, [(3, 3), (2, 2), (2, 4)])],
)
def test_a_block_keeps_what_the_blocks_before_it_have_left(kept_equal: int, here: list[tuple[int, int]]) -> None:
    cut = TopCut(0.5, kept_equal, False, equal_starts=(0, 100, 300), equal_counts=(3, 2, 4))
    assert [cut.equal_here(start) for start in (0, 100, 300)] == here
    assert cut.equal_here(200) == (0, 0)
