"""The tables of a competition, the same on SQLite and PostgreSQL.

Tables of an earlier version are brought up to date, one version at a time, in one transaction each. A submission is in
one of a few states: nothing just disappears, and every way out of the queue says why.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    inspect,
    text,
)

from e2lm.errors import E2LMError, UserError

#: Version of what follows; :mod:`e2lm_leaderboard.store.tables` leads to it.
SCHEMA_VERSION = 4

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
    Column("finals", Text, nullable=False, server_default=""),
)

BUNDLES = Table(
    "bundles",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("archive", LargeBinary, nullable=False),
)

#: ``notes`` are for the organiser alone; ``counted`` is 1 for a refused submission that costs its team a try;
#: ``worker`` has it in hand until ``lease_until``. Times are ISO 8601 in UTC: their order as text is that of time.
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
    Column("notes", Text, nullable=False, server_default=""),
    Column("counted", Integer, nullable=False, server_default="0"),
    Column("worker", String(120), nullable=False, server_default=""),
    Column("lease_until", String(40), nullable=False, server_default=""),
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

#: Hashes by which items of one entry are found in others.
FINGERPRINTS = Table(
    "fingerprints",
    METADATA,
    Column("hash", BigInteger, primary_key=True, autoincrement=False),
    Column("submission", String(64), primary_key=True),
    Column("item", Integer, primary_key=True, autoincrement=False),
    Index("fingerprints_by_submission", "submission"),
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


class NoTablesError(UserError):
    """A database that should be there is empty."""


VERSION_KEY = "schema_version"

#: Version -> statements that lead to the next one.
STEPS = {
    1: ("ALTER TABLE submissions ADD COLUMN remarks TEXT NOT NULL DEFAULT ''",),
    2: (
        "ALTER TABLE submissions ADD COLUMN notes TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE submissions ADD COLUMN counted INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE submissions ADD COLUMN worker VARCHAR(120) NOT NULL DEFAULT ''",
        "ALTER TABLE submissions ADD COLUMN lease_until VARCHAR(40) NOT NULL DEFAULT ''",
        "ALTER TABLE teams ADD COLUMN finals TEXT NOT NULL DEFAULT ''",
    ),
    3: (
        "CREATE TABLE fingerprints (hash BIGINT NOT NULL, submission VARCHAR(64) NOT NULL, item INTEGER NOT NULL, "
        "PRIMARY KEY (hash, submission, item))",
        "CREATE INDEX fingerprints_by_submission ON fingerprints (submission)",
    ),
}


def migrate(engine: Engine, name: str, create: bool = True) -> None:
    """Create the tables or lead them to :data:`SCHEMA_VERSION`; a :class:`UserError` for those of a newer version.

    :class:`NoTablesError` where there are none and none are to be made.
    """
    with engine.begin() as connection:
        if not inspect(connection).has_table(SETTINGS.name):
            if not create:
                raise NoTablesError(f"{name}: the database holds no season: it was deleted, emptied or replaced")
            METADATA.create_all(connection)
            connection.execute(SETTINGS.insert().values(key=VERSION_KEY, value=str(SCHEMA_VERSION)))
            return
        version = _version(connection)
    if version > SCHEMA_VERSION:
        raise UserError(f"{name}: written by a newer e2lm (schema {version}, known {SCHEMA_VERSION}); update e2lm")
    while version < SCHEMA_VERSION:
        with engine.begin() as connection:
            for statement in STEPS[version]:
                connection.execute(text(statement))
            version += 1
            connection.execute(SETTINGS.update().where(SETTINGS.c.key == VERSION_KEY).values(value=str(version)))


def _version(connection: Connection) -> int:
    found = connection.execute(SETTINGS.select().where(SETTINGS.c.key == VERSION_KEY)).first()
    return 0 if found is None else int(found.value)


class State(StrEnum):
    """Where a submission is on its way."""

    QUEUED = "queued"
    CHECKING = "checking"
    RUNNING = "running"
    SCORED = "scored"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    DISQUALIFIED = "disqualified"


#: What somebody works on, or will.
WAITING = (State.QUEUED, State.CHECKING, State.RUNNING)
#: Out of the competition: never ranked.
OUT = (State.REFUSED, State.WITHDRAWN, State.DISQUALIFIED)
_AWAY = {State.WITHDRAWN, State.DISQUALIFIED}

#: A run that was killed starts over from ``checking``; a scored submission may be scored again by new rules.
NEXT = {
    State.QUEUED: {State.CHECKING, State.REFUSED, *_AWAY},
    State.CHECKING: {State.QUEUED, State.CHECKING, State.RUNNING, State.REFUSED, *_AWAY},
    State.RUNNING: {State.QUEUED, State.CHECKING, State.RUNNING, State.SCORED, State.REFUSED, *_AWAY},
    State.SCORED: {State.QUEUED, State.CHECKING, State.SCORED, State.REFUSED, *_AWAY},
    State.REFUSED: {State.QUEUED, State.CHECKING, *_AWAY},
    State.WITHDRAWN: {State.QUEUED, State.DISQUALIFIED},
    State.DISQUALIFIED: {State.QUEUED},
}


def require_move(old: str, new: str) -> None:
    """Raise :class:`E2LMError` where ``new`` does not follow ``old``.

    >>> require_move("queued", "checking")
    """
    if State(new) not in NEXT[State(old)]:
        allowed = ", ".join(sorted(NEXT[State(old)]))
        raise E2LMError(f"a submission that is {old} cannot become {new}; what may follow: {allowed}")
