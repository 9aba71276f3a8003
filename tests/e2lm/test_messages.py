"""Sentences are whole in every language: what is not known, not given or not allowed is told at once, not on a page."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2lm.errors import UserError
from e2lm.messages import Catalogue, Html, ends, escaped, interval, number, short, speaking, wanted_language

SAY = Catalogue(
    "sample",
    {
        "read": "{count} {count:plural page was|pages were} read",
        "won": "By <code>{score}</code> {name} won",
        "share": "{share:.0%} of {tokens:short} tokens, {range:ends .2f}; {names:list}",
        "word.better": "better than before",
    },
    {"ja": {"read": "{count} ページを読みました", "won": "<code>{score}</code> で {name} の勝ち"}, "fr": {}},
)


@dataclass
class Range:
    low: float | None
    high: float | None


def test_a_sentence_is_said_in_the_language_asked_for_and_in_english_where_it_is_missing() -> None:
    assert SAY("read", count=1) == "1 page was read"
    assert SAY("read", count=2) == "2 pages were read"
    with speaking("ja"):
        assert SAY("read", count=2) == "2 ページを読みました"
        assert SAY.word("word", "better") == "better than before"
        assert SAY.language == "ja"
    with speaking("ja-JP"):
        assert SAY.language == "ja"
    with speaking("de"):
        assert (SAY.language, SAY("read", count=0)) == ("en", "0 pages were read")
    assert SAY.language == "en"


def test_the_environment_chooses_where_nobody_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("E2LM_LANGUAGE", "ja")
    assert SAY("read", count=1) == "1 ページを読みました"
    with speaking("en"):
        assert SAY("read", count=1) == "1 page was read"
    monkeypatch.setenv("E2LM_LANGUAGE", "ja_JP.UTF-8")
    with pytest.raises(UserError, match=r"E2LM_LANGUAGE: found 'ja_JP.UTF-8'; .* such as en or ja"):
        wanted_language()
    monkeypatch.setenv("E2LM_LANGUAGE", "")
    assert wanted_language() == "en"


def test_a_language_is_chosen_for_one_thread_alone() -> None:
    seen: list[str] = []
    with speaking("ja"):
        thread = threading.Thread(target=lambda: seen.append(SAY.language))
        thread.start()
        thread.join()
    assert seen == ["en"]


def test_numbers_and_names_have_one_form() -> None:
    said = SAY("share", share=0.875, tokens=1_200_000, range=Range(0.125, 0.5), names=["a", "b"])
    assert said == "88% of 1.2M tokens, 0.12 to 0.50; a, b"
    assert (number(None), number(float("nan")), number(float("inf")), number(2.0, ".1f")) == ("–", "–", "inf", "2.0")
    assert interval(0.5, Range(0.25, 0.75), "+.2f") == "+0.50 [+0.25, +0.75]"
    assert interval(0.5, Range(None, 0.75), ".2f") == "0.50"
    assert (ends(Range(0.25, None)), ends(Range(0.25, 0.75))) == ("–", "0.250 to 0.750")


@pytest.mark.parametrize(
    ("value", "shown"), [(1e12, "1T"), (2.5e9, "2.5B"), (-1e6, "-1M"), (1500, "1.5k"), (999, "999"), (1e-7, "1e-07")]
)
def test_large_numbers_are_short(value: float, shown: str) -> None:
    assert short(value) == shown


@given(st.text())
def test_values_are_escaped_and_markup_is_not(name: str) -> None:
    said = SAY.html("won", score=Html("<b>x</b>"), name=name)
    assert said == f"By <code><b>x</b></code> {escaped(name)} won"
    assert "<" not in escaped(name)


def test_a_name_of_somebody_elses_stays_as_it_is() -> None:
    assert SAY.word("word", "my-own") == "my-own"


def test_what_is_not_known_or_not_given_is_an_error() -> None:
    with pytest.raises(LookupError, match="sample: there is no message 'unknown'"):
        SAY("unknown")
    with pytest.raises(TypeError, match="'read' takes the values count; given: none"):
        SAY("read")
    with pytest.raises(TypeError, match="takes the values count; given: count, more"):
        SAY("read", count=1, more=2)


@pytest.mark.parametrize(
    ("english", "japanese", "told"),
    [
        ("{}", None, "a field is a name in braces"),
        ("{0}", None, "a field is a name in braces"),
        ("{a.b}", None, "a field is a name in braces"),
        ("{a!r}", None, "a field is a name in braces"),
        ("{a:{b}}", None, "a form holds no field"),
        ("{a", None, "expected '}'"),
        ("{a}", "{b}", "English has no field b"),
        ("{a}", "<b>{a}</b>", "its markup is not that of the English"),
        ("<b>{a}</b>", "{a}", "its markup is not that of the English"),
    ],
)
def test_a_wrong_template_is_told_when_the_catalogue_is_made(english: str, japanese: str | None, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Catalogue("sample", {"key": english}, {"ja": {"key": japanese}} if japanese else None)


def test_a_translation_of_what_is_not_said_is_refused() -> None:
    with pytest.raises(ValueError, match="sample: ja: message 'b': there is no such message in English"):
        Catalogue("sample", {"a": "x"}, {"ja": {"b": "y"}})
