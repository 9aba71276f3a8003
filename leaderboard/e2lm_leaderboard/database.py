"""Engines: SQLite as durable as it can be, PostgreSQL by URL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError

from e2lm.errors import UserError, one_line

BUSY_MS = 10_000

#: Taken by whoever writes to PostgreSQL, so that the audit log has one head; any number does.
WRITER_LOCK = 0x65326C6D


def database_url(place: str) -> str:
    """The URL of ``place``: one as it is, or the file ``leaderboard.db`` of a folder.

    >>> database_url("postgresql+psycopg://localhost/x")
    'postgresql+psycopg://localhost/x'
    """
    if "://" in place:
        return place.replace("postgresql://", "postgresql+psycopg://", 1)
    return f"sqlite:///{Path(place) / 'leaderboard.db'}"


def open_engine(url: str, writes: bool) -> Engine:
    """An engine on ``url``; one that ``writes`` takes SQLite's write lock at the start of each transaction.

    A read transaction cannot become a writing one once another writer has committed, whatever the timeout: hence the
    lock at the start.
    """
    try:
        engine = create_engine(url, pool_size=2 if writes else 8, max_overflow=0 if writes else 16)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, ValueError) as error:
        raise UserError(
            f"--database {url!r}: {one_line(error)}; expected a folder, sqlite:/// or postgresql://"
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin_immediate if writes else _begin)
    elif writes:
        event.listen(engine, "begin", _lock)
    try:
        with engine.connect():
            pass
    except OperationalError as error:
        raise UserError(f"{url}: the database cannot be opened ({one_line(error.orig)})") from error
    return engine


def _prepare(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={BUSY_MS}", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _lock(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": WRITER_LOCK})
