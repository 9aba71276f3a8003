"""Engines: SQLite as durable as it can be, PostgreSQL by URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from e2lm.errors import MachineError, UserError, one_line
from e2lm_leaderboard.store.tables import NoTablesError

BUSY_MS = 10_000

#: Taken by whoever writes to PostgreSQL, so that the audit log has one head; any number does.
WRITER_LOCK = 0x65326C6D


class StoreUnavailableError(MachineError):
    """The database cannot do it now: no space, no permission, no connection, or somebody else for too long."""


def is_unavailable(error: BaseException) -> bool:
    """Whether it is the database that failed, and not what was asked of it."""
    if isinstance(error, IntegrityError | DataError | ProgrammingError):
        return False
    return isinstance(error, DBAPIError | PoolTimeoutError)


def unavailable(url: str, error: BaseException) -> StoreUnavailableError:
    """``error`` of the database in one line; passwords are left out."""
    first: BaseException | None = error
    while first is not None:  # the one that came first says why; later ones are about what could not be undone
        error = first if is_unavailable(first) else error
        first = first.__context__
    what = one_line(getattr(error, "orig", None) or error)[:200]
    shown = make_url(url).render_as_string(hide_password=True)
    return StoreUnavailableError(f"{shown}: the database failed ({what}); what it answered before is safe, try again")


def require_file(url: str) -> None:
    """Raise :class:`NoTablesError` where SQLite would make a new, empty file in the place of one that is gone."""
    name = make_url(url).database
    if url.startswith("sqlite") and name and not Path(name).is_file():
        raise NoTablesError(f"{name}: there is no such database: it was deleted or moved; put it back")


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Failures of the database as :class:`StoreUnavailableError`."""
    try:
        yield
    except Exception as error:
        if not is_unavailable(error):
            raise
        raise unavailable(url, error) from error


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
        engine = create_engine(
            url,
            pool_size=2 if writes else 8,
            max_overflow=0 if writes else 16,
            # Asked before use whether it is still there: a server that was restarted takes the connections along.
            pool_pre_ping=not url.startswith("sqlite"),
        )
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
    except DBAPIError as error:
        raise unavailable(url, error) from error
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
