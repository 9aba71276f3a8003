from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_eval import utils

from e2lm_adapters.lm_eval.tasks import cache_templates

if not hasattr(utils, "env"):
    pytest.skip("this lm-eval caches its templates itself", allow_module_level=True)

TEMPLATES = [
    "{{question}}",
    "{{question}}\n{% for one in choices %}{{loop.index}}. {{one}}\n{% endfor %}Answer:",
    "{{choices[gold]}}",
    "{{question | upper}} {{question|regex_replace('a', 'b')}}",
    "{{choices}}",
]


@pytest.fixture
def uncached() -> Iterator[None]:
    environment = utils.env
    own = vars(environment).pop("from_string", None)
    yield
    vars(environment).pop("from_string", None)
    if own is not None:
        environment.from_string = own


@given(
    st.sampled_from(TEMPLATES),
    st.text(max_size=20),
    st.lists(st.text(max_size=8), min_size=1, max_size=5),
)
def test_the_cache_changes_no_text(template: str, question: str, choices: list[str]) -> None:
    doc = {"question": question, "choices": choices, "gold": len(choices) - 1}
    environment = utils.env
    own = vars(environment).pop("from_string", None)
    try:
        plain = utils.apply_template(template, doc)
        cache_templates()
        assert [utils.apply_template(template, doc) for _ in range(2)] == [plain, plain]
    finally:
        vars(environment).pop("from_string", None)
        if own is not None:
            environment.from_string = own


@pytest.mark.usefixtures("uncached")
def test_a_template_is_compiled_once_however_often_the_cache_is_asked_for() -> None:
    cache_templates()
    cache_templates()
    for number in range(5):
        assert utils.apply_template("{{a}}!", {"a": number}) == f"{number}!"
    assert utils.env.from_string.cache_info().misses == 1
