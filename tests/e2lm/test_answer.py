"""An answer is one thing in four forms: words, JSON, a table, a picture."""

from __future__ import annotations

import json
from argparse import Namespace

import pandas as pd
import pytest

from e2lm import Command, UserError
from e2lm.answer import Answer, Picture, finite, printed_by
from e2lm.command import CommandParser

ROWS = {"rows": [{"name": "a", "score": {"value": 0.5, "p": None}}, {"name": "b", "score": {"value": 1.5, "p": 0.1}}]}


def answer() -> Answer:
    return Answer(ROWS, lambda: "two rows", ("n.b.", "n.b.", "another"), rows="rows", pictures=lambda: ["<svg/>"])


def test_words_go_to_standard_output_with_a_line_for_each_note_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert answer().show(Namespace(json=False)) == 0
    assert capsys.readouterr().out == "two rows\nnote: n.b.\nnote: another\n"
    assert str(answer()) == "two rows\nnote: n.b.\nnote: another"


def test_json_is_alone_on_standard_output_and_is_what_the_verb_gives(capsys: pytest.CaptureFixture[str]) -> None:
    assert answer().show(Namespace(json=True)) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == answer().json() == ROWS
    assert printed.err == "note: n.b.\nnote: another\n"


def test_no_words_are_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert Answer({}, str, code=1).show(Namespace(json=False)) == 1
    assert capsys.readouterr().out == ""


def test_the_table_has_a_column_for_what_is_nested() -> None:
    frame = answer().to_frame()
    assert list(frame.columns) == ["name", "score.value", "score.p"]
    assert frame["score.value"].tolist() == [0.5, 1.5]
    own = pd.DataFrame({"x": [1]})
    assert Answer(ROWS, str, table=own.copy).to_frame().equals(own)


def test_a_notebook_sees_words_and_pictures_and_a_mistake_where_there_are_none() -> None:
    assert "two rows" in answer()._repr_html_()
    assert "&lt;b&gt;" in Answer({}, lambda: "<b>")._repr_html_()
    assert answer().plot() == Picture(("<svg/>",))
    assert answer().plot()._repr_html_() == "<svg/>"
    with pytest.raises(UserError, match="no chart"):
        Answer({}, str).plot()


def test_changing_what_json_gave_changes_no_answer() -> None:
    found = answer()
    found.json()["rows"].clear()
    assert len(found.json()["rows"]) == 2


def test_what_is_printed_is_text_and_what_is_not_finite_is_null() -> None:
    assert printed_by(print, "a\nb")() == "a\nb"
    assert finite({"a": (float("nan"), 1.0, True, {2: "x"})}) == {"a": [None, 1.0, True, {"2": "x"}]}


# -- arguments from Python ----------------------------------------------------------------------------------------


def parser() -> CommandParser:
    made = CommandParser(prog="e2lm work")
    made.add_argument("runs", nargs="+")
    made.add_argument("--rate", type=float, default="0.5")
    made.add_argument("--kind", choices=("a", "b"), default="a")
    made.add_argument("--quick", action="store_true")
    made.add_argument("--add", action="append", default=[], type=int)
    either = made.add_mutually_exclusive_group()
    either.add_argument("--one")
    either.add_argument("--two")
    return made


WORDS = [
    (["r"], {"runs": "r"}),
    (["r", "s", "--rate", "2"], {"runs": ["r", "s"], "rate": 2}),
    (["r", "--quick", "--kind", "b"], {"runs": ["r"], "quick": True, "kind": "b"}),
    (["r", "--add", "1", "--add", "2"], {"runs": "r", "add": [1, 2]}),
    (["r", "--add", "3", "--one", "x"], {"runs": "r", "add": 3, "one": "x", "two": None, "quick": False}),
]


@pytest.mark.parametrize(("words", "values"), WORDS)
def test_values_from_python_are_what_the_typed_words_would_be(words: list[str], values: dict[str, object]) -> None:
    assert parser().given(values) == parser().parse_args(words)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "e2lm work: these are missing: runs"),
        ({"runs": "r", "rat": 1}, "e2lm work: there is no 'rat' here. Did you mean 'rate'?"),
        ({"runs": "r", "rate": "fast"}, "argument --rate: invalid float value: 'fast'"),
        ({"runs": "r", "kind": "c"}, "argument --kind: invalid choice: 'c'"),
        ({"runs": "r", "one": "x", "two": "y"}, "e2lm work: give one of one, two"),
    ],
)
def test_a_mistake_from_python_is_told_as_at_the_terminal(values: dict[str, object], told: str) -> None:
    with pytest.raises(UserError) as refused:
        parser().given(values)
    assert told in str(refused.value)


def test_a_command_without_an_answer_is_no_verb() -> None:
    with pytest.raises(TypeError, match="e2lm work gives an exit code"):
        Command("work", "Work.", lambda parser: None, lambda arguments: 0).answer({})
