"""Brings the tables of an earlier version up to date, one version at a time, in one transaction each."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, inspect, text

from e2lm.errors import UserError
from e2lm_leaderboard.tables import METADATA, SCHEMA_VERSION, SETTINGS

VERSION_KEY = "schema_version"

#: Version -> statements that lead to the next one.
STEPS = {1: ("ALTER TABLE submissions ADD COLUMN remarks TEXT NOT NULL DEFAULT ''",)}


def migrate(engine: Engine, name: str) -> None:
    """Create the tables or lead them to :data:`SCHEMA_VERSION`; a :class:`UserError` for those of a newer version."""
    with engine.begin() as connection:
        if not inspect(connection).has_table(SETTINGS.name):
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
