"""The site builds without a warning, its links lead somewhere, and it loads nothing from another host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("mkdocs")
pytest.importorskip("material")

CHROMIUM = Path("/usr/bin/chromium")

#: Elements whose attribute makes a browser load something; ``link`` is looked at by its ``rel``.
LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "embed": "src"}
LOADING_RELATIONS = frozenset(
    {"stylesheet", "icon", "preload", "preconnect", "dns-prefetch", "manifest", "modulepreload"}
)
#: Elements whose text is read.
TEXTS = ("p", "h1", "h2", "h3", "h4")
IN_STYLES = re.compile(r"""(?:url\(|@import)\s*["']?([^"')\s;]+)""")
ELSEWHERE = re.compile(r"^(?:https?:)?//")


@dataclass
class Page(HTMLParser):
    """What a page holds: places to link to, links, what it loads, and paragraphs and headings as text."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    components: set[str] = field(default_factory=set)
    paragraphs: list[str] = field(default_factory=list)
    inside: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids |= {values[name] for name in ("id", "name") if values.get(name)}
        self.components |= {values["data-md-component"]} if "data-md-component" in values else set()
        self.loads += IN_STYLES.findall(values.get("style", ""))
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag in LOADING and values.get(LOADING[tag]):
            self.loads.append(values[LOADING[tag]])
        if tag == "link" and LOADING_RELATIONS & set(values.get("rel", "").split()):
            self.loads.append(values["href"])
        if tag in ("div", "pre"):  # a paragraph that holds a block of code
            self.inside = ""
        if tag in (*TEXTS, "style"):
            self.inside = tag
            self.paragraphs += [""] if tag in TEXTS else []

    def handle_endtag(self, tag: str) -> None:
        self.inside = "" if tag == self.inside else self.inside

    def handle_data(self, data: str) -> None:
        if self.inside == "style":
            self.loads += IN_STYLES.findall(data)
        elif self.inside in TEXTS:
            self.paragraphs[-1] += data


def parsed(text: str) -> Page:
    page = Page()
    page.feed(text)
    return page


def broken_links(pages: dict[Path, Page], root: Path) -> list[str]:
    """Links to files that are not there, and to places that their pages do not have."""
    broken = []
    for file, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            if not target.exists() or (parts.fragment and parts.fragment not in pages[target].ids | {"__top"}):
                broken.append(f"{file.relative_to(root)}: {link}")
    return broken


@pytest.fixture(scope="module")
def site(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(
        command, cwd=repository, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    # A server sends 404.html for any address, so its links begin at the root.
    files = [file for file in sorted(site.rglob("*.html")) if file.name != "404.html"]
    return {file.resolve(): parsed(file.read_text(encoding="utf-8")) for file in files}


def test_every_page_is_built(pages: dict[Path, Page], repository: Path, site: Path) -> None:
    written = {page.relative_to(repository / "docs").with_suffix("") for page in (repository / "docs").rglob("*.md")}
    built = {file.relative_to(site.resolve()).with_suffix("") for file in pages}
    assert len(written) > 20
    assert written <= built


def test_every_link_and_every_anchor_leads_somewhere(pages: dict[Path, Page], site: Path) -> None:
    assert sum(len(page.links) for page in pages.values()) > 500
    assert broken_links(pages, site.resolve()) == []


def test_nothing_is_loaded_from_another_host(pages: dict[Path, Page], site: Path) -> None:
    loads = [(file.name, load) for file, page in pages.items() for load in page.loads]
    for sheet in site.rglob("*.css"):
        loads += [(sheet.name, load) for load in IN_STYLES.findall(sheet.read_text(encoding="utf-8"))]
    assert len(loads) > 100
    assert [load for load in loads if ELSEWHERE.match(load[1])] == []
    # The theme's script asks the host of a repository for its stars where the page names one.
    assert {"source"} & set().union(*(page.components for page in pages.values())) == set()


def test_what_is_loaded_is_there(pages: dict[Path, Page]) -> None:
    missing = [
        f"{file.name}: {load}"
        for file, page in pages.items()
        for load in page.loads
        if not load.startswith("data:") and not (file.parent / unquote(urlsplit(load).path)).exists()
    ]
    assert missing == []


def test_no_markdown_is_left_over(pages: dict[Path, Page]) -> None:
    """A list or a table that lacks the blank line before it ends up in the paragraph above."""
    # A heading that ends in the sign of its link may begin with a number.
    left = re.compile(r"^\s*(?:[*-] |\d+\. (?!.*¶$)|\|)|```|\]\(", re.MULTILINE)
    found = [
        f"{file.name}: {text[:80]!r}" for file, page in pages.items() for text in page.paragraphs if left.search(text)
    ]
    assert found == []


def test_a_fault_would_be_found(tmp_path: Path) -> None:
    text = '<style>a {background: url("//fonts.example/x")}</style><h1 id="a">A</h1><a href="#b">b</a><a href="c.html">'
    page = parsed(text + '</a><link rel="stylesheet" href="https://x.example/y.css"><p>Words:\n| a | b |</p>')
    file = (tmp_path / "page.html").resolve()
    file.touch()
    assert broken_links({file: page}, tmp_path.resolve()) == ["page.html: #b", "page.html: c.html"]
    assert [load for load in page.loads if ELSEWHERE.match(load)] == page.loads
    assert len(page.loads) == 2
    with pytest.raises(AssertionError):
        test_no_markdown_is_left_over({file: page})


@pytest.mark.skipif(not CHROMIUM.exists(), reason="no chromium")
def test_pages_open_from_a_folder_fit_a_narrow_window_and_can_be_searched(site: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    requested: list[str] = []
    errors: list[str] = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        for name, scheme, theme in (("coming-from-lm-eval", "light", "default"), ("scores", "dark", "slate")):
            page = browser.new_page(viewport={"width": 400, "height": 800}, color_scheme=scheme)
            page.on("request", lambda request: requested.append(request.url))
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto((site / f"{name}.html").as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= 400
            assert page.get_attribute("body", "data-md-color-scheme") == theme
        page.set_viewport_size({"width": 1400, "height": 900})
        page.click(".md-search__input")
        page.keyboard.type("settling")
        page.wait_for_selector(".md-search-result__item")
        browser.close()
    assert [url for url in requested if not url.startswith(("file:", "data:"))] == []
    assert errors == []
