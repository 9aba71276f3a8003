"""One row per content, states in order, a log that cannot be edited: on SQLite and on PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import text

from e2lm.errors import E2LMError, UserError
from e2lm_leaderboard.store.database import StoreUnavailableError, database_url, open_engine
from e2lm_leaderboard.store.store import CLOSED_KEY, Admission, Incoming, LimitReachedError, NotOpenError, Result, Store
from e2lm_leaderboard.store.tables import METADATA, SCHEMA_VERSION, NoTablesError, State, migrate

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def incoming(content: str, team: str = "reds") -> Incoming:
    return Incoming(sha256(content.encode()).hexdigest(), content.encode(), "sums", "Sums", team)


def scored(store: Store, content: str) -> str:
    """A submission brought all the way."""
    entry, _ = store.submit(incoming(content), 10, NOW)
    for state in (State.CHECKING, State.RUNNING):
        store.move(entry.id, state, NOW)
    store.record(entry.id, [Result("public", "sq", "", 0.5, 0.4, 0.6)], {"curves": [0.1, 0.25]}, NOW)
    return entry.id


def execute(store: Store, statement: str) -> None:
    """Change the database behind the store's back."""
    engine = open_engine(store.url, writes=False)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_the_same_content_is_one_row_however_often_it_comes_at_once(store: Store) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: store.submit(incoming("same"), 10, NOW), range(1000)))
    assert sum(is_new for _, is_new in answers) == 1
    assert len({entry.id for entry, _ in answers}) == 1
    assert len(store.entries()) == 1
    assert store.version() == 1


def test_submissions_that_arrive_at_once_get_numbers_without_gaps(store: Store) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda k: store.submit(incoming(f"content {k}"), 1000, NOW), range(100)))
    assert [entry.number for entry in store.entries()] == list(range(1, 101))
    assert store.verify() == []


def test_a_team_has_its_submissions_of_the_day_and_refused_ones_are_free(store: Store) -> None:
    keys = [store.submit(incoming(f"content {k}"), 2, NOW)[0].id for k in range(2)]
    with pytest.raises(LimitReachedError, match="2 submissions within 24 hours"):
        store.submit(incoming("third"), 2, NOW)
    store.submit(incoming("other team", "blues"), 2, NOW)
    store.move(keys[0], State.REFUSED, NOW, "too long")
    store.submit(incoming("third"), 2, NOW)
    store.submit(incoming("next day"), 2, NOW + timedelta(days=1, seconds=1))
    assert store.entry(keys[0]).reason == "too long"


def test_nothing_is_taken_before_the_opening_after_the_end_nor_above_the_total(store: Store) -> None:
    hour = timedelta(hours=1)
    admission = Admission(NOW, NOW + hour, total=2)
    with pytest.raises(NotOpenError, match=r"from 2026-03-01T12:00:00.000000Z on; it is 2026-03-01T11:00"):
        store.submit(incoming("early"), 10, NOW - hour, admission)
    key = store.submit(incoming("first"), 10, NOW, admission)[0].id
    with pytest.raises(NotOpenError, match=r"until 2026-03-01T13:00:00.000000Z; it is 2026-03-01T13:00"):
        store.submit(incoming("late"), 10, NOW + hour, admission)
    assert store.submit(incoming("first"), 10, NOW + hour, admission)[0].id == key, "the same content again is no entry"
    store.submit(incoming("second"), 10, NOW, admission)
    with pytest.raises(LimitReachedError, match="2 submissions, allowed are 2"):
        store.submit(incoming("third"), 10, NOW, admission)
    store.set_setting(CLOSED_KEY, (NOW + hour / 2).isoformat())
    with pytest.raises(NotOpenError, match=r"until 2026-03-01T12:30"):
        store.submit(incoming("closed"), 10, NOW + hour / 2, admission)


def test_a_refused_submission_that_counts_costs_a_try(store: Store) -> None:
    key = store.submit(incoming("copy"), 1, NOW)[0].id
    store.move(key, State.REFUSED, NOW, "ask the organiser", counted=1, notes="all of it is of the blues")
    with pytest.raises(LimitReachedError):
        store.submit(incoming("again"), 1, NOW)
    assert store.notes(key) == "all of it is of the blues"
    assert "blues" not in repr(store.entry(key))
    assert store.verify() == []


