"""Every file that is read says what is wrong with it, in one line, naming file and field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from e2lm import Checkpoint, UserError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)


def test_a_noun_never_changes() -> None:
    checkpoint = Checkpoint(step=1)
    with pytest.raises(ValidationError):
        checkpoint.step = 2


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"stap": 3, "step": 3}, "unknown field 'stap'. Did you mean 'step'?"),
        ({}, "field 'step': missing"),
        ({"step": "3"}, "field 'step': found '3'; Input should be a valid integer"),
        ({"step": -1}, "field 'step': found -1; Input should be greater than or equal to 0"),
        ({"step": 1.5}, "field 'step': found 1.5"),
        ({"step": True}, "field 'step': found True"),
        ({"step": 1, "path": 5, "repo": 6}, "field 'path': found 5; Input should be a valid string (and 1 more)"),
        ([], "field '(whole)': found []"),
    ],
)
def test_a_mistake_names_the_source_the_field_and_what_was_found(data: Any, said: str) -> None:
    with pytest.raises(UserError) as caught:
        Checkpoint.from_data(data, "run/series.json")
    assert str(caught.value).startswith(f"run/series.json: {said}")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"step": NaN}', "field 'step'"),
        (b'{"step": 1e999}', "field 'step'"),
    ],
)
def test_a_damaged_file_is_a_mistake_that_names_it(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "noun.json"
    file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        Checkpoint.from_json_file(file)
    assert str(caught.value).startswith(f"{file}: {said}")


def test_a_missing_file_and_a_folder_in_its_place_are_mistakes_that_name_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.json: no such file"):
        Checkpoint.from_json_file(tmp_path / "nowhere.json")
    with pytest.raises(UserError, match="cannot be read"):
        Checkpoint.from_json_file(tmp_path)


@given(JSON)
def test_any_json_is_a_checkpoint_or_a_mistake_of_the_user(data: Any) -> None:
    said = None
    try:
        checkpoint = Checkpoint.from_data(data, "source")
    except UserError as error:
        said = str(error)
    if said is None:
        assert json.loads(checkpoint.model_dump_json()).items() >= data.items()
    else:
        assert said.startswith("source: ")
