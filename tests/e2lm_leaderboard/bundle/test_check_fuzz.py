"""Whatever the bytes are, the check answers with a report."""

from __future__ import annotations

import json
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from e2lm_leaderboard.bundle.bundle import Bundle, name_problem, quoted
from e2lm_leaderboard.bundle.check import check_archive
from e2lm_leaderboard.bundle.task_file import YamlError, parsed_yaml
from e2lm_leaderboard.bundle.template import SafeTemplate, TemplateError
from e2lm_leaderboard.cli.entrant import sample_files
from e2lm_leaderboard.season.season import BundleLimits, SeasonRules

FILES = {name: text.encode() for name, text in sample_files().items()}
ARCHIVE = Bundle(FILES).packed()
RULES = SeasonRules()

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner))
JINJA = st.lists(
    st.sampled_from(
        [
            *(
                "{{",
                "}}",
                "{%",
                "%}",
                " for ",
                " in ",
                " if ",
                "endfor",
                "endif",
                "a",
                "b",
                ".",
                "(",
                ")",
                "[",
                "]",
                "|",
            ),
            *("'x'", "0", "+", "*", "~", "__class__", "replace", "join", "set ", "=", ",", "loop", "cycler", "range"),
        ]
    )
).map("".join)


@settings(max_examples=150)
@given(st.binary(max_size=300) | st.binary(max_size=200).map(lambda tail: ARCHIVE[:60] + tail))
def test_random_bytes_are_refused(data: bytes) -> None:
    assert not check_archive(data, RULES).accepted


@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(0, len(ARCHIVE) - 1), st.integers(1, 255)), min_size=1, max_size=4))
def test_a_damaged_archive_is_refused_or_says_the_same(flips: list[tuple[int, int]]) -> None:
    data = bytearray(ARCHIVE)
    for place, change in flips:
        data[place] ^= change
    report = check_archive(bytes(data), RULES)
    # Times and versions of a zip entry carry no meaning; everything else does.
    assert not report.accepted or report.bundle == Bundle(FILES)


@settings(max_examples=60)
@given(st.text(max_size=200), st.sampled_from(sorted(FILES)))
def test_any_text_in_any_file_gets_a_report(text: str, name: str) -> None:
    report = check_archive(Bundle({**FILES, name: text.encode()}).packed(), RULES)
    json.dumps(report.as_json(), allow_nan=False)
    assert not report.accepted


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(["story", "person", "thing", "choices", "gold", "x"]), VALUES))
def test_any_row_gets_a_report(row: dict[str, object]) -> None:
    data = FILES["counting.jsonl"] + json.dumps(row).encode() + b"\n"
    report = check_archive(Bundle({**FILES, "counting.jsonl": data}).packed(), RULES)
    assert json.loads(json.dumps(report.as_json(), allow_nan=False))["id"] == report.content_id


@settings(max_examples=150)
@given(st.text(max_size=300) | VALUES.map(json.dumps))
def test_yaml_is_read_or_refused(text: str) -> None:
    value = None
    with suppress(YamlError):
        value = parsed_yaml(text)
    assert json.dumps(value, allow_nan=False)


@settings(max_examples=500)
@given(JINJA | st.text(alphabet="{}%ab.()[]|'+*", max_size=60))
def test_a_template_is_rendered_or_refused(source: str) -> None:
    text = ""
    with suppress(TemplateError):
        text = SafeTemplate(source).render({"a": "text", "b": ["x", "y"]})
    assert len(text) <= 10_000


@given(st.text())
def test_a_name_that_passes_is_relative_printable_and_without_dots(name: str) -> None:
    if name_problem(name, BundleLimits()) is None:
        assert name.isprintable()
        assert not name.startswith("/")
        assert ".." not in name.split("/")


@given(st.text())
def test_a_quote_prints_on_one_line(text: str) -> None:
    assert quoted(text).isprintable()
