"""Bundles to check, and stores on both engines."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2lm_leaderboard.bundle.bundle import Bundle
from e2lm_leaderboard.bundle.check import CheckReport, check_archive
from e2lm_leaderboard.cli.entrant import sample_files
from e2lm_leaderboard.season.season import Season, SeasonRules
from e2lm_leaderboard.store.database import database_url, open_engine
from e2lm_leaderboard.store.store import Store
from tests.e2lm_leaderboard.season_samples import filled_season

Changes = Mapping[str, str | bytes | None]


def changed_bundle(changes: Changes) -> Bundle:
    """The sample with files replaced, added, or (None) left out."""
    files: dict[str, bytes] = {name: text.encode() for name, text in sample_files().items()}
    for name, content in changes.items():
        files.pop(name, None)
        if content is not None:
            files[name] = content if isinstance(content, bytes) else content.encode()
    return Bundle(files)


@pytest.fixture
def checked() -> Callable[..., CheckReport]:
    """The report on the sample with changes."""

    def check(changes: Changes, rules: SeasonRules | None = None) -> CheckReport:
        return check_archive(changed_bundle(changes).packed(), rules or SeasonRules())

    return check


def _as_postgres() -> list[str]:
    """PostgreSQL refuses to run as root."""
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", timeout=120)


@dataclass(frozen=True)
class Postgres:
    """A running server."""

    url: str
    control: Callable[..., None]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of one's own on a socket; the test is skipped where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL server (Debian: apt-get install postgresql)")
    binaries = found[-1].parent
    folder = Path(tempfile.mkdtemp(prefix="e2lm-pg-", dir="/tmp"))
    folder.chmod(0o777)
    data = folder / "data"
    as_user = _as_postgres()
    _run([*as_user, str(binaries / "initdb"), "-D", str(data), "-A", "trust", "-U", "test"])
    settings = f"-c listen_addresses='' -c unix_socket_directories='{folder}'"
    command = [*as_user, str(binaries / "pg_ctl"), "-D", str(data), "-w", "-l", str(folder / "log"), "-o", settings]

    def control(action: str) -> None:
        _run([*command, *(("-m", "immediate") if action != "start" else ()), action])

    control("start")
    try:
        yield Postgres(f"postgresql+psycopg://test@/postgres?host={folder}", control)
    finally:
        control("stop")
        shutil.rmtree(folder, ignore_errors=True)


def _emptied(url: str) -> str:
    engine = open_engine(url, writes=False)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    engine.dispose()
    return url


@pytest.fixture
def postgres_url(postgres: Postgres) -> str:
    """An empty database of that server."""
    return _emptied(postgres.url)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store, once on each engine."""
    url = database_url(str(tmp_path)) if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    store = Store(url)
    yield store
    store.close()


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[tuple[Season, Store]]:
    """A season with submissions in every state."""
    season, store = filled_season(tmp_path)
    yield season, store
    store.close()
