"""What the API gives: the wire models, apart from the tables, so that no private number slips through."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """Base of every answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Problem(Answer):
    """Why a request is refused."""

    detail: str


class FindingAnswer(Answer):
    """One fault of a bundle."""

    check: str
    file: str
    field: str
    found: str
    expected: str
    fix: str


class Refusal(Answer):
    """All faults that can be seen at once."""

    detail: str
    findings: list[FindingAnswer] = []


class SubmissionAnswer(Answer):
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


class ResultAnswer(Answer):
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


class ScoreAnswer(Answer):
    """One number beside the one that ranks."""

    value: float | None
    low: float | None
    high: float | None
    reason: str


class RankingRow(Answer):
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
    scores: dict[str, ScoreAnswer]


class RankingAnswer(Answer):
    """A page of the table; ``head`` is the hash of the log it comes from."""

    split: str
    head: str
    total: int
    ranking: list[RankingRow]


class ComparisonAnswer(Answer):
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


class SeasonAnswer(Answer):
    """The season."""

    title: str
    ranking_score: str
    scores: list[str]
    split: str
    ends_at: str | None
    head: str
    version: int
    submissions: dict[str, int]
