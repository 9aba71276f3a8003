"""A checkpoint knows its step and where it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2lm import Checkpoint


@pytest.mark.parametrize(
    ("checkpoint", "location"),
    [
        (Checkpoint(step=1, path="run/checkpoint-1"), "run/checkpoint-1"),
        (Checkpoint(step=1, repo="org/name"), "org/name"),
        (Checkpoint(step=1, repo="org/name", revision="step1"), "org/name@step1"),
        (Checkpoint(step=1, repo="org/name", subfolder="deep"), "org/name/deep"),
        (Checkpoint(step=1, repo="org/name", revision="main", subfolder="deep"), "org/name@main/deep"),
    ],
)
def test_the_location_is_written_as_people_write_it(checkpoint: Checkpoint, location: str) -> None:
    assert checkpoint.location == location


def test_only_a_local_checkpoint_has_a_folder() -> None:
    assert Checkpoint(step=1, path="here").folder == Path("here")
    assert Checkpoint(step=1, repo="org/name").folder is None


def test_the_label_is_unique_by_step_and_sorts_as_a_folder_name() -> None:
    assert Checkpoint(step=0).label == "checkpoint-0"
    assert len({Checkpoint(step=step).label for step in range(50)}) == 50
