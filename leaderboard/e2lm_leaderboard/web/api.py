"""The API, version 1: what the pages show, for programs; described in ``/api/openapi.json``.

The wire models stand apart from the tables, so that no private number slips through.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from e2lm import ItemMetric
from e2lm.plugin_manager import plugin_manager
from e2lm_leaderboard.bundle.intake import read_incoming
from e2lm_leaderboard.ranking.table import (
    head_record,
    season_table,
    table_csv,
    table_parquet,
    table_records,
    visible_results,
)
from e2lm_leaderboard.store.store import Entry, Incoming, LimitReachedError, NotOpenError
from e2lm_leaderboard.web.pages import ROWS_PER_PAGE, comparison
from e2lm_leaderboard.web.website import Website


class ApiAnswer(BaseModel):
    """Base of every answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Problem(ApiAnswer):
    """Why a request is refused."""

    detail: str


class FindingAnswer(ApiAnswer):
    """One fault of a bundle."""

    check: str
    file: str
    field: str
    found: str
    expected: str
    fix: str


class Refusal(ApiAnswer):
    """All faults that can be seen at once."""

    detail: str
    findings: list[FindingAnswer] = []


class SubmissionAnswer(ApiAnswer):
    """A submission as it stands."""

    id: str
    number: int
    name: str
    title: str
    team: str
    state: str
    reason: str
    remarks: str
    received_at: str
    updated_at: str


class ResultAnswer(ApiAnswer):
    """One number."""

    split: str
    score: str
    series: str
    value: float | None
    low: float | None
    high: float | None
    p: float | None
    reason: str


class SubmissionPage(SubmissionAnswer):
    """A submission with its numbers."""

    rank: int | None
    results: list[ResultAnswer]


class ScoreAnswer(ApiAnswer):
    """One number beside the one that ranks."""

    value: float | None
    low: float | None
    high: float | None
    reason: str


class RankingRow(ApiAnswer):
    """One row of the table."""

    rank: int | None
    name: str
    title: str
    team: str
    value: float | None
    low: float | None
    high: float | None
    split: str
    score: str
    reason: str
    tries: int
    number: int
    received_at: str
    id: str
    flag: str
    rank_best: int | None
    rank_worst: int | None
    removal_items: float | None
    removal_checkpoints: float | None
    removal_series: float | None
    scores: dict[str, ScoreAnswer]


class RankingAnswer(ApiAnswer):
    """A page of the table; ``head`` is the hash of the log it comes from, at its row ``rows``, signed by ``key``."""

    split: str
    rows: int
    head: str
    key: str | None
    signature: str | None
    total: int
    ranking: list[RankingRow]


class ComparisonAnswer(ApiAnswer):
    """A minus B."""

    a: str
    b: str
    verdict: str
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_series: float | None
    series: int
    reason: str


class RulesAnswer(ApiAnswer):
    """What a submission is checked against: ``e2lm leaderboard check --season`` reads it."""

    rules: dict[str, Any]
    metrics: list[str]
    opens_at: str | None
    ends_at: str | None


class SeasonAnswer(ApiAnswer):
    """The season."""

    title: str
    ranking_score: str
    scores: list[str]
    split: str
    ends_at: str | None
    head: str
    version: int
    submissions: dict[str, int]


MOST_ROWS = 1000
#: Read where it arrives: for a small one a thread would cost more than the reading.
SMALL_ARCHIVE_BYTES = 64 * 1024

PathKey = Annotated[str, Path(pattern="^[0-9a-f]{4,64}$")]
QueryKey = Annotated[str, Query(pattern="^[0-9a-f]{4,64}$")]
BEARER = HTTPBearer(auto_error=False)
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]


Answers = dict[int | str, dict[str, Any]]


def _problems(*codes: int) -> Answers:
    answers: Answers = {code: {"model": Problem} for code in (403, 429, 503, *codes)}
    answers[422] = {"model": Refusal}
    return answers


def add_api(app: FastAPI, site: Website) -> None:
    """Add the routes."""
    _add_reading(app, site)
    _add_files(app, site)
    _add_posting(app, site)


