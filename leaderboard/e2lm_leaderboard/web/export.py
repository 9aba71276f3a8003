"""The pages as files: for an archive, a static host, or a disk. The same store gives the same bytes."""

from __future__ import annotations

import json
from datetime import datetime
from importlib.resources import files
from pathlib import Path

from e2lm.atomic_file import whole_folder
from e2lm.page import STYLE
from e2lm.progress import progress_bar
from e2lm_leaderboard.ranking.table import head_record, season_table, table_csv, table_parquet, table_records
from e2lm_leaderboard.season.season import Season
from e2lm_leaderboard.season.signature import Signer
from e2lm_leaderboard.store.store import Store
from e2lm_leaderboard.web.pages import (
    FileLinks,
    compare_page,
    exported_pairs,
    page_count,
    ranking_page,
    status_page,
    submission_page,
)

STATIC_FILES = ("style.css", "sort.js")


def static_file(name: str) -> bytes:
    """A file that pages refer to; the style is that of every report, and what these pages add."""
    own = (files("e2lm_leaderboard.web") / "pages" / name).read_bytes()
    return STYLE.encode() + own if name.endswith(".css") else own


def export_season(
    store: Store, season: Season, folder: Path, now: datetime, quiet: bool = True, signer: Signer | None = None
) -> int:
    """Write all pages into ``folder``, whole or not at all; how many there are."""
    table = season_table(store, season, now, signer=signer)
    entries = store.entries()
    top, inside = FileLinks(0), FileLinks(1)
    pages: dict[str, str] = {}
    for page in range(1, page_count(table) + 1):
        pages[top.ranking(page)] = ranking_page(table, top, page)
    pages[top.status()] = status_page(table, store, top)
    for a, b in exported_pairs(table):
        pages[top.compare(a.id, b.id)] = compare_page(table, store, a, b, inside)
    with whole_folder(folder) as partial:
        for name in STATIC_FILES:
            (partial / name).write_bytes(static_file(name))
        for name, text in pages.items():
            _write(partial / name, text)
        with progress_bar(len(entries), "pages", "exporting", quiet) as bar:
            for entry in entries:
                text = submission_page(table, store, entry, inside)
                _write(partial / top.submission(entry.id), text)
                bar.update()
        _write(partial / "ranking.csv", table_csv(table))
        records = {**head_record(table), "ranking": table_records(table)}
        _write(partial / "ranking.json", json.dumps(records, indent=1, ensure_ascii=False) + "\n")
        (partial / "ranking.parquet").write_bytes(table_parquet(table))
    return len(pages) + len(entries)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
