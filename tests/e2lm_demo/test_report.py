"""Numbers and bands of the demo's report are those of the findings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from e2lm_demo.findings import found
from e2lm_demo.messages import say
from e2lm_demo.report import curve_chart, report_html
from tests.e2lm_demo.test_findings import SIGNAL, scores_of
from tests.pseudo_language import pseudo_language, words_outside


def test_bands_and_last_values_have_the_90_percent_interval_of_the_items():
    scores = scores_of(lambda rank, step: 0.3 + 0.1 * rank, stderr=0.02)
    findings = found(scores, SIGNAL, seed=0)
    for rank, line in enumerate(curve_chart(scores.frame, "t", "acc", findings, None).lines):
        assert line.low == pytest.approx([0.3 + 0.1 * rank - 1.6448536 * 0.02] * 4)
        assert line.high == pytest.approx([0.3 + 0.1 * rank + 1.6448536 * 0.02] * 4)
    page = report_html(findings, scores, {}, {})
    assert "0.500 ± 0.033" in page
    assert "mean ± 1.645 standard errors" in page


def test_every_sentence_of_the_report_comes_from_the_catalogue():
    scores = scores_of(lambda rank, step: 0.3 + 0.1 * rank, stderr=0.02)
    # What predictors say for themselves, why they made no forecast, is theirs.
    findings = replace(found(scores, SIGNAL, seed=0), predictors=())
    with pseudo_language(say):
        page = report_html(findings, scores, {"numpy": "2"}, {"train": 1.0})
    assert words_outside(page) - {"lm", "demo", "acc", "small", "middle", "large", "lmc", "sq"} == set()
