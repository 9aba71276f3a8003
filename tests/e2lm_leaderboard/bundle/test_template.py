from __future__ import annotations

import time

import jinja2
import pytest

from e2lm_leaderboard.bundle.template import MAX_TEMPLATE_DEPTH, SafeTemplate, TemplateError, TemplateSteps


def nested(levels: int) -> str:
    """A sum whose innermost name lies ``levels`` below the whole: itself, its output and one level a sum."""
    sums = levels - 2
    return "{{ " + "(" * sums + "a" + " + b)" * sums + " }}"


def test_a_template_may_be_thirty_levels_deep_and_no_deeper() -> None:
    assert MAX_TEMPLATE_DEPTH == 30
    assert SafeTemplate(nested(30)).render({"a": 1, "b": 2}) == str(1 + 2 * 28)
    with pytest.raises(TemplateError, match="30 levels"):
        SafeTemplate(nested(31))


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{% for c in choices %}{{ c.strip() }};{% endfor %}", "one;two;"),
        ("{% for c in choices %}{{ loop.index }}. {{ c.upper() }} {% endfor %}", "1.  ONE  2. TWO "),
        (
            "{% for k, v in more.items() %}{{ k }}={{ v.lower() }}{% if not loop.last %}, {% endif %}{% endfor %}",
            "a=x, b=y",
        ),
        ("{% for c in choices %}{{ loop.length }}{% else %}none{% endfor %}", "22"),
    ],
)
def test_methods_may_be_called_in_a_loop_as_jinja_does(template: str, text: str) -> None:
    row = {"choices": [" one ", "two"], "more": {"a": "X", "b": "Y"}}
    assert SafeTemplate(template).render(row) == text
    assert jinja2.Environment().from_string(template).render(row) == text


@pytest.mark.parametrize(
    "body",
    [
        "{% if story|replace('a','b')|upper|lower|title|length > 999999 %}x{% endif %}",
        "{% if story|list|join('')|length > 999999 %}x{% endif %}",
        "{% if 'zzzzzzzzz' in story %}x{% endif %}",
        "{% if story[::-1][::-1][::-1] == 'x' %}x{% endif %}",
        "{% if story.upper().count('Q') > 999999 %}x{% endif %}",
    ],
)
def test_a_loop_over_a_long_text_is_refused_before_it_begins(body: str) -> None:
    template = SafeTemplate("{% for c in story %}" + body + "{% endfor %}")
    started = time.process_time()
    with pytest.raises(TemplateError, match="takes too many steps"):
        template.render({"story": "word " * 4000})
    assert time.process_time() - started < 0.1
    assert template.render({"story": "short"}) == ""


def test_the_items_of_a_task_share_their_steps() -> None:
    template, steps = SafeTemplate("{{ story|upper|lower }}"), TemplateSteps(all_items=25_000)
    for _ in range(2):
        template.render({"story": "x" * 5000}, steps)
    with pytest.raises(TemplateError, match="the items of this task takes too many steps"):
        template.render({"story": "x" * 5000}, steps)
