"""The tables of a competition, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

#: Version of what follows; :mod:`e2lm_leaderboard.migrations` leads to it.
SCHEMA_VERSION = 2

METADATA = MetaData()

SETTINGS = Table(
    "settings", METADATA, Column("key", String(60), primary_key=True), Column("value", Text, nullable=False)
)

TEAMS = Table(
    "teams",
    METADATA,
    Column("name", String(60), primary_key=True),
    Column("token_sha256", String(64), nullable=False, unique=True),
    Column("role", String(20), nullable=False),
    Column("created_at", String(40), nullable=False),
)

BUNDLES = Table(
    "bundles",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("archive", LargeBinary, nullable=False),
)

#: ``received_at`` and ``updated_at`` are ISO 8601 in UTC, so that their order as text is that of time.
SUBMISSIONS = Table(
    "submissions",
    METADATA,
    Column("id", String(64), ForeignKey("bundles.id"), primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("name", String(60), nullable=False),
    Column("title", Text, nullable=False),
    Column("team", String(60), nullable=False),
    Column("state", String(20), nullable=False),
    Column("reason", Text, nullable=False),
    Column("received_at", String(40), nullable=False),
    Column("updated_at", String(40), nullable=False),
    Column("remarks", Text, nullable=False, server_default=""),
    Index("submissions_by_team", "team", "received_at"),
    Index("submissions_by_state", "state", "number"),
)

#: ``series`` is empty for a number over all series; ``split`` is public, private, all or published.
RESULTS = Table(
    "results",
    METADATA,
    Column("submission", String(64), ForeignKey("submissions.id"), primary_key=True),
    Column("split", String(20), primary_key=True),
    Column("score", String(60), primary_key=True),
    Column("series", String(120), primary_key=True),
    Column("value", Float),
    Column("low", Float),
    Column("high", Float),
    Column("p", Float),
    Column("reason", Text, nullable=False),
    Index("results_by_score", "split", "score", "series"),
)

#: What a page shows beside the numbers: curves, per-task table, samples, environment; JSON.
DETAILS = Table(
    "details",
    METADATA,
    Column("submission", String(64), ForeignKey("submissions.id"), primary_key=True),
    Column("payload", Text, nullable=False),
)

AUDIT = Table(
    "audit",
    METADATA,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("at", String(40), nullable=False),
    Column("event", String(40), nullable=False),
    Column("subject", String(80), nullable=False),
    Column("payload", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)
