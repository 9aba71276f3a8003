"""The pages as files: for an archive, a static host, or a disk. The same store gives the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from e2lm.atomic_file import whole_folder
from e2lm.messages import speaking, wanted_language
from e2lm.page import STYLE
from e2lm.progress import progress_bar
from e2lm_leaderboard.ranking.table import (
    SeasonTable,
    head_record,
    season_table,
    table_csv,
    table_parquet,
    table_records,
)
from e2lm_leaderboard.season.season import Season
from e2lm_leaderboard.season.signature import Signer
from e2lm_leaderboard.store.store import Entry, Result, Store
from e2lm_leaderboard.web.pages import (
    FileLinks,
    compare_page,
    exported_pairs,
    page_count,
    ranking_page,
    status_page,
    submission_page,
    team_page,
    teams_with_pages,
)

STATIC_FILES = ("style.css", "sort.js")


def static_file(name: str) -> bytes:
    """A file that pages refer to; the style is that of every report, and what these pages add."""
    own = (files("e2lm_leaderboard.web") / "pages" / name).read_bytes()
    return STYLE.encode() + own if name.endswith(".css") else own


#: Submissions whose numbers are read at once.
CHUNK = 500


class _Read:
    """Numbers of some submissions, read at once: a question to the database for each would cost half of the export."""

    def __init__(self, store: Store, split: str, keys: Sequence[str]) -> None:
        self._details = store.details_of(keys)
        self._results: dict[str, list[tuple[str, Result]]] = {}
        for key, result in store.numbers_of(split, keys):
            self._results.setdefault(key, []).append((key, result))

    def results(self, split: str, key: str) -> list[tuple[str, Result]]:
        """Of the split that was read."""
        return self._results.get(key, [])

    def details(self, key: str) -> dict[str, Any]:
        """What a page shows beside them."""
        return dict(json.loads(self._details.get(key, "{}")))


def _submission_pages(table: SeasonTable, store: Store, entries: Sequence[Entry]) -> Iterator[tuple[str, str]]:
    """Where each page goes, and its text."""
    split = "private" if table.split == "private" else "public"
    for start in range(0, len(entries), CHUNK):
        some = entries[start : start + CHUNK]
        read = _Read(store, split, [entry.id for entry in some])
        for entry in some:
            yield FileLinks(0).submission(entry.id), submission_page(table, read, entry, FileLinks(1))


def export_season(
    store: Store, season: Season, folder: Path, now: datetime, quiet: bool = True, signer: Signer | None = None
) -> int:
    """Write all pages into ``folder``, whole or not at all; how many there are."""
    with speaking(wanted_language()):  # asked once, not for every word
        return _exported(store, season, folder, now, quiet, signer)


def _exported(store: Store, season: Season, folder: Path, now: datetime, quiet: bool, signer: Signer | None) -> int:
    table = season_table(store, season, now, signer=signer)
    entries = store.entries()
    top, inside = FileLinks(0), FileLinks(1)
    pages: dict[str, str] = {}
    for page in range(1, page_count(table) + 1):
        pages[top.ranking(page)] = ranking_page(table, store, top, page)
    pages[top.status()] = status_page(table, store, top)
    own: dict[str, list[Entry]] = {}
    for entry in entries:
        own.setdefault(entry.team, []).append(entry)
    teams = teams_with_pages(table)
    history = store.history() if teams else {}
    for name in teams:
        pages[top.team(name)] = team_page(table, name, own[name], history, inside)
    for a, b in exported_pairs(table):
        pages[top.compare(a.id, b.id)] = compare_page(table, store, a, b, inside)
    with whole_folder(folder) as partial:
        for name in STATIC_FILES:
            (partial / name).write_bytes(static_file(name))
        for name, text in pages.items():
            _write(partial / name, text)
        with progress_bar(len(entries), "pages", "exporting", quiet) as bar:
            for place, text in _submission_pages(table, store, entries):
                _write(partial / place, text)
                bar.update()
        _write(partial / "ranking.csv", table_csv(table))
        records = {**head_record(table), "ranking": table_records(table)}
        _write(partial / "ranking.json", json.dumps(records, indent=1, ensure_ascii=False) + "\n")
        (partial / "ranking.parquet").write_bytes(table_parquet(table))
    return len(pages) + len(entries)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
