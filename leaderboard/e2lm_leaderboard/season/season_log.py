"""What holds beside the tables: the season's own file as the log knows it, and the heads that the log has had.

``season.json`` may be edited until something was submitted; after that an edit is named until the organiser accepts it,
which is an entry of the log. ``heads.jsonl`` beside it keeps the last hash after every command, signed: a log that was
cut short, or a database put back from before, does not hold them all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from e2lm.errors import UserError, one_line
from e2lm_leaderboard.season.season import SALT_KEY, SEASON_FILE, Season
from e2lm_leaderboard.season.signature import SignedHead, Signer, can_sign, is_signed_by, logged_keys
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


def keep_head(folder: Path, store: Store, signer: Signer | None) -> None:
    """Note how far the log is."""
    head, path = store.head(), folder / HEADS_FILE
    plain = {"rows": head.seq, "head": head.hash}
    line = json.dumps(plain if signer is None else asdict(signer.signed(head.seq, head.hash)))
    if not path.is_file() or not path.read_text(encoding="utf-8").endswith(f"{line}\n"):
        with path.open("a", encoding="utf-8") as handle:
            handle.write(f"{line}\n")


def head_problems(folder: Path, store: Store) -> Iterator[str]:
    """Heads that the log does not have any more."""
    path, keys, checks = folder / HEADS_FILE, logged_keys(store), can_sign()
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, start=1):
        try:
            known = json.loads(line)
            rows, head = int(known["rows"]), str(known["head"])
        except (ValueError, LookupError, TypeError):
            yield f"{HEADS_FILE} line {number}: it cannot be read"
            continue
        if checks and "signature" in known and not is_signed_by(signed_head(known), keys):
            yield f"{HEADS_FILE} line {number}: no key that the log names has signed it"
        if rows and store.hash_at(rows) != head:
            had = f"row {rows} had the hash {head[:16]}... once ({HEADS_FILE})"
            yield f"audit: {had}; the log was cut short or written anew"
            return


def signed_head(known: Mapping[str, Any]) -> SignedHead:
    """The head in a line of ``heads.jsonl``, or in the ``ranking.json`` of an export."""
    texts = {name: str(known.get(name) or "") for name in ("head", "key", "signature")}
    return SignedHead(int(known.get("rows") or 0), **texts)


def published_problems(path: Path, store: Store) -> Iterator[str]:
    """What an export that was kept, its ``ranking.json``, says against the log."""
    try:
        one = signed_head(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: is no ranking.json of an export: {one_line(error)}") from error
    if one.signature and not is_signed_by(one, logged_keys(store)):
        yield f"{path}: no key that the log names has signed it: not of this season, or the log was written anew"
    if store.hash_at(one.rows) != one.head if one.rows else not store.has_hash(one.head):
        yield f"audit: no row {one.rows or ''} has the hash {one.head[:16]}... of {path}; the log was cut or rewritten"
