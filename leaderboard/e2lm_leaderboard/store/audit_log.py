"""The log, chained by hash; pages show its head, ``e2lm leaderboard verify`` alone names what was altered.

Whoever edits a row, here or in the tables that the log speaks of, makes :func:`verified` name it. Whoever cuts off the
end makes the last hash differ from the one that the pages and exports show.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Row, select

from e2lm_leaderboard.store.tables import AUDIT, BUNDLES, DETAILS, RESULTS, SETTINGS, SUBMISSIONS, TEAMS, VERSION_KEY

FIRST_HASH = "0" * 64

#: Columns of a submission that the log can tell.
TOLD_COLUMNS = ("number", "name", "title", "team", "state", "reason", "received_at", "updated_at", "remarks", "notes")


#: Made once: it writes a hundred thousand lines for one ``verify``.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
#: Archives in memory at once.
ARCHIVES_AT_ONCE = 20


def canonical(value: Any) -> str:
    """JSON of one spelling.

    >>> canonical({"b": 1, "a": [0.5, None]})
    '{"a":[0.5,null],"b":1}'
    """
    return _ENCODER.encode(value)


def entry_hash(seq: int, at: str, event: str, subject: str, payload: str, previous: str) -> str:
    """SHA-256 over an entry and the hash before it."""
    return sha256(canonical([seq, at, event, subject, payload, previous]).encode()).hexdigest()


@dataclass(slots=True)
class AuditHead:
    """The end of the log within one transaction."""

    seq: int
    hash: str

    @classmethod
    def read(cls, connection: Connection) -> AuditHead:
        """The end of the log as it is stored."""
        last = connection.execute(select(AUDIT.c.seq, AUDIT.c.hash).order_by(AUDIT.c.seq.desc()).limit(1)).first()
        return cls(0, FIRST_HASH) if last is None else cls(last.seq, last.hash)

    def append(self, connection: Connection, at: str, event: str, subject: str, payload: dict[str, Any]) -> None:
        """Write one entry and move on."""
        text, seq, previous = canonical(payload), self.seq + 1, self.hash
        self.hash = entry_hash(seq, at, event, subject, text, previous)
        self.seq = seq
        row = {"seq": seq, "at": at, "event": event, "subject": subject, "payload": text}
        connection.execute(AUDIT.insert(), {**row, "previous": previous, "hash": self.hash})


def results_hash(rows: Iterable[tuple[Any, ...]], details: str) -> str:
    """SHA-256 over the numbers of one submission, in whatever order they come, and its details."""
    return sha256(canonical([sorted(map(canonical, map(list, rows))), details]).encode()).hexdigest()


def result_values(row: Any) -> tuple[Any, ...]:
    """A row of results as the log hashes it."""
    return (row.split, row.score, row.series, row.value, row.low, row.high, row.p, row.reason)


def verified(connection: Connection) -> list[str]:
    """What does not agree with the log, each naming its row; empty where all is well."""
    problems: list[str] = []
    told: dict[str, dict[str, Any]] = {}
    teams: dict[str, tuple[str, ...]] = {}
    settings: dict[str, str] = {}
    knows_settings = False
    previous, expected = FIRST_HASH, 1
    for row in connection.execute(select(AUDIT).order_by(AUDIT.c.seq)):
        problems += _entry_problems(row, previous, expected)
        previous, expected = row.hash, row.seq + 1
        try:
            payload = json.loads(row.payload)
        except ValueError:
            payload = {}
        if row.event == "team":
            finals = teams.get(row.subject, ("", "", ""))[2]
            teams[row.subject] = (str(payload.get("token_sha256")), str(payload.get("role")), finals)
        elif row.event == "finals" and row.subject in teams:
            teams[row.subject] = (*teams[row.subject][:2], str(payload.get("finals")))
        elif row.event == "season":
            knows_settings = True  # what opens a season, or takes over one of an earlier e2lm, logs them
        elif row.event == "setting":
            settings[row.subject] = str(payload.get("sha256"))
        elif row.event in ("submitted", "moved", "scored"):
            told.setdefault(row.subject, {}).update(payload)
    problems += _team_problems(connection, teams)
    problems += _setting_problems(connection, settings, knows_settings)
    problems += _submission_problems(connection, told)
    return problems


def _entry_problems(row: Row[Any], previous: str, expected: int) -> Iterator[str]:
    if row.seq != expected:
        yield f"audit row {row.seq}: row {expected} should come here; rows were removed or added"
    if row.previous != previous and row.seq == expected:
        yield f"audit row {row.seq}: it does not follow from row {row.seq - 1}"
    if row.hash != entry_hash(row.seq, row.at, row.event, row.subject, row.payload, row.previous):
        yield f"audit row {row.seq} ({row.event} of {row.subject}): its content was changed"


def _team_problems(connection: Connection, teams: dict[str, tuple[str, ...]]) -> Iterator[str]:
    stored = {row.name: (row.token_sha256, row.role, row.finals) for row in connection.execute(select(TEAMS))}
    for name in sorted(stored.keys() | teams.keys()):
        found, told = stored.get(name), teams.get(name)
        if found != told:
            what = (
                "" if found is None or told is None or found[1] == told[1] else f" (role {found[1]!r}, not {told[1]!r})"
            )
            yield f"teams row {name}: it is not what the log says{what}"


def setting_hash(value: str) -> str:
    """What the log says of a setting: its value may be a secret."""
    return sha256(value.encode()).hexdigest()


def _setting_problems(connection: Connection, settings: dict[str, str], knows_all: bool) -> Iterator[str]:
    """Settings that the log tells of: of a season that an earlier e2lm opened, those set since."""
    stored = {row.key: setting_hash(row.value) for row in connection.execute(select(SETTINGS))}
    for key, told in sorted(settings.items()):
        if stored.get(key) != told:
            yield f"settings row {key}: {'missing' if key not in stored else 'it is not what the log says'}"
    for key in sorted(stored.keys() - settings.keys() - {VERSION_KEY}) if knows_all else ():
        yield f"settings row {key}: unknown to the log"


def _submission_problems(connection: Connection, told: dict[str, dict[str, Any]]) -> Iterator[str]:
    stored = {row.id: row for row in connection.execute(select(SUBMISSIONS))}
    results, archives = _stored_results(connection), _archive_hashes(connection)
    details = {row.submission: row.payload for row in connection.execute(select(DETAILS))}
    for key in sorted(stored.keys() | told.keys()):
        row, says = stored.get(key), told.get(key)
        if row is None or says is None:
            yield f"submissions row {key}: {'missing' if row is None else 'unknown to the log'}"
            continue
        for column in TOLD_COLUMNS:
            found = getattr(row, column)
            if column in says and says[column] != found:
                yield f"submissions row {key}: {column} is {found!r}, the log says {says[column]!r}"
        if says.get("archive_sha256") != archives.get(key):
            yield f"bundles row {key}: its archive was changed"
        have_results = key in results or key in details
        if "results_sha256" in says or have_results:
            found_hash = results_hash(results.get(key, []), details.get(key, ""))
            if found_hash != says.get("results_sha256"):
                yield f"results rows of {key}: they are not what the log says"


def _stored_results(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
    results: dict[str, list[tuple[Any, ...]]] = {}
    for row in connection.execute(select(RESULTS)):
        results.setdefault(row.submission, []).append(result_values(row))
    return results


def _archive_hashes(connection: Connection) -> dict[str, str]:
    rows = connection.execute(select(BUNDLES).execution_options(yield_per=ARCHIVES_AT_ONCE))
    return {row.id: sha256(row.archive).hexdigest() for row in rows}
