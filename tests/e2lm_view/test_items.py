"""What becomes of items over the checkpoints."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from e2lm.errors import UserError
from e2lm_view.items import items_of
from tests.e2lm_view.evaluations import MARKS, RUNS, STEPS, samples, write_evaluation


@pytest.fixture
def out(tmp_path: Path) -> Path:
    write_evaluation(tmp_path / "out")
    return tmp_path / "out"


def test_items_that_turn_right_turn_wrong_and_never_move_are_told_apart(out: Path) -> None:
    listed = items_of(out, "told", RUNS, ()).listed()
    own = listed["runs"]["run-a"]
    assert own["steps"] == list(STEPS)
    assert own["marks"] == list(MARKS.values())
    assert own["moves"] == ["turned_right", "turned_wrong", "never_moves", "never_moves"]
    assert listed["texts"][2] == "Question 2 <b>?"


def test_one_item_has_every_log_likelihood_its_choices_and_which_is_right(out: Path) -> None:
    one = items_of(out, "told", RUNS, ()).one(0)
    assert one is not None
    assert one["choices"] == [" answer 0", " answer 1", " answer 2"]
    assert one["gold"] == [True, False, False]
    assert one["runs"]["run-b"][0] == [-5.0, -3.0, -3.0]
    assert one["runs"]["run-b"][-1] == [-1.0, -3.0, -3.0]
    assert items_of(out, "told", RUNS, ()).one(4) is None


def test_a_checkpoint_without_some_items_leaves_gaps(out: Path) -> None:
    file = out / "samples" / "run-a" / "told" / f"checkpoint-{STEPS[0]}.parquet"
    pq.write_table(samples("run-a", STEPS[0]).table().slice(3), file)
    own = items_of(out, "told", RUNS, ()).listed()["runs"]["run-a"]
    assert own["marks"][0] == "-" + MARKS[0][1:]


def test_samples_that_lm_eval_logged_are_items_too(tmp_path: Path) -> None:
    logged = [samples("run-a", step) for step in STEPS]
    listed = items_of(tmp_path, "told", ("run-a",), logged).listed()
    assert listed["runs"]["run-a"]["marks"] == list(MARKS.values())
    assert listed["texts"] == [""] * 4


def test_a_task_without_items_is_told(out: Path) -> None:
    with pytest.raises(UserError, match="no items of task 'close'"):
        items_of(out, "close", RUNS, ())