def _add_reading(app: FastAPI, site: Website) -> None:
    @app.get("/api/v1/season", responses=_problems())
    def season() -> SeasonAnswer:
        table, own = site.table(), site.season
        counts = dict(Counter(entry.state for entry in site.store.entries()))
        return SeasonAnswer(
            title=own.title,
            ranking_score=own.ranking_score,
            scores=list(own.all_scores),
            split=table.split,
            ends_at=own.ends_at,
            head=table.head,
            version=table.version,
            submissions=counts,
        )

    @app.get("/api/v1/rules", responses=_problems())
    def rules() -> RulesAnswer:
        own = site.season
        return RulesAnswer(
            rules=own.rules.model_dump(mode="json"),
            metrics=sorted(plugin_manager().registered("e2lm_register_metrics", ItemMetric)),
            opens_at=own.opens_at,
            ends_at=own.ends_at,
        )

    @app.get("/api/v1/ranking", responses=_problems())
    def ranking(
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
        limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = ROWS_PER_PAGE,
    ) -> RankingAnswer:
        table = site.table()
        rows = table_records(table, table.rows[offset : offset + limit])
        return RankingAnswer.model_validate({**head_record(table), "total": len(table.rows), "ranking": rows})

    @app.get("/api/v1/private-ranking", responses=_problems(401))
    def private_ranking(credentials: Credentials) -> RankingAnswer:
        """By private scores; for the organiser only, before the season's end too."""
        token = "" if credentials is None else credentials.credentials
        team = site.team(token)
        if team is None or team[1] != "organiser":
            raise HTTPException(401, "this needs an organiser's token", {"WWW-Authenticate": "Bearer"})
        table = season_table(site.store, site.season, site.now(), private=True)
        return RankingAnswer.model_validate(
            {**head_record(table), "total": len(table.rows), "ranking": table_records(table)}
        )

    @app.get("/api/v1/submissions/{key}", responses=_problems(404))
    def submission(key: PathKey) -> SubmissionPage:
        entry, table = site.entry(key), site.table()
        row = table.row(entry.id)
        results = [asdict(result) for result in visible_results(table, site.store, entry)]
        return SubmissionPage.model_validate(
            {**_entry(entry), "rank": None if row is None else row.rank, "results": results}
        )

    @app.get("/api/v1/compare", responses=_problems(404))
    def compare(a: QueryKey, b: QueryKey) -> ComparisonAnswer:
        first, second = site.entry(a), site.entry(b)
        test = comparison(site.table(), site.store, first, second)
        if test is None:
            raise HTTPException(404, "the two share no series with a number")
        values = {
            name: getattr(test, name) for name in ("difference", "low", "high", "p", "p_series", "series", "reason")
        }
        return ComparisonAnswer(a=first.id, b=second.id, verdict=test.verdict, **values)


def _add_files(app: FastAPI, site: Website) -> None:
    csv_answer: Answers = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}
    binary = {"type": "string", "format": "binary"}
    kind = "application/vnd.apache.parquet"

    @app.get("/ranking.csv", responses=csv_answer | _problems(), response_class=Response)
    def as_csv() -> Response:
        return Response(table_csv(site.table()), media_type="text/csv; charset=utf-8")

    parquet_answer: Answers = {200: {"content": {kind: {"schema": binary}}}}

    @app.get("/ranking.parquet", responses=parquet_answer | _problems(), response_class=Response)
    def as_parquet() -> Response:
        return Response(table_parquet(site.table()), media_type=kind)


def _add_posting(app: FastAPI, site: Website) -> None:
    body = {
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        "required": True,
    }
    answers: Answers = {200: {"model": SubmissionAnswer, "description": "The same content was there already"}}

    @app.post(
        "/api/v1/submissions",
        status_code=201,
        response_model=SubmissionAnswer,
        responses=answers | _problems(401, 413),
        openapi_extra={"requestBody": body},
    )
    async def submit(request: Request, credentials: Credentials) -> Response:
        """Queue a bundle; sending the same content again changes nothing."""
        token = "" if credentials is None else credentials.credentials
        team = site.team(token)
        if team is None:
            return JSONResponse({"detail": "no team has this token"}, 401, {"WWW-Authenticate": "Bearer"})
        site.require_turn(team[0])
        archive = await _limited_body(request, site.season.rules.limits.archive_bytes)
        return await _answered(site, archive, team[0])


async def _limited_body(request: Request, limit: int) -> bytes:
    """The body, counted while it comes: what a header says of its length is nobody's promise."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise HTTPException(413, f"more than {limit} bytes")
        parts.append(part)
    return b"".join(parts)


async def _answered(site: Website, archive: bytes, team: str) -> Response:
    rules = site.season.rules
    if len(archive) <= SMALL_ARCHIVE_BYTES:
        incoming = read_incoming(rules, archive, team)
    else:
        incoming = await run_in_threadpool(read_incoming, rules, archive, team)
    if not isinstance(incoming, Incoming):
        findings = [finding.as_json() for finding in incoming]
        return JSONResponse({"detail": "the bundle is refused", "findings": findings}, 422)
    try:
        later = site.store.submit_later(incoming, rules.submissions_per_day, site.now(), site.season.admission)
        entry, is_new = await asyncio.wrap_future(later)
    except LimitReachedError as error:
        return JSONResponse({"detail": str(error)}, 429)
    except NotOpenError as error:
        return JSONResponse({"detail": str(error)}, 403)
    return JSONResponse(_entry(entry), 201 if is_new else 200)


def _entry(entry: Entry) -> dict[str, Any]:
    return asdict(entry)
