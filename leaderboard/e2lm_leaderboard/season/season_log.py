"""What holds beside the tables: the season's own file as the log knows it, and the heads that the log has had.

``season.json`` may be edited until something was submitted; after that an edit is named until the organiser accepts it,
which is an entry of the log. ``heads.jsonl`` beside it keeps the last hash after every command: a log that was cut
short, or a database put back from before, does not hold them all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from e2lm.errors import UserError
from e2lm_leaderboard.season.season import SALT_KEY, SEASON_FILE, Season
from e2lm_leaderboard.store.audit_log import setting_hash
from e2lm_leaderboard.store.store import Store

SEASON_EVENT = "season"
HEADS_FILE = "heads.jsonl"


def log_season(season: Season, store: Store, now: datetime) -> None:
    """Put the season as it is into the log."""
    store.log(SEASON_EVENT, SEASON_FILE, season.model_dump(mode="json"), now)


def season_changes(season: Season, store: Store) -> list[str]:
    """Fields that differ from what the log says, each with both values; empty where the log says nothing."""
    logged = store.last_logged(SEASON_EVENT, SEASON_FILE)
    if logged is None:
        return []
    told = Season.from_data(logged, "log").model_dump(mode="json")
    now = season.model_dump(mode="json")
    told, now = ({**one, **{f"rules.{key}": value for key, value in one.pop("rules").items()}} for one in (told, now))
    return [
        f"{name}: {json.dumps(now[name])[:120]}, the log says {json.dumps(told[name])[:120]}"
        for name in now
        if now[name] != told[name]
    ]


def require_logged(season: Season, store: Store, folder: Path, now: datetime) -> None:
    """Raise :class:`UserError` for an edit that the log does not know; before the first submission it is put there."""
    if store.last_logged(SEASON_EVENT, SEASON_FILE) is None or (season_changes(season, store) and not store.entries()):
        log_season(season, store, now)
    salt = store.setting(SALT_KEY)
    if salt is not None and store.last_logged("setting", SALT_KEY) is None:
        store.log("setting", SALT_KEY, {"sha256": setting_hash(salt)}, now)
    if changes := season_changes(season, store):
        fix = f"undo it, or 'e2lm leaderboard rules {folder} --accept'"
        raise UserError(f"{folder / SEASON_FILE}: was edited after submissions came: {'; '.join(changes)}; {fix}")


def keep_head(folder: Path, store: Store) -> None:
    """Note how far the log is."""
    head, path = store.head(), folder / HEADS_FILE
    line = json.dumps({"rows": head.seq, "head": head.hash})
    if not path.is_file() or not path.read_text(encoding="utf-8").endswith(f"{line}\n"):
        with path.open("a", encoding="utf-8") as handle:
            handle.write(f"{line}\n")


def head_problems(folder: Path, store: Store) -> Iterator[str]:
    """Heads that the log does not have any more."""
    path = folder / HEADS_FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, start=1):
        try:
            known = json.loads(line)
            rows, head = int(known["rows"]), str(known["head"])
        except (ValueError, LookupError, TypeError):
            yield f"{HEADS_FILE} line {number}: it cannot be read"
            continue
        if rows and store.hash_at(rows) != head:
            had = f"row {rows} had the hash {head[:16]}... once ({HEADS_FILE})"
            yield f"audit: {had}; the log was cut short or written anew"
            return
