"""Errors are one line, and offer what is allowed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from e2lm import E2LMError, UserError
from e2lm.errors import nearest_names, one_line


def test_a_mistake_of_the_user_is_one_of_our_errors() -> None:
    assert issubclass(UserError, E2LMError)


def test_the_nearest_names_come_first_and_at_most_three() -> None:
    known = ["acc", "acc_norm", "acc_bytes", "acc_mutual", "margin"]
    assert nearest_names("acc_nrom", known).startswith("Did you mean 'acc_norm'")
    assert nearest_names("acc_", known).count("'") == 6


def test_a_long_list_of_names_is_cut_and_counted() -> None:
    assert nearest_names("zzz", [f"name{index:02}" for index in range(20)]).endswith("name11 and 8 more.")


@given(st.text(), st.lists(st.text(min_size=1), max_size=20))
def test_every_name_gets_a_sentence(name: str, known: list[str]) -> None:
    said = nearest_names(name, known)
    assert said[-1] in ".?"
    if name in known:
        assert f"Did you mean {name!r}" in said


@given(st.text())
def test_one_line_is_one_line_and_loses_nothing_but_white_space(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1
    assert one_line(text).split() == text.split()
