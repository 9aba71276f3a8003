"""A season opened from its folder: rules, database, table."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2lm_leaderboard.season.season import Season
from e2lm_leaderboard.store.database import database_url
from e2lm_leaderboard.store.store import Store


def add_season_argument(parser: ArgumentParser) -> None:
    """The folder of the season."""
    parser.add_argument("season", type=Path, metavar="SEASON", help="folder of the season")


@contextmanager
def opened(folder: Path) -> Iterator[tuple[Season, Store]]:
    """Season and store, closed at the end."""
    season = Season.read(folder)
    store = Store(database_url(season.database or str(folder)))
    try:
        yield season, store
    finally:
        store.close()