def test_a_database_that_is_gone_empty_or_damaged_is_told_and_not_made_anew(tmp_path: Path) -> None:
    url = database_url(str(tmp_path))
    with pytest.raises(NoTablesError, match="no such database"):
        Store(url, create=False)
    (tmp_path / "leaderboard.db").touch()
    with pytest.raises(NoTablesError, match="holds no season"):
        Store(url, create=False)
    (tmp_path / "leaderboard.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(StoreUnavailableError, match="not a database"):
        Store(url, create=False)


def test_states_follow_one_another_and_a_wrong_step_changes_nothing(store: Store) -> None:
    key = store.submit(incoming("a"), 10, NOW)[0].id
    with pytest.raises(E2LMError, match="queued cannot become scored"):
        store.record(key, [Result("public", "sq", "", 0.5)], {}, NOW)
    assert store.results("public") == []
    assert store.entry(key).state == "queued"
    assert store.version() == 1
    scored(store, "b")
    assert [entry.state for entry in store.entries()] == ["queued", "scored"]
    assert [entry.state for entry in store.entries(State.SCORED)] == ["scored"]
    assert store.verify() == []


def test_numbers_come_back_as_they_were(store: Store) -> None:
    key = scored(store, "a")
    assert store.results("public", key) == [(key, Result("public", "sq", "", 0.5, 0.4, 0.6))]
    assert store.details(key) == {"curves": [0.1, 0.25]}
    assert store.archive(key) == b"a"
    assert store.entry(key[:8]).id == key
    with pytest.raises(UserError, match="there is none"):
        store.entry("ffff")
    with pytest.raises(UserError, match="no bundle"):
        store.archive("ffff")


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE submissions SET team = 'blues'", "submissions row {key}: team is 'blues', the log says 'reds'"),
        ("UPDATE submissions SET state = 'refused' WHERE number = 1", "submissions row {key}: state is 'refused'"),
        ("UPDATE results SET value = 0.9", "results rows of {key}"),
        ("DELETE FROM results", "results rows of {key}"),
        ("UPDATE details SET payload = '{}'", "results rows of {key}"),
        ("UPDATE bundles SET archive = decode('00', 'hex')", "bundles row {key}: its archive was changed"),
        ("UPDATE audit SET payload = '{}' WHERE seq = 2", "audit row 2 (moved of {key}): its content was changed"),
        ("UPDATE audit SET at = 'x' WHERE seq = 1", "audit row 1 (submitted of {key})"),
        ("DELETE FROM audit WHERE seq = 2", "audit row 3: row 2 should come here"),
        ("UPDATE audit SET hash = previous, previous = hash WHERE seq = 3", "audit row 3"),
        ("UPDATE teams SET token_sha256 = 'x'", "teams row reds: it is not what the log says"),
        ("UPDATE teams SET role = 'organiser'", "teams row reds: it is not what the log says (role 'organiser', not"),
        ("UPDATE teams SET finals = 'x'", "teams row reds: it is not what the log says"),
        ("UPDATE settings SET value = 'evil' WHERE key = 'split_salt'", "settings row split_salt: it is not what"),
        ("DELETE FROM settings WHERE key = 'split_salt'", "settings row split_salt: missing"),
    ],
)
def test_an_edited_row_is_named(store: Store, statement: str, named: str) -> None:
    key = scored(store, "a")
    store.add_team("reds", "0" * 64, "team", NOW)
    store.set_setting("split_salt", "salt")
    store.pick_finals("reds", [key], NOW)
    store.add_team("reds", "1" * 64, "team", NOW)
    assert store.teams() == {"reds": ("team", (key,))}
    assert store.verify() == []
    if "decode" in statement and store.url.startswith("sqlite"):
        statement = "UPDATE bundles SET archive = x'00'"
    execute(store, statement)
    assert any(problem.startswith(named.format(key=key)) for problem in store.verify()), store.verify()


def test_a_removed_submission_is_named(store: Store) -> None:
    key = store.submit(incoming("a"), 10, NOW)[0].id
    execute(store, "DELETE FROM submissions")
    assert store.verify() == [f"submissions row {key}: missing"]


def test_teams_are_found_by_their_token(store: Store) -> None:
    store.add_team("reds", "a" * 64, "team", NOW)
    store.add_team("reds", "b" * 64, "organiser", NOW)
    assert store.team_of("a" * 64) is None
    assert store.team_of("b" * 64) == ("reds", "organiser")
    store.set_setting("salt", "x")
    assert (store.setting("salt"), store.setting("pepper")) == ("x", None)


def test_tables_of_an_earlier_version_are_led_to_this_one(tmp_path: Path) -> None:
    url = database_url(str(tmp_path))
    store = Store(url)
    key = scored(store, "a")
    store.close()
    engine = open_engine(url, writes=True)
    with engine.begin() as connection:
        for column in ("remarks", "notes", "counted", "worker", "lease_until"):
            connection.execute(text(f"ALTER TABLE submissions DROP COLUMN {column}"))
        connection.execute(text("ALTER TABLE teams DROP COLUMN finals"))
        connection.execute(text("DROP TABLE fingerprints"))
        connection.execute(text("UPDATE settings SET value = '1' WHERE key = 'schema_version'"))
    store = Store(url)
    assert store.entry(key).remarks == ""
    store.keep_fingerprints(key, [(0, -7), (0, 2**62)])
    assert sorted(store.found_fingerprints([-7, 8], 1)) == [(-7, key, 0)]
    assert sorted(store.found_fingerprints([-7, 8], 0)) == [], "as rare as that none is"
    assert store.setting("schema_version") == str(SCHEMA_VERSION)
    store.set_setting("schema_version", "99")
    store.close()
    with pytest.raises(UserError, match="newer e2lm"):
        migrate(engine, url)
    engine.dispose()


def test_a_database_that_cannot_be_opened_is_the_users_mistake(tmp_path: Path) -> None:
    for url in ("nonsense://x", f"sqlite:///{tmp_path}/none/leaderboard.db"):
        with pytest.raises(UserError):
            Store(url)


def test_a_closed_store_takes_nothing(store: Store) -> None:
    store.close()
    with pytest.raises(E2LMError, match="closed"):
        store.submit(incoming("late"), 10, NOW)


#: Hash of names, types and duties of all columns, by version: tables that change need a version of their own.
COLUMNS_SHA256 = {4: "4cc9064c7e27158788c85bec8322f807097ff4408ea17bab909e323d50d61f6d"}


def test_tables_are_those_of_their_version() -> None:
    columns = [
        f"{table.name}.{column.name} {column.type} {column.primary_key} {column.nullable} {column.unique}"
        for table in METADATA.sorted_tables
        for column in table.columns
    ]
    assert sha256("\n".join(columns).encode()).hexdigest() == COLUMNS_SHA256[SCHEMA_VERSION], columns
