"""Numbers, bands and sentences of the demo's report are those of the findings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from e2lm_demo.findings import found
from e2lm_demo.messages import say
from e2lm_demo.report import answer, curve_chart, report_html
from tests.e2lm_demo.test_findings import SIGNAL, TOKENS, scores_of
from tests.pseudo_language import pseudo_language, words_outside


def told(accuracy, **changes):
    return found(scores_of(accuracy, **changes), SIGNAL, seed=0)


def test_bands_and_texts_for_pointers_have_the_90_percent_interval_of_the_items():
    scores = scores_of(lambda rank, step: 0.3 - 0.1 * rank, stderr=0.02, seeds=0.0)
    findings = found(scores, SIGNAL, seed=0)
    lines = curve_chart(scores.frame, findings.findings[0]).lines
    for rank, line in zip((0, 0, 1, 2), lines, strict=False):
        assert line.low == pytest.approx([0.3 - 0.1 * rank - 1.6448536 * 0.02] * 5)
        assert line.high == pytest.approx([0.3 - 0.1 * rank + 1.6448536 * 0.02] * 5)
        assert line.x == pytest.approx([tokens / TOKENS[-1] for tokens in TOKENS])
    assert [line.label for line in lines[:4]] == ["clean-1", "clean-2", "third", "two-thirds"]
    assert lines[2].hover[2] == "third, 20% of the run: 0.200 ± 0.033"
    assert "third, 20% of the run: 0.200 ± 0.033" in report_html(findings, scores, {}, {})


def test_the_headline_says_who_told_all_from_when_on_what_it_saves_and_at_what_price():
    said = answer(told(lambda rank, step: 0.5 - (0.1 * rank if step > 1 else 0.0)))
    assert "The task t by accuracy told all three apart from 20% of the run on, at every checkpoint" in said
    assert "the price of 3 comparisons" in said
    assert "The best one, clean, it told from both others from 20% on: whoever stops those there saves 53%" in said
    assert "Of 3 pairs told by any task and metric, all are in the planted order." in said


def test_one_lucky_checkpoint_is_no_headline():
    """Once: "ordered 100 % of the pairs [100 %, 100 %]", of a curve that the next checkpoint took back."""
    findings = told(lambda rank, step: 0.3 - (0.1 * rank if step == 2 else 0.0))
    said = answer(findings)
    assert "No task and metric told any recipe from another" in said
    assert "nobody can tell" in said
    assert "100%" not in said
    assert "saves" not in said


def test_what_is_told_of_some_pairs_is_said_of_those_and_what_is_told_wrongly_is_marked():
    some = told(lambda rank, step: 0.5 - (0.1 if rank == 2 else 0.0))
    assert (
        "No task and metric told all three apart. The task t by accuracy told clean from two-thirds from 0%"
        in answer(some)
    )
    scores = scores_of(lambda rank, step: 0.3 + 0.1 * rank)
    wrong = found(scores, SIGNAL, seed=0)
    assert "3 are against the planted order" in answer(wrong)
    assert "saves" not in answer(wrong)
    assert report_html(wrong, scores, {}, {}).count("<strong>from 0%, the wrong way</strong>") == 3


def test_every_sentence_of_the_report_comes_from_the_catalogue():
    scores = scores_of(lambda rank, step: 0.3 - 0.1 * rank, stderr=0.02)
    # What predictors say for themselves, why they made no forecast, is theirs.
    findings = replace(found(scores, SIGNAL, seed=0), predictors=())
    with pseudo_language(say):
        page = report_html(findings, scores, {"numpy": "2"}, {"train": 1.0})
    assert words_outside(page) - {"lm", "demo", "acc", "clean", "third", "two", "thirds", "lmc", "sq"} == set()
