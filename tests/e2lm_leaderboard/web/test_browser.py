"""A browser walks submit, status, ranking, detail and comparison, on the server and on the export, wide and narrow."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from e2lm_leaderboard.bundle.bundle import Bundle
from e2lm_leaderboard.cli.entrant import sample_files
from e2lm_leaderboard.web.app import create_app
from e2lm_leaderboard.web.export import export_season
from tests.e2lm_leaderboard.season_samples import NOW, TOKEN, filled_season

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
]
WIDTHS = (400, 1400)


@dataclass
class Site:
    """Where the pages are, and the bundle to send."""

    server: str
    export: Path
    bundle: Path


@dataclass
class Watched:
    """A page, and everything that went wrong on it."""

    page: Any
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def assert_clean(self, start: str) -> None:
        assert [url for url in self.requests if not url.startswith((start, "data:"))] == []
        assert self.errors == []

    def assert_fits(self, width: int) -> None:
        assert self.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("season")
    season, store = filled_season(folder)
    export_season(store, season, folder / "export", NOW)
    bundle = folder / "bundle.zip"
    bundle.write_bytes(Bundle({name: text.encode() for name, text in sample_files().items()}).packed())
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    server = uvicorn.Server(
        uvicorn.Config(create_app(store, season, now=lambda: NOW), port=port, log_level="error", ws="none")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield Site(f"http://127.0.0.1:{port}", folder / "export", bundle)
    server.should_exit = True
    thread.join(10)
    store.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip("no /usr/bin/chromium (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser: Any, width: int, scheme: str = "light") -> Iterator[Watched]:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    watched = Watched(context.new_page())
    watched.page.on("request", lambda request: watched.requests.append(request.url))
    watched.page.on("pageerror", lambda error: watched.errors.append(str(error)))
    watched.page.on(
        "console", lambda message: watched.errors.append(message.text) if message.type in ("error", "warning") else None
    )
    yield watched
    context.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_way_through_the_server(browser: Any, site: Site, width: int) -> None:
    with opened(browser, width) as watched:
        page = watched.page
        page.goto(f"{site.server}/submit")
        watched.assert_fits(width)
        page.fill("input[name=token]", TOKEN)
        page.set_input_files("input[name=bundle]", str(site.bundle))
        page.click("form button")
        page.wait_for_url("**/submissions/*")
        assert "Counting in words" in page.inner_text("h1")
        assert page.inner_text(".state") == "queued"
        page.click("header >> text=Status")
        assert "counting-in-words" in page.inner_text("table")
        watched.assert_fits(width)
        page.click("header >> text=Ranking")
        assert page.inner_text("tbody tr:first-child td:nth-child(2) a") == "good"
        watched.assert_fits(width)
        page.click("text=good")
        assert page.locator("svg.e2lm-chart").count() == 1
        assert "hacked" not in page.title()
        watched.assert_fits(width)
        page.go_back()
        page.click("main form button")
        page.wait_for_url("**/compare?*")
        assert "the data cannot tell them apart" in page.inner_text("main")
        watched.assert_fits(width)
        watched.assert_clean(site.server)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_way_through_the_export(browser: Any, site: Site, width: int) -> None:
    with opened(browser, width, "dark") as watched:
        page = watched.page
        page.goto((site.export / "index.html").as_uri())
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"
        watched.assert_fits(width)
        page.click("header >> text=Status")
        assert "refused" in page.inner_text("table")
        page.click("text=hostile")
        assert "<img src=x" in page.inner_text("h1")
        watched.assert_fits(width)
        page.click("header >> text=Ranking")
        page.click("text=good against fair")
        assert "cannot tell them apart" in page.inner_text("main")
        page.click("main p a >> nth=0")
        assert page.locator("svg.e2lm-chart").count() == 1
        watched.assert_fits(width)
        watched.assert_clean("file://")


def test_columns_are_sorted_from_the_keyboard(browser: Any, site: Site) -> None:
    with opened(browser, 1400) as watched:
        page = watched.page
        page.goto(site.server)
        page.focus("th:nth-child(2) button")
        page.keyboard.press("Enter")
        names = page.locator("tbody td:nth-child(2)").all_inner_texts()
        assert names == sorted(names)
        assert page.get_attribute("th:nth-child(2)", "aria-sort") == "ascending"
        page.keyboard.press("Enter")
        assert page.locator("tbody td:nth-child(2)").all_inner_texts() == names[::-1]
        page.goto(site.server)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to content"
        watched.assert_clean(site.server)
