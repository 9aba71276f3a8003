"""The server: pages for people, an API for programs, both from the same functions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from e2lm_leaderboard.bundle.intake import take_in
from e2lm_leaderboard.messages import say
from e2lm_leaderboard.season.season import Season, utc_now
from e2lm_leaderboard.season.signature import Signer
from e2lm_leaderboard.store.database import StoreUnavailableError
from e2lm_leaderboard.store.store import LimitReachedError, NotOpenError, Store
from e2lm_leaderboard.web.api import QueryKey, add_api
from e2lm_leaderboard.web.cache import PageCache
from e2lm_leaderboard.web.export import STATIC_FILES, static_file
from e2lm_leaderboard.web.form import UnknownSenderError, sent_archive
from e2lm_leaderboard.web.guard import RequestGuard
from e2lm_leaderboard.web.pages import (
    ServerLinks,
    compare_page,
    error_page,
    page_count,
    ranking_page,
    status_page,
    submission_page,
    submit_page,
    team_key,
    team_page,
)
from e2lm_leaderboard.web.rate_limit import AddressLimit, Buckets
from e2lm_leaderboard.web.website import Website

LINKS = ServerLinks()
MEDIA_TYPES = {"css": "text/css", "js": "text/javascript"}
#: A form around the archive adds a few lines.
FORM_BYTES = 64 * 1024
UNCACHED = frozenset({"/submit", "/api/v1/private-ranking"})


def create_app(
    store: Store,
    season: Season,
    hosts: tuple[str, ...] = (),
    now: Callable[[], datetime] = utc_now,
    signer: Signer | None = None,
    trusts_proxy: bool = False,
) -> Any:
    """The ASGI application; ``signer`` signs the head of the log on every page.

    ``trusts_proxy`` believes what this machine forwards of whom it forwards for.
    """
    site = Website(store, season, now, signer)
    # The documentation pages of FastAPI load scripts from elsewhere; the description itself is ours.
    app = FastAPI(title=season.title, version="1", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    _add_pages(app, site)
    _add_form(app, site)
    add_api(app, site)
    _add_errors(app, site)
    reads, posts = Buckets(season.reads_per_minute), Buckets(season.posts_per_minute)
    limited = AddressLimit(app, reads, posts, trusts_proxy)
    cached = PageCache(limited, site.version, lambda path: path not in UNCACHED)
    return RequestGuard(cached, hosts)


def _add_pages(app: FastAPI, site: Website) -> None:
    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    def ranking(page: Annotated[int, Query(ge=1, le=10_000)] = 1) -> str:
        table = site.table()
        if page > page_count(table):
            raise HTTPException(404, say("so_many_pages", pages=page_count(table)))
        return ranking_page(table, site.store, LINKS, page)

    @app.get("/submissions/{key}", response_class=HTMLResponse, include_in_schema=False)
    def submission(key: str) -> str:
        return submission_page(site.table(), site.store, site.entry(key), LINKS)

    @app.get("/teams/{key}", response_class=HTMLResponse, include_in_schema=False)
    def team(key: str) -> str:
        table, entries = site.table(), site.store.entries()
        name = next((one for one in table.entered if team_key(one) == key), None)
        if name is None:
            raise HTTPException(404, say("no_such_page"))
        history = site.store.history([entry.id for entry in entries if entry.team == name])
        return team_page(table, name, entries, history, LINKS)

    @app.get("/compare", response_class=HTMLResponse, include_in_schema=False)
    def compare(a: QueryKey, b: QueryKey) -> str:
        return compare_page(site.table(), site.store, site.entry(a), site.entry(b), LINKS)

    @app.get("/status", response_class=HTMLResponse, include_in_schema=False)
    def status() -> str:
        return status_page(site.table(), site.store, LINKS)

    for name in STATIC_FILES:
        _add_static(app, name)


def _add_static(app: FastAPI, name: str) -> None:
    content, kind = static_file(name), MEDIA_TYPES[name.rpartition(".")[2]]

    @app.get(f"/{name}", include_in_schema=False)
    def file() -> Response:
        return Response(content, media_type=kind)


def _add_form(app: FastAPI, site: Website) -> None:
    @app.get("/submit", response_class=HTMLResponse, include_in_schema=False)
    def form() -> str:
        return submit_page(site.table(), LINKS)

    @app.post("/submit", include_in_schema=False)
    async def submit(request: Request) -> Response:
        require_length(request, site.season.rules.limits.archive_bytes + FORM_BYTES)
        try:
            team, archive = await sent_archive(request, lambda token: _in_turn(site, token))
        except UnknownSenderError:
            return HTMLResponse(submit_page(site.table(), LINKS, say("no_such_token")), 401)
        return await run_in_threadpool(_submitted, site, archive, team)


def _in_turn(site: Website, token: str) -> str | None:
    """The team of a token, where it may send something now."""
    known = site.team(token)
    if known is not None:
        site.require_turn(known[0])
    return None if known is None else known[0]


def require_length(request: Request, limit: int) -> None:
    """Refuse a form whose length is unknown or too large before it is read."""
    length = request.headers.get("content-length", "")
    if not length.isdecimal() or int(length) > limit:
        raise HTTPException(413, say("too_large"))


def _submitted(site: Website, archive: bytes, team: str) -> Response:
    try:
        intake = take_in(site.store, site.season.rules, archive, team, site.now(), site.season.admission)
    except LimitReachedError as error:
        return HTMLResponse(submit_page(site.table(), LINKS, str(error)), 429)
    except NotOpenError as error:
        return HTMLResponse(submit_page(site.table(), LINKS, str(error)), 403)
    if intake.entry is None:
        told = [finding.sentence for finding in intake.findings]
        return HTMLResponse(submit_page(site.table(), LINKS, say("refused"), told), 422)
    return RedirectResponse(LINKS.submission(intake.entry.id), 303)


def _add_errors(app: FastAPI, site: Website) -> None:
    """Every refusal has one shape, and for a person's browser it is a page."""

    def told(
        request: Request, status: int, detail: str, headers: Mapping[str, str] | None = None, **more: object
    ) -> Response:
        if is_read_by_a_person(request):
            return HTMLResponse(error_page(site.season, LINKS, status, detail), status, headers)
        return JSONResponse({"detail": detail, **more}, status, headers)

    @app.exception_handler(StoreUnavailableError)
    async def unavailable(request: Request, error: StoreUnavailableError) -> Response:
        logging.getLogger(__name__).error("%s", error)  # who runs the server is told more than who asks
        return told(request, 503, say("no_database"), {"Retry-After": "60"})

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return told(request, 422, f"{place}: {first['msg']}", findings=[])

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        unknown = error.detail == HTTPStatus.NOT_FOUND.phrase
        return told(request, error.status_code, say("no_such_page") if unknown else error.detail, error.headers)


def is_read_by_a_person(request: Request) -> bool:
    """Whether a browser asks for a page, and not a program for data."""
    return not request.url.path.startswith("/api/") and "text/html" in request.headers.get("accept", "")
