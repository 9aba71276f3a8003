"""The server: what it shows, what it hides, whom it refuses."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from e2lm_leaderboard.bundle.bundle import Bundle
from e2lm_leaderboard.cli.entrant import SUBMISSION_YAML, sample_files
from e2lm_leaderboard.ranking.ranking import ABOVE_NULL, RankedEntry
from e2lm_leaderboard.ranking.removal import REMOVAL, removal_split
from e2lm_leaderboard.ranking.table import season_table
from e2lm_leaderboard.season.season import Season
from e2lm_leaderboard.store.database import database_url
from e2lm_leaderboard.store.store import Entry, Result, Store
from e2lm_leaderboard.store.tables import State
from e2lm_leaderboard.web.app import create_app
from e2lm_leaderboard.web.export import export_season
from e2lm_leaderboard.web.guard import token_hash
from e2lm_leaderboard.web.pages import range_pictures, sparkline, team_key
from tests.e2lm_leaderboard.season_samples import NOW, PRIVATE_VALUE, SCORES, TOKEN, details, results, submit

Filled = tuple[Season, Store]
BASE = "http://127.0.0.1:8000"
SAMPLE = Bundle({name: text.encode() for name, text in sample_files().items()})
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/zip"}


@pytest.fixture
def client(filled: Filled) -> Iterator[TestClient]:
    season, store = filled
    with TestClient(create_app(store, season, now=lambda: NOW), base_url=BASE) as client:
        yield client


def all_pages(client: TestClient) -> list[str]:
    """Every address that the description and the pages lead to."""
    keys = [row["id"] for row in client.get("/api/v1/ranking").json()["ranking"]]
    pages = ["/", "/status", "/submit", "/ranking.csv", "/ranking.parquet", "/api/v1/season", "/api/v1/ranking"]
    pages += ["/style.css", "/sort.js", "/api/openapi.json", f"/compare?a={keys[0]}&b={keys[1]}"]
    pages += [f"/api/v1/compare?a={keys[0]}&b={keys[1]}"]
    pages += re.findall(r'href="(/teams/[0-9a-f]+)"', client.get("/").text)
    return pages + [f"{start}/{key}" for key in keys for start in ("/submissions", "/api/v1/submissions")]


def test_every_page_answers_with_strict_headers(client: TestClient) -> None:
    for address in all_pages(client):
        answer = client.get(address)
        assert answer.status_code == 200, address
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_no_address_tells_a_private_score_before_the_end(client: TestClient, filled: Filled) -> None:
    for address in all_pages(client):
        assert str(PRIVATE_VALUE).encode() not in client.get(address).content, address
        assert b'"private"' not in client.get(address).content, address
    season, store = filled
    over = season.model_copy(update={"ends_at": (NOW + timedelta(seconds=1)).isoformat()})
    with TestClient(create_app(store, over, now=lambda: NOW + timedelta(seconds=1)), base_url=BASE) as later:
        answer = later.get("/api/v1/ranking").json()
    assert answer["split"] == "private"
    assert {row["value"] for row in answer["ranking"]} == {PRIVATE_VALUE}


def test_no_address_tells_more_than_the_ladder_before_the_end(filled: Filled) -> None:
    season, store = filled
    exact = {"good": 0.8123456, "worse": 0.6543456}
    key = submit(store, "worse", "reds")
    for state in (State.CHECKING, State.RUNNING):
        store.move(key, state, NOW)
    store.record(key, results(exact["worse"]), details("worse", exact["worse"]), NOW)
    good = next(entry.id for entry in store.entries() if entry.name == "good")
    store.record(good, results(exact["good"]), details("good", exact["good"]), NOW)
    with TestClient(create_app(store, season, now=lambda: NOW), base_url=BASE) as client:
        assert [row["name"] for row in client.get("/api/v1/ranking").json()["ranking"]][:2] == ["good", "fair"]
        answer = client.get(f"/api/v1/submissions/{key}").json()
        assert [one["value"] for one in answer["results"]] == [None]
        assert "no improvement" in answer["results"][0]["reason"]
        assert client.get(f"/api/v1/compare?a={good}&b={key}").status_code == 404
        pages = [*all_pages(client), f"/submissions/{key}", f"/compare?a={good}&b={key}"]
        for address in pages:
            content = client.get(address).text
            assert "0.81234" not in content, address
            assert "0.65" not in content, address
        fair = next(entry.id for entry in store.entries() if entry.name == "fair")
        told = client.get(f"/api/v1/compare?a={good}&b={fair}").json()
        assert told["difference"] == pytest.approx(0.07), "of rounded numbers: 0.81 and 0.74"


def test_what_comes_after_the_end_is_refused_with_both_times(filled: Filled) -> None:
    season, store = filled
    over = season.model_copy(update={"ends_at": NOW.isoformat()})
    with TestClient(create_app(store, over, now=lambda: NOW + timedelta(seconds=5)), base_url=BASE) as client:
        answer = client.post("/api/v1/submissions", content=SAMPLE.packed(), headers=HEADERS)
        files = {"bundle": ("b.zip", SAMPLE.packed(), "application/zip")}
        form = client.post("/submit", data={"token": TOKEN}, files=files)
    assert (answer.status_code, form.status_code) == (403, 403)
    assert "until 2026-03-01T12:00:00" in answer.json()["detail"]
    assert "it is 2026-03-01T12:00:05" in answer.json()["detail"]
    assert len(store.entries()) == 6


def test_what_came_after_the_end_by_an_earlier_version_has_no_rank(filled: Filled) -> None:
    season, store = filled
    over = season.model_copy(update={"ends_at": NOW.isoformat()})
    assert season_table(store, over, NOW + timedelta(days=1)).rows == []


def test_private_scores_are_for_the_organiser_and_for_no_cache(client: TestClient, filled: Filled) -> None:
    address = "/api/v1/private-ranking"
    filled[1].add_team("judges", token_hash("judge"), "organiser", NOW)
    answer = client.get(address, headers={"Authorization": "Bearer judge"})
    assert {row["value"] for row in answer.json()["ranking"]} == {PRIVATE_VALUE}
    assert "etag" not in answer.headers
    assert client.get(address).status_code == 401
    assert client.get(address, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 401


def test_the_ranking_ties_what_cannot_be_told_apart(client: TestClient) -> None:
    rows = client.get("/api/v1/ranking").json()["ranking"]
    assert [(row["name"], row["rank"]) for row in rows] == [("good", 1), ("fair", 1), ("noisy", 3), ("letters", 3)]


def test_text_of_others_is_escaped(client: TestClient, filled: Filled) -> None:
    hostile = next(entry for entry in filled[1].entries() if entry.name == "hostile")
    for address in (f"/submissions/{hostile.id}", "/status"):
        page = client.get(address).text
        assert "<img src=x" not in page
        assert "<b>x</b>" not in page
    assert "<script>alert" not in client.get(all_pages(client)[-2]).text


def test_a_bundle_is_taken_once_and_the_second_time_is_no_second_row(client: TestClient) -> None:
    first = client.post("/api/v1/submissions", content=SAMPLE.packed(), headers=HEADERS)
    again = client.post("/api/v1/submissions", content=SAMPLE.packed(), headers=HEADERS)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert first.json()["state"] == "queued"
    assert SAMPLE.content_id in client.get("/status").text


def test_the_same_bundle_in_parallel_is_one_row(client: TestClient, filled: Filled) -> None:
    before = len(filled[1].entries())
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(
                lambda _: client.post("/api/v1/submissions", content=SAMPLE.packed(), headers=HEADERS).status_code,
                range(25),
            )
        )
    assert sorted(set(answers)) == [200, 201]
    assert answers.count(201) == 1
    assert len(filled[1].entries()) == before + 1


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"", {}, 401),
        (b"", {"Authorization": "Bearer wrong"}, 401),
        (b"no zip", HEADERS, 422),
        (b"x" * (33 << 20), HEADERS, 413),
    ],
)
def test_what_is_no_submission_is_refused(
    client: TestClient, content: bytes, headers: dict[str, str], status: int
) -> None:
    answer = client.post("/api/v1/submissions", content=content, headers=headers)
    assert answer.status_code == status
    assert answer.json()["detail"]


def test_faults_are_listed_in_the_answer(client: TestClient) -> None:
    broken = Bundle({**SAMPLE.files, "submission.yaml": b"name: X\n"})
    answer = client.post("/api/v1/submissions", content=broken.packed(), headers=HEADERS)
    assert answer.status_code == 422
    assert {finding["field"] for finding in answer.json()["findings"]} >= {"name", "title", "license"}


def test_the_daily_limit_is_429(filled: Filled) -> None:
    season, store = filled
    strict = season.model_copy(update={"rules": season.rules.model_copy(update={"submissions_per_day": 1})})
    with TestClient(create_app(store, strict, now=lambda: NOW), base_url=BASE) as client:
        answer = client.post("/api/v1/submissions", content=SAMPLE.packed(), headers=HEADERS)
    assert answer.status_code == 429
    assert "within 24 hours" in answer.json()["detail"]


def test_a_team_and_an_address_have_their_share_of_a_minute_and_no_more(filled: Filled) -> None:
    season, store = filled
    few = season.model_copy(update={"reads_per_minute": 3, "posts_per_minute": 2})
    app = create_app(store, few, now=lambda: NOW, trusts_proxy=True)

    def asked(address: str, place: str, proxy: str = "127.0.0.1", **more: Any) -> tuple[int, int]:
        with TestClient(app, base_url=BASE, client=(proxy, 1)) as one:
            answer = one.request(headers={"X-Forwarded-For": address, **more.pop("headers", {})}, url=place, **more)
        return answer.status_code, int(answer.headers.get("retry-after", 0))

    # Four that the cache does not hold, and one that it does.
    found = [asked("203.0.113.1", f"/api/v1/ranking?offset={place}", method="GET") for place in (0, 1, 2, 3, 0)]
    assert [status for status, _ in found] == [200, 200, 200, 429, 200]
    assert found[3][1] == 20
    assert asked("203.0.113.2", "/api/v1/ranking?offset=4", method="GET")[0] == 200
    assert asked("203.0.113.1", "/api/v1/ranking?offset=5", proxy="203.0.113.3", method="GET")[0] == 200, "a lie"

    post = {"method": "POST", "content": b"", "headers": HEADERS}
    assert [asked("2001:db8::1", "/api/v1/submissions", **post)[0] for _ in range(2)] == [422, 422]
    assert asked("2001:db8::2", "/api/v1/submissions", **post) == (429, 30), "the same network"
    assert asked("203.0.113.9", "/api/v1/submissions", **post) == (429, 30), "the same team"
    form = {"method": "POST", "data": {"token": TOKEN}, "files": {"bundle": ("b.zip", SAMPLE.packed())}}
    assert asked("203.0.113.8", "/submit", **form) == (429, 30)


def test_the_form_leads_to_the_submission_or_says_why_not(client: TestClient) -> None:
    def sent(token: str, archive: bytes) -> Any:
        files = {"bundle": ("b.zip", archive, "application/zip")}
        return client.post("/submit", data={"token": token}, files=files, follow_redirects=False)

    answer = sent(TOKEN, SAMPLE.packed())
    assert (answer.status_code, answer.headers["location"]) == (303, f"/submissions/{SAMPLE.content_id}")
    assert "queued" in client.get(answer.headers["location"]).text
    assert "No team has this token" in sent("wrong", SAMPLE.packed()).text
    broken = Bundle({**SAMPLE.files, "submission.yaml": SUBMISSION_YAML.replace("name: c", "name: C").encode()})
    assert "submission.yaml: name" in sent(TOKEN, broken.packed()).text


@pytest.mark.parametrize("token", [b"wrong", None])
def test_a_form_is_read_no_further_than_to_a_token_that_nobody_has(filled: Filled, token: bytes | None) -> None:
    season, store = filled
    read = 0

    def body() -> Iterator[bytes]:
        nonlocal read
        if token is not None:
            yield b'--x\r\nContent-Disposition: form-data; name="token"\r\n\r\n' + token + b"\r\n"
        yield b'--x\r\nContent-Disposition: form-data; name="bundle"; filename="b.zip"\r\n\r\n'
        for _ in range(64):
            read += 1024
            yield b"0" * 1024

    parts = body()

    async def receive() -> dict[str, Any]:
        part = next(parts, b"")
        return {"type": "http.request", "body": part, "more_body": bool(part)}

    statuses = []

    async def send(message: dict[str, Any]) -> None:
        statuses.append(message.get("status"))

    headers = {"host": "127.0.0.1:8000", "content-type": "multipart/form-data; boundary=x", "content-length": "70000"}
    scope = {
        "type": "http", "method": "POST", "path": "/submit", "raw_path": b"/submit", "query_string": b"",
        "headers": [(key.encode(), value.encode()) for key, value in headers.items()], "scheme": "http",
        "server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 1), "root_path": "", "http_version": "1.1",
    }  # fmt: skip
    asyncio.run(create_app(store, season, now=lambda: NOW)(scope, receive, send))
    assert statuses[0] == 401
    assert read <= 8192


def test_other_hosts_and_other_sites_are_refused(client: TestClient) -> None:
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 403
    assert client.get("/", headers={"Host": "localhost:9999"}).status_code == 200
    evil = {**HEADERS, "Origin": "http://evil.example"}
    assert client.post("/api/v1/submissions", content=SAMPLE.packed(), headers=evil).status_code == 403
    own = {**HEADERS, "Origin": BASE}
    assert client.post("/api/v1/submissions", content=SAMPLE.packed(), headers=own).status_code == 201


def test_a_page_that_did_not_change_is_not_sent_again(client: TestClient, filled: Filled) -> None:
    first = client.get("/")
    again = client.get("/", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    client.post("/api/v1/submissions", content=SAMPLE.packed(), headers=HEADERS)
    assert client.get("/", headers={"If-None-Match": first.headers["etag"]}).status_code == 200
    assert replace(filled[1].entries()[-1], reason="").name == "counting-in-words"


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/submissions/ffff", 404),
        ("/api/v1/submissions/ffff", 404),
        ("/api/v1/submissions/nothex", 422),
        ("/api/v1/ranking?limit=0", 422),
        ("/api/v1/ranking?offset=x", 422),
        ("/compare?a=ffff&b=ffff", 404),
        ("/?page=2", 404),
        ("/docs", 404),
    ],
)
def test_wrong_addresses_are_told(client: TestClient, address: str, status: int) -> None:
    answer = client.get(address)
    assert answer.status_code == status
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("/submissions/ffff", 404, "ffff"),
        ("/submissions/%25", 404, "there is none"),
        ("/compare?a=ffff&b=<b>", 422, "Query.b: String should match pattern"),
        ("/?page=2", 404, "The ranking has 1 page."),
        ("/nowhere", 404, "There is no such page."),
    ],
)
def test_a_browser_is_told_by_a_page(client: TestClient, address: str, status: int, words: str) -> None:
    answer = client.get(address, headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert f"<h1>{status} " in answer.text
    assert words in answer.text
    assert "<b>" not in answer.text
    assert 'href="/"' in answer.text
    assert client.get("/api/v1/submissions/ffff", headers={"Accept": "text/html"}).json()["detail"]


def test_csv_and_parquet_hold_the_same_rows(client: TestClient) -> None:
    rows = client.get("/api/v1/ranking").json()["ranking"]
    lines = client.get("/ranking.csv").text.splitlines()
    table = pq.read_table(io.BytesIO(client.get("/ranking.parquet").content)).to_pylist()
    assert [line.split(",")[1] for line in lines[1:]] == [row["name"] for row in rows]
    for row in rows:
        for name, number in row.pop("scores").items():
            row |= {name if part == "value" else f"{name}_{part}": value for part, value in number.items()}
    assert table == json.loads(json.dumps(rows))
    assert lines[0].split(",") == list(table[0])
    assert "e2lmc_cs_reason" in table[0]


def test_the_ranking_shows_the_official_scores_and_why_one_is_missing(client: TestClient) -> None:
    page = client.get("/").text
    for head in ("SQ", "RC", "CS", "Global"):
        assert f'<button type="button">{head}</button>' in page
    assert "0.910<br><small>0.810 to 0.950</small>" in page
    assert "<strong>RC</strong> of all: no interval: one item" in page
    assert "<strong>CS</strong> of all: no control series" in page
    row = client.get("/api/v1/ranking").json()["ranking"][0]
    assert row["scores"]["e2lmc_sq"] == {"value": 0.91, "low": 0.81, "high": 0.95, "reason": ""}
    assert row["scores"]["e2lmc_cs"] == {"value": None, "low": None, "high": None, "reason": "no control series"}


def test_the_description_names_what_a_refusal_looks_like(client: TestClient) -> None:
    described = client.get("/api/openapi.json").json()["paths"]
    answers = [one["responses"] for path in described.values() for one in path.values()]
    assert answers
    for one in answers:
        assert {"403", "422", "503"} <= one.keys()
        assert one["422"]["content"]["application/json"]["schema"]["$ref"].endswith("/Refusal")


def test_head_gives_the_headers_of_get_and_no_body(client: TestClient) -> None:
    for address in ("/", "/ranking.csv", "/status", "/api/v1/season"):
        head, whole = client.head(address), client.get(address)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == whole.headers["content-type"]
        assert int(head.headers["content-length"]) == len(whole.content)


def test_an_empty_season_says_how_to_enter(tmp_path: Path) -> None:
    store = Store(database_url(str(tmp_path)))
    with TestClient(create_app(store, Season(title="Empty"), now=lambda: NOW), base_url=BASE) as client:
        assert "e2lm leaderboard new-submission" in client.get("/").text
    store.close()


def test_a_submission_page_says_what_the_benchmark_is_and_which_try_it_was(filled: Filled) -> None:
    season, store = filled
    key = submit(store, "second", "reds")
    for state in (State.CHECKING, State.RUNNING):
        store.move(key, state, NOW)
    about = {
        "description": "Sums in words.",
        "metric": "acc",
        "language": "en",
        "license": "MIT",
        "tier": "declarative",
    }
    store.record(key, results(0.95), {**details("second", 0.95), "about": {**about, "sources": ["none"]}}, NOW)
    with TestClient(create_app(store, season, now=lambda: NOW), base_url=BASE) as client:
        page, first = (client.get(f"/submissions/{one}").text for one in (key, store.entries()[0].id))
    assert "Sums in words." in page
    assert "Metric acc, language en, licence MIT, declarative." in page
    assert "try 2 of this team" in page
    assert "try 2" not in first
    assert page.index("<td>signal_quality</td><td>run-b</td>") > page.index("<td>e2lmc_global</td>")


def test_the_ranking_draws_intervals_on_one_scale() -> None:
    rows = [
        RankedEntry(
            Entry("a" * 64, 1, "a", "A", "t", "scored", "", "", ""), Result("published", "s", "", *numbers), 1, 1
        )
        for numbers in ((0.5, 0.0, 0.75), (0.9, 0.8, 1.0), (0.2, None, None))
    ]
    picture = range_pictures(rows)
    ends = [re.findall(r'(?:x1|cx|x2)="([0-9.]+)"', picture(row.result)) for row in rows]
    assert ends == [["4.0", "88.0", "60.0"], ["93.6", "116.0", "104.8"], ["26.4", "26.4", "26.4"]]


SPLITS = ("public", "private")
#: What two seasons differ in: a try that beat its team's best, by less than the Ladder's step, and others by anything.
HIDDEN = (
    {"good": 0.808, "second": 0.66, "third": 0.1, "best": 0.871, "last": 0.84},
    {"good": 0.812, "second": 0.01, "third": 0.79, "best": 0.869, "last": 0.2},
)


def told_of(folder: Path, values: dict[str, float]) -> dict[str, bytes]:
    """All that the server and an export tell of five tries of one team and one of another, but the head of the log."""
    season = Season(title="Sample season")
    season.write(folder)
    store = Store(database_url(str(folder)))
    store.set_setting("split_salt", "salt")
    keys = [submit(store, name, "reds") for name in values] + [submit(store, "fair", "blues")]
    for key, (name, value) in zip(keys, [*values.items(), ("fair", 0.74)], strict=True):
        for state in (State.CHECKING, State.RUNNING):
            store.move(key, state, NOW)
        level = round(value, 2) if name in ("good", "best", "fair") else value
        found = [
            *(replace(one, value=value - 0.001, low=None, high=None) for one in results(level)),
            *(Result(split, ABOVE_NULL, "", value, value - 0.1, value + 0.05) for split in SPLITS),
        ]
        shifts = {"items": [[1, 50, -level / 9, level / 9], [5, 50, -level / 2, level / 2]]}
        found = [one for one in found if one.split == "public"]
        found.append(Result(removal_split("public"), REMOVAL, "", None, reason=json.dumps(shifts)))
        found.append(Result(removal_split("private"), REMOVAL, "", None, reason=f'{{"items": [[1, 9, 0.0, {value}]]}}'))
        store.record(key, found, details(name, level), NOW)
    pages = ["/", "/status", "/submit", "/ranking.csv", "/ranking.parquet", "/api/v1/season", "/api/v1/ranking"]
    pages.append(f"/teams/{team_key('reds')}")
    pages += [f"{start}/{key}" for key in keys for start in ("/submissions", "/api/v1/submissions")]
    pages += [f"{start}?a={a}&b={b}" for a in keys for b in keys for start in ("/compare", "/api/v1/compare")]
    with TestClient(create_app(store, season, now=lambda: NOW), base_url=BASE) as client:
        told = {address: client.get(address).content for address in pages}
    export_season(store, season, folder / "site", NOW)
    told |= {str(path.relative_to(folder)): path.read_bytes() for path in (folder / "site").rglob("*.*")}
    head = store.head().hash
    store.close()
    return {
        place: content.replace(head.encode(), b"").replace(head[:16].encode(), b"") for place, content in told.items()
    }


def test_a_team_has_a_page_of_all_it_entered_with_its_own_log_and_nothing_for_the_organiser(filled: Filled) -> None:
    season, store = filled
    key = submit(store, "second", "reds")
    store.move(key, State.REFUSED, NOW, "too few items", notes="the organiser alone knows")
    with TestClient(create_app(store, season, now=lambda: NOW), base_url=BASE) as client:
        address = f"/teams/{team_key('reds')}"
        assert f'href="{address}"' in client.get("/").text
        page = client.get(address).text
        assert client.get("/teams/ffff").status_code == 404
    assert re.findall(r"</time> (\w+)", page) == ["queued", "refused", "queued", "checking", "running", "scored"]
    assert "too few items" in page
    assert "the organiser alone" not in page
    assert team_key("blues") not in page


def test_a_curve_is_drawn_beside_its_row_and_told_as_numbers_on_its_page(client: TestClient) -> None:
    page, (key, *_) = client.get("/").text, client.get("/api/v1/ranking").json()["ranking"]
    assert page.count('class="spark"') == len(SCORES)
    assert "curve, from 0.250 to 0.660" in page
    own = client.get(f"/submissions/{key['id']}").text
    assert re.findall(r'<th class="number" scope="row">(\d+)</th><td class="number">([\d.]+)', own) == [
        ("0", "0.250"), ("10", "0.380"), ("20", "0.520"), ("30", "0.660")
    ]  # fmt: skip
    assert "run-a, 30k: 0.660" in own, "a pointer over a point is told what it is"


def test_a_curve_that_is_flat_or_of_one_point_or_of_series_of_other_lengths_breaks_no_row() -> None:
    for curves in ([], [{"values": [0.5]}], [{"values": [0.1, 0.2]}, {"values": [0.1]}], [{"values": [None, 0.1]}]):
        assert sparkline(curves) == ""
    assert 'points="0,19 120,19"' in sparkline([{"values": [0.5, 0.5]}])


def test_what_the_ladder_hides_changes_no_byte_of_any_address_before_the_end(tmp_path: Path) -> None:
    first, second = (told_of(tmp_path / str(number), values) for number, values in enumerate(HIDDEN))
    assert [place for place in first if first[place] != second[place]] == []
    assert len(first) > 90
    assert b"% of items" in first["/"]
