from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2lm_tasks.building.prose import is_prose, prose_of

CLEAN = "The quick brown fox jumps over the lazy dog again."


def sentences(text: str) -> list[str]:
    return [sentence.text for sentence in prose_of([text]).sentences]


@pytest.mark.parametrize(
    "block",
    [
        ">>> value = compute(3)\n... more\n4",
        ".. note:: This is a directive that nobody should ever read here.",
        ":param name: The name of the thing that is to be looked up here.",
        "expression ::= term that is followed by another term in this place.",
        "[1] Somebody wrote a paper about all of this a long time ago.",
        "+-----+-----+\n| one | two |\n+-----+-----+",
        "alpha    beta gamma    delta\nThe row above has columns that are set apart.",
    ],
)
def test_blocks_that_are_no_prose_are_dropped(block: str) -> None:
    assert sentences(f"{block}\n\n{CLEAN}") == [CLEAN]


@pytest.mark.parametrize(
    "sentence",
    [
        "See https://example.org/page for all that is known about it.",
        "The call numpy.array makes a new array out of the list.",
        "The result f(x) is then given back to the one who called.",
        "This one has a {brace} somewhere in the middle of its words.",
        "It has only one half of a (pair of brackets in it today.",
        "and this one begins in the middle of another sentence here.",
        "This one never comes to any end at all, it just stops",
        "Short one here.",
        "WARNING SHOUTED WORDS ARE NEVER NICE TO READ FOR ANYBODY.",
        "New in version 3.1: The argument that nobody had asked for.",
    ],
)
def test_sentences_that_do_not_read_like_text_are_refused(sentence: str) -> None:
    assert not is_prose(sentence)


def test_inline_markup_is_taken_off() -> None:
    text = "The ``array`` of the :class:`Thing` is *never* `empty` after the call."
    assert sentences(text) == ["The array of the Thing is never empty after the call."]


def test_marks_that_were_cut_off_are_put_back() -> None:
    assert sentences("The game , which was old , sold well . It had many fans too , they say .") == [
        "The game, which was old, sold well.",
        "It had many fans too, they say.",
    ]


def test_abbreviations_end_no_sentence() -> None:
    text = "Some methods, e.g. The Simplex, are old and slow but work. Others (cf. Smith) came later and are quick."
    assert sentences(text) == [
        "Some methods, e.g. The Simplex, are old and slow but work.",
        "Others (cf. Smith) came later and are quick.",
    ]


def test_the_type_line_of_an_entry_is_not_part_of_its_sentence() -> None:
    assert sentences(f"DatetimeIndex\n    {CLEAN}") == [CLEAN]
    assert sentences(f"axis : int or None\n    {CLEAN}") == [CLEAN]


def test_a_repeated_sentence_is_kept_once_and_breaks_the_run() -> None:
    other = "A second sentence follows the first one in this text."
    prose = prose_of([f"{CLEAN} {other}", f"{other} {CLEAN}  A third sentence ends the whole text right here."])
    assert [sentence.text for sentence in prose.sentences][:2] == [CLEAN, other]
    assert [sentence.source for sentence in prose.sentences] == [0, 0, 1]
    assert prose.before(2, 1000) == ""


def test_context_stays_within_its_run_and_its_bytes() -> None:
    first, second, third = (f"Sentence number {word} stands in this paragraph." for word in ("one", "two", "three"))
    prose = prose_of([f"{CLEAN}\n\n{first} {second} {third}"])
    assert prose.before(3, 1000) == f"{first} {second}"
    assert prose.before(3, len(second)) == second
    assert prose.before(3, len(second) - 1) == ""
    assert prose.after(1, 1000) == f"{first} {second} {third}"


def test_windows_line_ends_change_nothing() -> None:
    lines = [
        "A title",
        "=======",
        "",
        CLEAN,
        "The next line has another sentence.",
        "",
        "* A bullet may hold one whole sentence.",
    ]
    text = "\n".join(lines)
    assert sentences(text.replace("\n", "\r\n")) == sentences(text)
    assert len(sentences(text)) == 3


@given(st.text(alphabet=st.sampled_from("aB .!?\"'()*`:>\n\t-=|[]1é中"), max_size=400))
def test_any_text_gives_only_prose_and_never_the_same_twice(text: str) -> None:
    found = sentences(text)
    assert all(is_prose(sentence) for sentence in found)
    assert len(set(found)) == len(found)
