from __future__ import annotations

import pytest

from e2lm_leaderboard.bundle.template import MAX_TEMPLATE_DEPTH, SafeTemplate, TemplateError


def nested(levels: int) -> str:
    """A sum whose innermost name lies ``levels`` below the whole: itself, its output and one level a sum."""
    sums = levels - 2
    return "{{ " + "(" * sums + "a" + " + b)" * sums + " }}"


def test_a_template_may_be_thirty_levels_deep_and_no_deeper() -> None:
    assert MAX_TEMPLATE_DEPTH == 30
    assert SafeTemplate(nested(30)).render({"a": 1, "b": 2}) == str(1 + 2 * 28)
    with pytest.raises(TemplateError, match="30 levels"):
        SafeTemplate(nested(31))
