"""The page in a file and the server, in a browser and without one."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import urllib.error
import urllib.request
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from e2lm.command import CommandParser
from e2lm.errors import UserError
from e2lm.results import read_scores
from e2lm.scores import Scores
from e2lm_view.command import VIEW_COMMAND
from e2lm_view.server import view_server
from e2lm_view.source import ViewSource
from tests.e2lm_view.evaluations import RUNS, row, write_evaluation

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
]
ANSWER = "run-a leads on 1 of 3 tasks beyond the interval (told); on the other 2 no lead is beyond it."


@dataclass
class Looked:
    """A page, and everything that went wrong on it."""

    page: Any
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


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
def opened(browser: Any, width: int, scheme: str = "light", script: bool = True) -> Iterator[Looked]:
    size = {"width": width, "height": 900}
    context = browser.new_context(viewport=size, color_scheme=scheme, java_script_enabled=script)
    looked = Looked(context.new_page())
    looked.page.on("request", lambda request: looked.requests.append(request.url))
    looked.page.on("pageerror", lambda error: looked.errors.append(str(error)))
    looked.page.on(
        "console", lambda message: looked.errors.append(message.text) if message.type in ("error", "warning") else None
    )
    yield looked
    context.close()


def run(*words: str | Path) -> int:
    parser = CommandParser(prog="e2lm view")
    VIEW_COMMAND.configure(parser)
    arguments: Namespace = parser.parse_args([str(word) for word in words])
    return VIEW_COMMAND.run(arguments)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("view") / "out"
    write_evaluation(folder)
    return folder


@pytest.fixture(scope="module")
def page_file(out: Path) -> Path:
    assert run(out, "--samples", "told") == 0
    return out / "view.html"


@contextlib.contextmanager
def served(out: Path) -> Iterator[str]:
    server = view_server(ViewSource(out), 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(10)
    server.server_close()


def asked(address: str, **headers: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=20) as found:
            return found.status, found.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


# -- without a browser ----------------------------------------------------------------------------------------------


def test_the_file_holds_everything_and_asks_nobody(page_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    html = page_file.read_text(encoding="utf-8")
    assert len(html) < 300_000
    assert re.findall(r'(?:src|href)="([^"#]+)"|url\(', html) == []
    assert f'<h1 id="answer">{ANSWER}</h1>' in html
    assert html.index(ANSWER) < html.index("<svg") < html.index("<table")
    assert "<b>?" not in html
    assert "1 line of verdicts.jsonl cannot be read" in html


def test_the_command_says_the_answer_and_where_the_page_is(out: Path, tmp_path: Path, capsys: Any) -> None:
    assert run(out, "--out", tmp_path / "a.html", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["answer"] == ANSWER
    assert told["bytes"] == (tmp_path / "a.html").stat().st_size


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--samples", "tolt"], "no such task. Did you mean 'told'"),
        (["--serve", "--samples", "told"], "leave out --out and --samples"),
        (["--port", "1"], "--port: needs --serve"),
    ],
)
def test_mistakes_are_one_line(words: list[str], told: str, out: Path) -> None:
    with pytest.raises(UserError, match=re.escape(told)):
        run(out, *words)


def test_what_was_evaluated_in_two_ways_is_two_tasks(tmp_path: Path) -> None:
    rows = [row("a", 10, "t", "acc", 0.3, key=key) for key in ('{"shots": 0}', '{"shots": 5}')]  # type: ignore[arg-type]
    Scores.from_rows(rows).write(tmp_path)
    assert ViewSource(tmp_path).overview()["tasks"] == ["t (shots=0)", "t (shots=5)"]


def test_the_server_answers_what_is_asked_and_nothing_else(out: Path) -> None:
    with served(out) as place:
        assert asked(f"{place}/")[0] == 200
        overview = json.loads(asked(f"{place}/overview.json")[1])
        assert overview["answer"] == ANSWER
        assert asked(f"{place}/overview.json?state={overview['state']}")[0] == 204
        curves = json.loads(asked(f"{place}/curves.json?task=told")[1])
        assert list(curves["acc"]["runs"]) == list(RUNS)
        assert json.loads(asked(f"{place}/item.json?task=told&doc=1")[1])["id"] == 1
        for wrong in (
            *("curves.json?task=../told", "item.json?task=told&doc=9", "item.json?task=told&doc=x"),
            *("fans.json?task=told&metric=x", "scores.csv", "../pyproject.toml"),
        ):
            assert asked(f"{place}/{wrong}")[0] == 404
        assert asked(f"{place}/items.json?task=close")[0] == 409
        assert asked(f"{place}/", Host="evil.example")[0] == 403


# -- in a browser ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1400, "light")])
def test_the_file_is_read_by_mouse_and_keyboard(browser: Any, page_file: Path, width: int, scheme: str) -> None:
    with opened(browser, width, scheme) as looked:
        page = looked.page
        page.goto(page_file.as_uri())
        page.wait_for_selector("#app[data-ready='told acc']")
        assert page.inner_text("h1") == ANSWER
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("h1").bounding_box()["y"] < 60
        assert page.locator("#plot").bounding_box()["y"] < 500
        assert page.locator("#plot path.line").count() == 3
        page.keyboard.press("1")
        assert page.locator("#plot path.line").count() == 2
        page.keyboard.press("s")
        assert page.locator("#plot path.raw").count() == 2
        page.keyboard.press("m")
        page.wait_for_selector("#app[data-ready='told bits_per_byte']")
        page.click("#table tbody tr:has-text('held_out')")
        page.wait_for_selector("#app[data-ready='held_out loss']")
        page.wait_for_selector("#app[data-fan='held_out loss']")
        assert "forecast: " in page.inner_text("#said")
        assert "alert" in page.inner_text("#verdicts")
        assert looked.errors == []
        assert [one for one in looked.requests if not one.startswith(("file://", "data:"))] == []


def test_items_are_found_by_what_became_of_them_and_by_their_text(browser: Any, page_file: Path) -> None:
    with opened(browser, 1400) as looked:
        page = looked.page
        page.goto(page_file.as_uri())
        page.wait_for_selector(".item[data-doc='0'] svg")
        assert page.locator("ol.list [data-doc]").count() == 4
        page.click("button.turned_wrong")
        assert page.locator("ol.list [data-doc]").count() == 1
        page.wait_for_selector(".item[data-doc='1'] svg")
        assert "Question 1 <b>?" in page.inner_text(".item")
        assert page.inner_text(".item li.gold").startswith("answer 0")
        assert page.locator(".item .plot").count() == 3
        page.click("#items .segments button >> nth=0")
        page.fill("#items input[type=search]", "question 3")
        assert page.locator("ol.list [data-doc]").count() == 1
        assert looked.errors == []


def test_a_reader_without_scripts_sees_answer_picture_and_table(browser: Any, page_file: Path) -> None:
    with opened(browser, 400, script=False) as looked:
        looked.page.goto(page_file.as_uri())
        assert looked.page.inner_text("h1") == ANSWER
        assert looked.page.locator("svg.e2lm-chart").first.is_visible()
        assert "run-a" in looked.page.inner_text("#table table")


def test_the_server_shows_what_is_new_without_being_asked(browser: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_evaluation(out)
    with served(out) as place, opened(browser, 1400) as looked:
        page = looked.page
        page.goto(place)
        page.wait_for_selector("#app[data-ready='told acc']")
        page.wait_for_selector(".item[data-doc='0'] svg")
        table = Scores.from_rows([row(name, 900, "told", "acc", 0.5) for name in RUNS])
        read_scores(out).scores.with_rows_of(table).write(out)
        page.wait_for_selector("h1:has-text('No run leads')", timeout=15000)
        assert [one for one in looked.requests if not one.startswith((place, "data:"))] == []
        assert looked.errors == []
