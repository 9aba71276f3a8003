"""The store of a competition: submissions by content, their states and numbers, and the log of it all."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, func, select

from e2lm.errors import E2LMError, UserError
from e2lm_leaderboard.store.audit_log import AuditHead, result_values, results_hash, setting_hash, verified
from e2lm_leaderboard.store.database import explained, open_engine, require_file
from e2lm_leaderboard.store.group_commit import GroupCommit
from e2lm_leaderboard.store.tables import (
    AUDIT,
    BUNDLES,
    DETAILS,
    FINGERPRINTS,
    RESULTS,
    SETTINGS,
    SUBMISSIONS,
    TEAMS,
    WAITING,
    State,
    migrate,
    require_move,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A submission as it stands; times are ISO 8601 in UTC."""

    id: str
    number: int
    name: str
    title: str
    team: str
    state: str
    reason: str
    received_at: str
    updated_at: str
    remarks: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """One number of a submission; ``series`` is empty for one over all series."""

    split: str
    score: str
    series: str
    value: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A bundle that arrived."""

    id: str
    archive: bytes
    name: str
    title: str
    team: str


class LimitReachedError(E2LMError):
    """A team has used up its submissions of the day, or of the season."""


class NotOpenError(E2LMError):
    """The season takes no submissions now."""


class LeaseLostError(E2LMError):
    """Somebody else works on a submission by now."""


@dataclass(frozen=True, slots=True)
class Admission:
    """When submissions are taken, by the clock of whoever takes them, and how many of one team in all."""

    opens_at: datetime | None = None
    ends_at: datetime | None = None
    total: int | None = None

    def require_open(self, now: datetime, closed_at: str | None) -> None:
        """Raise :class:`NotOpenError` with both times where the season takes nothing."""
        ends_at = self.ends_at if closed_at is None else datetime.fromisoformat(closed_at)
        clock = f"it is {timestamp(now)} on the clock of this server"
        if self.opens_at is not None and now < self.opens_at:
            raise NotOpenError(f"submissions are taken from {timestamp(self.opens_at)} on; {clock}")
        if ends_at is not None and now >= ends_at:
            raise NotOpenError(f"submissions were taken until {timestamp(ends_at)}; {clock}")


ALWAYS = Admission()
#: Stands for an entry of which no item has a fingerprint.
NO_ITEM = (-1, 0)
#: Hashes of one question to the database.
HASHES_AT_ONCE = 500
#: Set by ``e2lm leaderboard close``: an end before the one that was planned.
CLOSED_KEY = "closed_at"


def timestamp(now: datetime) -> str:
    """``now`` as it is stored.

    >>> timestamp(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    '2026-01-02T03:04:05.000000Z'
    """
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Store:
    """Opens the database at ``url``, creating or updating its tables."""

    def __init__(self, url: str, create: bool = True) -> None:
        self.url = url
        if not create:
            require_file(url)
        self._writing = open_engine(url, writes=True)
        with explained(url):
            migrate(self._writing, url, create)
        self._reading = open_engine(url, writes=False)
        self.writer = GroupCommit(self._writing)

    def close(self) -> None:
        """Finish writing and let go of the database."""
        self.writer.close()
        self._writing.dispose()
        self._reading.dispose()

    # -- writing -------------------------------------------------------------------------------------------------

    def submit(
        self, incoming: Incoming, per_day: int, now: datetime, admission: Admission = ALWAYS
    ) -> tuple[Entry, bool]:
        """The entry, and whether it is new: the same content is one row, however often it comes.

        Raises :class:`LimitReachedError` where the team has ``per_day`` submissions within 24 hours; refused ones are
        free. Raises :class:`NotOpenError` before the season opens and after it ended.
        """
        return self.submit_later(incoming, per_day, now, admission).result()

    def submit_later(
        self, incoming: Incoming, per_day: int, now: datetime, admission: Admission = ALWAYS
    ) -> Future[tuple[Entry, bool]]:
        """The answer of :meth:`submit` to come, for whoever must not wait in a thread."""
        return self.writer.submitted(
            lambda connection, head: submitted(connection, head, incoming, per_day, now, admission)
        )

    def move(
        self,
        key: str,
        state: State,
        now: datetime,
        reason: str = "",
        remarks: str | None = None,
        worker: str | None = None,
        **told: Any,
    ) -> Entry:
        """The entry in its new state; ``told`` are ``notes`` for the organiser, and ``counted``.

        Raises :class:`LeaseLostError` where ``worker`` does not have it in hand.
        """
        return self.writer.run(
            lambda connection, head: _moved(connection, head, key, state, now, reason, remarks, worker, told)
        )

    def record(
        self, key: str, results: Sequence[Result], details: dict[str, Any], now: datetime, worker: str | None = None
    ) -> Entry:
        """Numbers and state ``scored`` in one: both are there, or neither."""

        def change(connection: Connection, head: AuditHead) -> Entry:
            return _recorded(connection, head, key, results, json.dumps(details, sort_keys=True), now, worker)

        return self.writer.run(change)

    def claim(self, worker: str, now: datetime, lease_s: float, is_gone: Callable[[str], bool]) -> Entry | None:
        """The next submission that nobody has in hand, now ``worker``'s for ``lease_s``; None where there is none.

        What a worker had whose lease ran out, or that ``is_gone``, is free again.
        """
        return self.writer.run(lambda connection, _: _claimed(connection, worker, now, lease_s, is_gone))

    def renew(self, key: str, worker: str, now: datetime, lease_s: float) -> bool:
        """Whether ``worker`` still has the submission, for ``lease_s`` more; 0 gives it back."""
        until = timestamp(now + timedelta(seconds=lease_s)) if lease_s > 0 else ""
        values = {"lease_until": until, "worker": worker if lease_s > 0 else ""}
        own = (SUBMISSIONS.c.id == key, SUBMISSIONS.c.worker == worker)

        def change(connection: Connection, _: AuditHead) -> bool:
            return bool(connection.execute(SUBMISSIONS.update().where(*own).values(values)).rowcount)

        return self.writer.run(change)

    def add_team(self, name: str, token_sha256: str, role: str, now: datetime) -> None:
        """Add a team or give it a new token."""

        def change(connection: Connection, head: AuditHead) -> None:
            finals = connection.execute(select(TEAMS.c.finals).where(TEAMS.c.name == name)).scalar() or ""
            connection.execute(TEAMS.delete().where(TEAMS.c.name == name))
            values = {"name": name, "token_sha256": token_sha256, "role": role, "created_at": timestamp(now)}
            connection.execute(TEAMS.insert().values({**values, "finals": finals}))
            head.append(connection, timestamp(now), "team", name, {"token_sha256": token_sha256, "role": role})

        self.writer.run(change)

    def keep_fingerprints(self, key: str, fingerprints: Sequence[tuple[int, int]]) -> None:
        """Keep item and hash of a submission, by which others find it."""
        known = dict.fromkeys(fingerprints) or {NO_ITEM: None}
        rows = [{"hash": value, "submission": key, "item": item} for item, value in known]

        def change(connection: Connection, _: AuditHead) -> None:
            connection.execute(FINGERPRINTS.delete().where(FINGERPRINTS.c.submission == key))
            connection.execute(FINGERPRINTS.insert(), rows)

        self.writer.run(change)

    def note(self, key: str, notes: str, now: datetime) -> None:
        """Tell the organiser, and nobody else, something of a submission."""

        def change(connection: Connection, head: AuditHead) -> None:
            connection.execute(SUBMISSIONS.update().where(SUBMISSIONS.c.id == key).values(notes=notes))
            head.append(connection, timestamp(now), "moved", key, {"notes": notes})

        self.writer.run(change)

    def pick_finals(self, team: str, keys: Sequence[str], now: datetime) -> None:
        """Let these submissions of ``team`` compete in the end."""

        def change(connection: Connection, head: AuditHead) -> None:
            finals = " ".join(keys)
            connection.execute(TEAMS.update().where(TEAMS.c.name == team).values(finals=finals))
            head.append(connection, timestamp(now), "finals", team, {"finals": finals})

        self.writer.run(change)

    def set_setting(self, key: str, value: str) -> None:
        """Keep ``value`` under ``key``; the log has its hash."""

        def change(connection: Connection, head: AuditHead) -> None:
            connection.execute(SETTINGS.delete().where(SETTINGS.c.key == key))
            connection.execute(SETTINGS.insert().values(key=key, value=value))
            head.append(connection, timestamp(datetime.now(UTC)), "setting", key, {"sha256": setting_hash(value)})

        self.writer.run(change)

    def log(self, event: str, subject: str, payload: dict[str, Any], now: datetime) -> None:
        """Put something that happened into the log."""
        self.writer.run(lambda connection, head: head.append(connection, timestamp(now), event, subject, payload))

    @contextmanager
    def _reads(self) -> Iterator[Connection]:
        with explained(self.url), self._reading.connect() as connection:
            yield connection

    # -- reading -------------------------------------------------------------------------------------------------

    def setting(self, key: str) -> str | None:
        """What is kept under ``key``."""
        with self._reads() as connection:
            return connection.execute(select(SETTINGS.c.value).where(SETTINGS.c.key == key)).scalar()

    def last_logged(self, event: str, subject: str) -> dict[str, Any] | None:
        """What the log said last of a subject."""
        query = select(AUDIT.c.payload).where(AUDIT.c.event == event, AUDIT.c.subject == subject)
        with self._reads() as connection:
            found = connection.execute(query.order_by(AUDIT.c.seq.desc()).limit(1)).scalar()
        return None if found is None else dict(json.loads(found))

    def logged(self, event: str) -> list[dict[str, Any]]:
        """All that the log said of a kind of event, in order."""
        query = select(AUDIT.c.payload).where(AUDIT.c.event == event).order_by(AUDIT.c.seq)
        with self._reads() as connection:
            return [dict(json.loads(payload)) for payload in connection.execute(query).scalars()]

    def without_fingerprints(self, before: int) -> list[str]:
        """Submissions that came before number ``before`` and were never looked at, or by an earlier e2lm."""
        looked_at = select(FINGERPRINTS.c.submission).where(FINGERPRINTS.c.submission == SUBMISSIONS.c.id).exists()
        query = select(SUBMISSIONS.c.id).where(SUBMISSIONS.c.number < before, ~looked_at).order_by(SUBMISSIONS.c.number)
        with self._reads() as connection:
            return list(connection.execute(query).scalars())

    def found_fingerprints(self, hashes: Sequence[int], most: int) -> Iterator[tuple[int, str, int]]:
        """Hash, submission and its item, wherever one of these is; of the rarest hashes, at most ``most`` in all."""
        with self._reads() as connection:
            counts: list[tuple[int, int]] = []
            for chosen in _batches(hashes):
                counted = select(FINGERPRINTS.c.hash, func.count()).where(chosen).group_by(FINGERPRINTS.c.hash)
                counts += [(count, value) for value, count in connection.execute(counted)]
            rare, total = [], 0
            for count, value in sorted(counts):
                total += count
                if total > most:
                    break
                rare.append(value)
            for chosen in _batches(rare):
                columns = (FINGERPRINTS.c.hash, FINGERPRINTS.c.submission, FINGERPRINTS.c.item)
                yield from (tuple(row) for row in connection.execute(select(*columns).where(chosen)))

    def teams(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Role and picked finals of every team."""
        with self._reads() as connection:
            return {row.name: (row.role, tuple(row.finals.split())) for row in connection.execute(select(TEAMS))}

    def notes(self, key: str) -> str:
        """What the organiser alone is told of a submission."""
        with self._reads() as connection:
            return str(connection.execute(select(SUBMISSIONS.c.notes).where(SUBMISSIONS.c.id == key)).scalar() or "")

    def hash_at(self, seq: int) -> str | None:
        """The hash of an entry of the log."""
        with self._reads() as connection:
            return connection.execute(select(AUDIT.c.hash).where(AUDIT.c.seq == seq)).scalar()

    def entry(self, key: str) -> Entry:
        """The submission called ``key``, or by a beginning of its id that no other shares."""
        query = select(SUBMISSIONS).where(SUBMISSIONS.c.id.startswith(key, autoescape=True)).limit(2)
        with self._reads() as connection:
            found = connection.execute(query).all()
        if len(found) != 1 or not key:
            raise UserError(f"submission {key!r}: {'more than one begins so' if found else 'there is none'}")
        return _entry(found[0])

    def entries(self, *states: State) -> list[Entry]:
        """Submissions in order of arrival, of all states or some."""
        query = select(SUBMISSIONS).order_by(SUBMISSIONS.c.number)
        if states:
            query = query.where(SUBMISSIONS.c.state.in_([state.value for state in states]))
        with self._reads() as connection:
            return [_entry(row) for row in connection.execute(query)]

    def archive(self, key: str) -> bytes:
        """The bundle as it was packed."""
        with self._reads() as connection:
            found = connection.execute(select(BUNDLES.c.archive).where(BUNDLES.c.id == key)).scalar()
        if found is None:
            raise UserError(f"submission {key!r}: there is no bundle of it")
        return bytes(found)

    def results(self, split: str, key: str | None = None, score: str | None = None) -> list[tuple[str, Result]]:
        """Ids and numbers of a split, of one submission or score or of all."""
        query = select(RESULTS).where(RESULTS.c.split == split)
        if key is not None:
            query = query.where(RESULTS.c.submission == key)
        if score is not None:
            query = query.where(RESULTS.c.score == score)
        with self._reads() as connection:
            rows = connection.execute(query.order_by(RESULTS.c.submission, RESULTS.c.score, RESULTS.c.series)).all()
        return [(row.submission, Result(*result_values(row))) for row in rows]

    def overall(self, split: str, scores: Sequence[str]) -> dict[str, dict[str, Result]]:
        """By id and score, the numbers of a split over all series."""
        chosen = (RESULTS.c.split == split, RESULTS.c.series == "", RESULTS.c.score.in_(scores))
        found: dict[str, dict[str, Result]] = {}
        with self._reads() as connection:
            for row in connection.execute(select(RESULTS).where(*chosen)):
                found.setdefault(row.submission, {})[row.score] = Result(*result_values(row))
        return found

    def numbers_of(self, split: str, keys: Sequence[str]) -> Iterator[tuple[str, Result]]:
        """Ids and numbers of a split, of so many submissions at once."""
        query = select(RESULTS).where(RESULTS.c.split == split, RESULTS.c.submission.in_(keys))
        with self._reads() as connection:
            for row in connection.execute(query.order_by(RESULTS.c.submission, RESULTS.c.score, RESULTS.c.series)):
                yield row.submission, Result(*result_values(row))

    def details_of(self, keys: Sequence[str]) -> dict[str, str]:
        """The details of so many submissions at once, as JSON."""
        with self._reads() as connection:
            return {row[0]: row[1] for row in connection.execute(select(DETAILS).where(DETAILS.c.submission.in_(keys)))}

    def history(self, keys: Collection[str] | None = None) -> dict[str, list[tuple[str, str]]]:
        """Time and state of every move of these submissions, or of all, in order; nothing that is the organiser's."""
        moves = select(AUDIT.c.subject, AUDIT.c.at, AUDIT.c.payload).where(AUDIT.c.event.in_(["submitted", "moved"]))
        if keys is not None:
            moves = moves.where(AUDIT.c.subject.in_(list(keys)))
        found: dict[str, list[tuple[str, str]]] = {}
        with self._reads() as connection:
            for row in connection.execute(moves.order_by(AUDIT.c.seq)):
                if (state := json.loads(row.payload).get("state")) is not None:
                    found.setdefault(row.subject, []).append((row.at, str(state)))
        return found

    def details(self, key: str) -> dict[str, Any]:
        """What the page of a scored submission shows beside its numbers; empty before that."""
        with self._reads() as connection:
            found = connection.execute(select(DETAILS.c.payload).where(DETAILS.c.submission == key)).scalar()
        return {} if found is None else dict(json.loads(found))

    def team_of(self, token_sha256: str) -> tuple[str, str] | None:
        """Name and role behind a token."""
        with self._reads() as connection:
            row = connection.execute(select(TEAMS).where(TEAMS.c.token_sha256 == token_sha256)).first()
        return None if row is None else (row.name, row.role)

    def version(self) -> int:
        """A number that grows with every change, from whatever process."""
        with self._reads() as connection:
            return int(connection.execute(select(func.max(AUDIT.c.seq))).scalar() or 0)

    def head(self) -> AuditHead:
        """The end of the log."""
        with self._reads() as connection:
            return AuditHead.read(connection)

    def has_hash(self, value: str) -> bool:
        """Whether the log has an entry with this hash."""
        with self._reads() as connection:
            return connection.execute(select(AUDIT.c.seq).where(AUDIT.c.hash == value)).first() is not None

    def verify(self) -> list[str]:
        """What does not agree with the log; see :mod:`e2lm_leaderboard.store.audit_log`."""
        with self._reads() as connection:
            return verified(connection)


def _batches(hashes: Sequence[int]) -> Iterator[ColumnElement[bool]]:
    """Questions for so many at once."""
    for start in range(0, len(hashes), HASHES_AT_ONCE):
        yield FINGERPRINTS.c.hash.in_(hashes[start : start + HASHES_AT_ONCE])


def _entry(row: Row[Any]) -> Entry:
    return Entry(**{name: getattr(row, name) for name in Entry.__slots__})


#: Built once: they run for every submission that arrives.
_BY_ID = select(SUBMISSIONS).where(SUBMISSIONS.c.id == bindparam("key"))
_USED = (
    select(func.count())
    .select_from(SUBMISSIONS)
    .where(SUBMISSIONS.c.team == bindparam("team"), SUBMISSIONS.c.received_at > bindparam("since"))
    .where((SUBMISSIONS.c.state != State.REFUSED.value) | (SUBMISSIONS.c.counted == 1))
    .scalar_subquery()
)
_USED_AND_LAST = select(_USED, select(func.max(SUBMISSIONS.c.number)).scalar_subquery())


def submitted(
    connection: Connection,
    head: AuditHead,
    incoming: Incoming,
    per_day: int,
    now: datetime,
    admission: Admission = ALWAYS,
) -> tuple[Entry, bool]:
    """The change behind :meth:`Store.submit`."""
    known = connection.execute(_BY_ID, {"key": incoming.id}).first()
    if known is not None:
        return _entry(known), False
    closed_at = connection.execute(select(SETTINGS.c.value).where(SETTINGS.c.key == CLOSED_KEY)).scalar()
    admission.require_open(now, closed_at)
    at, since = timestamp(now), timestamp(now - timedelta(days=1))
    used, last = connection.execute(_USED_AND_LAST, {"team": incoming.team, "since": since}).one()
    if used >= per_day:
        raise LimitReachedError(f"team {incoming.team!r} has {used} submissions within 24 hours, allowed are {per_day}")
    if admission.total is not None:
        in_all, _ = connection.execute(_USED_AND_LAST, {"team": incoming.team, "since": ""}).one()
        if in_all >= admission.total:
            raise LimitReachedError(f"team {incoming.team!r} has {in_all} submissions, allowed are {admission.total}")
    number = int(last or 0) + 1
    entry = Entry(incoming.id, number, incoming.name, incoming.title, incoming.team, State.QUEUED.value, "", at, at, "")
    values = {name: getattr(entry, name) for name in Entry.__slots__}
    connection.execute(BUNDLES.insert(), {"id": incoming.id, "archive": incoming.archive})
    connection.execute(SUBMISSIONS.insert(), values)
    told = {**values, "archive_sha256": sha256(incoming.archive).hexdigest()}
    head.append(connection, at, "submitted", incoming.id, told)
    return entry, True


def _moved(
    connection: Connection,
    head: AuditHead,
    key: str,
    state: State,
    now: datetime,
    reason: str,
    remarks: str | None,
    worker: str | None = None,
    told: Mapping[str, Any] | None = None,
) -> Entry:
    row = connection.execute(select(SUBMISSIONS).where(SUBMISSIONS.c.id == key)).first()
    if row is None:
        raise E2LMError(f"submission {key!r}: there is none")
    if worker is not None and row.worker != worker:
        raise LeaseLostError(f"submission {key[:12]}: {row.worker or 'the organiser'} has taken it over")
    require_move(row.state, state)
    changed = {"state": state.value, "reason": reason, "updated_at": timestamp(now), **(told or {})}
    if remarks is not None:
        changed["remarks"] = remarks
    connection.execute(SUBMISSIONS.update().where(SUBMISSIONS.c.id == key).values(changed))
    head.append(connection, changed["updated_at"], "moved", key, changed)
    if worker is None or state not in WAITING:
        connection.execute(SUBMISSIONS.update().where(SUBMISSIONS.c.id == key).values(worker="", lease_until=""))
    return _entry(connection.execute(select(SUBMISSIONS).where(SUBMISSIONS.c.id == key)).one())


def _recorded(
    connection: Connection,
    head: AuditHead,
    key: str,
    results: Sequence[Result],
    details: str,
    now: datetime,
    worker: str | None = None,
) -> Entry:
    connection.execute(RESULTS.delete().where(RESULTS.c.submission == key))
    connection.execute(DETAILS.delete().where(DETAILS.c.submission == key))
    if results:
        rows = [{"submission": key, **{name: getattr(one, name) for name in Result.__slots__}} for one in results]
        connection.execute(RESULTS.insert(), rows)
    connection.execute(DETAILS.insert().values(submission=key, payload=details))
    told = {"results_sha256": results_hash(map(result_values, results), details)}
    head.append(connection, timestamp(now), "scored", key, told)
    return _moved(connection, head, key, State.SCORED, now, "", None, worker)


def _claimed(
    connection: Connection, worker: str, now: datetime, lease_s: float, is_gone: Callable[[str], bool]
) -> Entry | None:
    waiting = SUBMISSIONS.c.state.in_([state.value for state in WAITING])
    in_order = select(SUBMISSIONS).where(waiting).order_by(SUBMISSIONS.c.number)
    is_held = (SUBMISSIONS.c.worker != "") & (SUBMISSIONS.c.lease_until > timestamp(now))
    held = connection.execute(in_order.where(is_held)).all()
    gone = {name for name in {row.worker for row in held} if is_gone(name)}
    free = [connection.execute(in_order.where(~is_held).limit(1)).first(), *(one for one in held if one.worker in gone)]
    row = min((one for one in free if one is not None), key=lambda one: int(one.number), default=None)
    if row is None:
        return None
    values = {"worker": worker, "lease_until": timestamp(now + timedelta(seconds=lease_s))}
    connection.execute(SUBMISSIONS.update().where(SUBMISSIONS.c.id == row.id).values(values))
    return _entry(row)
