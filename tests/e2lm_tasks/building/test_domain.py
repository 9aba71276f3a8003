from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from e2lm import UserError
from e2lm.command_line import main
from e2lm_tasks.building.domain import NAMES, fact_items, inference_items, stated_facts, term_items, terms_and_common
from e2lm_tasks.building.prose import CorpusText, Prose, WordFrequency, prose_of
from e2lm_tasks.building.text_suite import build_suite
from tests.e2lm_tasks.suite_data import made_domain

#: How often everybody uses some words, of 100,000.
EVERYDAY = WordFrequency(Counter({"another": 120, "would": 400, "must": 200, "other": 300, "when": 500}), 100_000)


@pytest.fixture(scope="module")
def prose(documentation: CorpusText) -> Prose:
    return prose_of([documentation.text])


def test_facts_are_read_from_plain_sentences() -> None:
    text = (
        "A tuple is an immutable sequence of values. The heart pumps blood through the whole body. "
        "Lists are mutable sequences of values. The above is a strange example of a thing. "
        "A function that returns nothing is a procedure of sorts."
    )
    found = [(fact.noun, fact.verb, fact.rest, fact.of_one_thing) for fact in stated_facts(prose_of([text]))]
    assert found == [
        ("tuple", "is", "an immutable sequence of values.", True),
        ("Lists", "are", "mutable sequences of values.", False),
    ]


def test_a_false_twin_is_what_the_text_says_of_something_else(prose: Prose) -> None:
    said = {(fact.subject, fact.verb, fact.rest) for fact in stated_facts(prose)}
    items = [item for item in fact_items(prose, np.random.default_rng(0)) if item is not None]
    assert len(items) >= 100
    for item in items:
        subject, _, verb = item.context.rpartition(" ")
        assert (subject, verb, item.true) in said
        for wrong in item.wrong:
            assert (subject, verb, wrong) not in said
            assert any(verb == other and wrong == rest for _, other, rest in said)


def test_an_inference_is_about_a_bearer_that_nobody_knows(prose: Prose) -> None:
    items = [item for item in inference_items(prose, np.random.default_rng(0)) if item is not None]
    assert len(items) >= 40
    for item in items:
        name = item.context.split()[0]
        assert name in NAMES
        assert item.context.startswith(f"{name} is a")
        assert f". So {name} " in item.context
    assert not any(name.casefold() in sentence.text.casefold() for sentence in prose.sentences for name in NAMES)


def test_terms_are_what_the_documents_use_and_others_do_not(prose: Prose) -> None:
    frequency, background = WordFrequency.of(prose), EVERYDAY
    terms, common = terms_and_common(frequency, background)
    assert {"function", "iterator", "argument"} <= terms
    assert "another" in common
    assert not terms & common
    items = [item for item in term_items(prose, frequency, background, np.random.default_rng(0)) if item is not None]
    assert all(item.true in terms and not set(item.wrong) & terms for item in items)
    for item in items:
        assert all(
            frequency.counts[word].bit_length() == frequency.counts[item.true].bit_length() for word in item.wrong
        )


def test_a_background_of_a_few_words_is_refused(prose: Prose) -> None:
    with pytest.raises(UserError, match="found 9 words of prose; at least 10,000"):
        terms_and_common(WordFrequency.of(prose), WordFrequency(Counter({"the": 9}), 9))


def test_the_command_says_how_much_text_a_domain_needs(
    tmp_path: Path, documentation: CorpusText, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(documentation.text, encoding="utf-8")
    command = ["tasks", "build", "--domain", "--corpus", str(corpus), "--out", str(tmp_path / "out"), "--items", "300"]
    assert main(command) == 2
    assert "e2lm_domain_" in (error := capsys.readouterr().err)
    assert "give more text with --corpus" in error
    assert not (tmp_path / "out").exists()


def test_documents_with_enough_facts_give_three_tasks() -> None:
    corpus, family = made_domain()
    suite = build_suite(corpus, 0, 100, "e2lm_domain", family=family)
    assert list(suite.card["tasks"]) == ["e2lm_domain_vocabulary", "e2lm_domain_facts", "e2lm_domain_inference"]
    assert suite.files == build_suite(corpus, 0, 100, "e2lm_domain", family=family).files


@pytest.mark.parametrize(
    ("seen", "is_term", "is_common"),
    [(4000, True, False), (3999, False, False), (1501, False, False), (1500, False, True), (3, False, True)],
)
def test_a_word_is_a_term_from_four_times_the_usual_share_on_and_common_up_to_one_and_a_half(
    seen: int, is_term: bool, is_common: bool
) -> None:
    """Shares with one added to word and total: 1,000 in 1,000,000 of the background."""
    documents = WordFrequency(Counter({"word": seen - 1, "rest": 1_000_000 - seen}), 999_999)
    background = WordFrequency(Counter({"word": 999, "rest": 999_000}), 999_999)
    if seen == 3:
        documents, background = (WordFrequency(Counter(word=count), 999_999) for count in (3, 3))
    terms, common = terms_and_common(documents, background)
    assert ("word" in terms, "word" in common) == (is_term, is_common)


@pytest.mark.parametrize(("word", "count"), [("word", 2), ("wor", 9000), ("w0rd", 9000)])
def test_words_that_are_rare_short_or_no_words_are_neither(word: str, count: int) -> None:
    documents = WordFrequency(Counter({word: count}), 1_000_000)
    for usual in (0, 9000):
        background = WordFrequency(Counter({word: usual}), 1_000_000)
        assert terms_and_common(documents, background) == (frozenset(), frozenset())
