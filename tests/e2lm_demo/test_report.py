"""Numbers and bands of the demo's report are those of the findings."""

from __future__ import annotations

import pytest

from e2lm_demo.findings import found
from e2lm_demo.report import curve_chart, report_html
from tests.e2lm_demo.test_findings import SIGNAL, scores_of


def test_bands_and_last_values_have_the_90_percent_interval_of_the_items():
    scores = scores_of(lambda rank, step: 0.3 + 0.1 * rank, stderr=0.02)
    findings = found(scores, SIGNAL, seed=0)
    for rank, line in enumerate(curve_chart(scores.frame, "t", "acc", findings, None).lines):
        assert line.low == pytest.approx([0.3 + 0.1 * rank - 1.6448536 * 0.02] * 4)
        assert line.high == pytest.approx([0.3 + 0.1 * rank + 1.6448536 * 0.02] * 4)
    page = report_html(findings, scores, {}, {})
    assert "0.500 ± 0.033" in page
    assert "mean ± 1.645 standard errors" in page
