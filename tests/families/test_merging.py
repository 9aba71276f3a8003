"""Merges of families whose stored names are not those in memory, and of one that is not attention: scored alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.families import merging


@pytest.mark.parametrize("name", ["gpt_neox", "olmoe", "mamba2"])
def test_a_merge_is_scored_alike_from_disk_in_memory_along_a_run_and_in_a_sweep(name: str, tmp_path: Path) -> None:
    assert merging.merged(name, tmp_path).fault == ""


def test_a_way_that_scores_otherwise_or_not_at_all_is_told() -> None:
    assert merging._far(np.array([1.0, 2.0]), np.array([1.0, 2.0002])) == "0.0002 nats off"
    assert merging._far(np.array([1.0]), np.array([1.0, 2.0])) == "(1,) numbers instead of (2,)"
    assert merging._far(np.array([1.0]), np.array([1.00005])) == ""
