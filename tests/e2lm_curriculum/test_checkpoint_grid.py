from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from e2lm_curriculum.checkpoint_grid import checkpoint_steps


@given(st.integers(1, 1_000_000), st.integers(1, 60))
def test_the_grid_rises_from_0_to_the_last_step_and_has_the_count_asked_for(steps: int, count: int) -> None:
    grid = checkpoint_steps(steps, count)
    assert grid[0] == 0
    assert grid[-1] == steps
    assert len(grid) == min(count, steps) + 1
    assert all(low < high for low, high in pairwise(grid))


def test_steps_grow_by_a_constant_factor() -> None:
    grid = checkpoint_steps(100_000, 9)[1:]
    ratios = [high / low for low, high in pairwise(grid)]
    assert max(ratios) / min(ratios) < 1.01
