"""A page is one well-formed file that loads nothing, escapes what is no markup, and fits a telephone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2lm.chart import Chart, Line, Mark
from e2lm.messages import Html
from e2lm.page import STYLE, Page, document, drawing, figures, note, preformatted, section, strong, table

CHROMIUM = Path("/usr/bin/chromium")
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), max_size=20)
#: Texts of charts that reach over the edge of their chart.
CUT_TEXTS = """[...document.querySelectorAll("svg.e2lm-chart text")].filter((text) => {
  const [chart, own] = [text.closest("svg").getBoundingClientRect(), text.getBoundingClientRect()];
  return own.left < chart.left - 1 || own.right > chart.right + 1 || own.bottom > chart.bottom + 1;
}).map((text) => text.textContent)"""
HOSTILE = '<script>alert(1)</script>"&'


def parsed(html: str) -> ElementTree.Element:
    """As XML, which is stricter than HTML: nothing may be left open."""
    text = re.sub(r"^<!doctype html>\n", "", html)
    return ElementTree.fromstring(re.sub(r"<(meta[^>]*|wbr)>", r"<\1/>", text))


def whole_page(text: str = "text") -> Page:
    long = "a sentence that is far too long for one line of a cell in a table on a telephone"
    rows = [[f"{text} {n}", long, *["-0.0386 [-0.1080, +0.0308]"] * 6] for n in range(3)]
    lines = [
        Line(f"{text} with_a_name_that_is_longer_than_the_chart_is_wide {n}", [1, 2], [n, n + 1]) for n in range(3)
    ]
    return Page(
        heading=text,
        parts=[
            text,
            note(text),
            section(text),
            table(text, ["name", "why", *"abcdef"], [*rows, [text, "no number"]], numbers=range(2, 8)),
            figures([Chart(text * 3, text, text, lines, [Mark("chance", 0.5)])] * 3),
            drawing('<svg viewBox="0 0 80 45"><rect width="80" height="45"/></svg>', text),
            preformatted("x" * 300),
        ],
    )


@given(TEXT)
def test_any_text_is_escaped_and_the_page_is_well_formed(text: str) -> None:
    page = whole_page(text).html()
    root = parsed(page)
    assert root.findtext("head/title") == text
    assert root.findtext("body/main/h1") == text
    assert {element.tag for element in root.iter()}.isdisjoint({"script", "img", "link"})
    assert page == whole_page(text).html()


def test_only_declared_markup_is_markup() -> None:
    page = Page(HOSTILE, [HOSTILE, Html("<hr>"), strong(HOSTILE, good=True), table(HOSTILE, [HOSTILE], [[HOSTILE]])])
    assert "<script" not in page.html()
    assert "<hr>" in page.html()
    assert '<strong class="good">&lt;script' in page.html()


def test_a_page_loads_nothing_and_says_its_language() -> None:
    page = whole_page().html()
    assert not re.search(r"(?:src|href)=|@import|url\(|https?:", page)
    assert '<html lang="en">' in page
    assert '<html lang="ja">' in Page("x", [], language="ja").html()
    assert page.count("<!doctype html>") == 1
    assert STYLE in page


def test_the_tab_has_a_title_of_its_own_where_one_is_given() -> None:
    root = parsed(Page("Which seed won?", [], title="seeds").html())
    assert (root.findtext("head/title"), root.findtext("body/main/h1")) == ("seeds", "Which seed won?")


def test_a_short_row_ends_in_a_cell_that_spans_the_rest_and_a_long_one_is_refused() -> None:
    root = ElementTree.fromstring(table("t", ["a", "b", "c"], [["1", "2"], ["1", "2", "3"]], numbers={1, 2}))
    rows = [[(cell.get("colspan"), cell.get("class")) for cell in row] for row in root.findall("table/tbody/tr")]
    assert rows == [[(None, None), ("2", None)], [(None, None), (None, "number"), (None, "number")]]
    for row in ([], ["1", "2", "3", "4"]):
        with pytest.raises(ValueError, match=f"a row of {len(row)} cells in a table of 3 columns"):
            table("t", ["a", "b", "c"], [row])


def test_a_number_is_broken_before_its_interval_alone() -> None:
    shown = table("t", ["a", "b"], [["x [0, 1]", "0.5 [0.4, 0.6]"]], numbers={1})
    assert '<td>x [0, 1]</td><td class="number">0.5 <wbr>[0.4, 0.6]</td>' in shown
    assert "td.number { white-space: nowrap; } td.number wbr { white-space: normal; }" in STYLE


def test_what_cannot_be_seen_is_told() -> None:
    root = parsed(whole_page("so much").html())
    assert [svg.get("role") for svg in root.iter("svg")] == ["img"] * 4
    assert all("so much" in (svg.get("aria-label") or "") for svg in root.iter("svg"))
    boxes = [box for box in root.iter("div") if box.get("class") == "scroll"]
    assert [(box.get("tabindex"), box.get("role"), box.get("aria-label")) for box in boxes] == [
        ("0", "region", "so much")
    ] * 2
    with pytest.raises(ValueError, match="a drawing begins with '<svg '"):
        drawing("<p>", "none")


def test_the_example_for_plugins_writes_a_page(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (repository / "docs/plugins.md").read_text(encoding="utf-8"), re.DOTALL)
    (example,) = [block for block in blocks if "e2lm.page" in block]
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "docs/plugins.md", "exec"), {})  # our own documentation
    root = parsed((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert root.findtext("body/main/p") == "Seed 2 won, after 10M tokens."


def test_the_shell_takes_a_head_and_a_body_as_they_are() -> None:
    shell = document(HOSTILE, Html('<link rel="icon" href="data:,">'), Html("<main>x</main>"), "ja")
    assert shell.startswith('<!doctype html>\n<html lang="ja">')
    assert '<link rel="icon"' in shell
    assert "<script" not in shell


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser_nothing_is_cut_and_the_page_is_no_wider_than_the_window(
    tmp_path: Path, width: int, scheme: Any
) -> None:
    if not CHROMIUM.exists():
        pytest.skip("no /usr/bin/chromium (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    file = tmp_path / "page.html"
    file.write_text(whole_page("A page with a heading").html(), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.goto(file.as_uri())
        wide = page.evaluate("document.documentElement.scrollWidth")
        texts = page.evaluate(CUT_TEXTS)
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        browser.close()
    assert wide <= width
    assert texts == []
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}[scheme]
