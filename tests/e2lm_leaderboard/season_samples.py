"""A season with submissions in every state, without any model."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from e2lm_leaderboard.season.season import Season
from e2lm_leaderboard.store.database import database_url
from e2lm_leaderboard.store.store import Incoming, Result, Store
from e2lm_leaderboard.store.tables import State
from e2lm_leaderboard.web.guard import token_hash

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOKEN = "e2lm_token-of-the-reds"
#: Found nowhere unless a private score is shown.
PRIVATE_VALUE = 0.777123
HOSTILE_TITLE = '<img src=x onerror="document.title=\'hacked\'"> & "quotes"'

SCORES = (("good", "reds", 0.81), ("fair", "blues", 0.74), ("noisy", "whites", 0.2), ("letters", "blacks", 0.05))


def details(name: str, level: float) -> dict[str, object]:
    steps = [0, 10, 20, 30]
    values = [0.25 + level * step / 60 for step in steps]
    curve = {
        "task": f"{name}_task",
        "series": "run-a",
        "metric": "acc",
        "params": 1e6,
        "chance": 0.25,
        "steps": steps,
        "tokens": [step * 1000.0 for step in steps],
        "values": values,
        "low": [value - 0.02 for value in values],
        "high": [value + 0.02 for value in values],
    }
    sample = {
        "task": f"{name}_task",
        "context": "<script>alert(1)</script> Two and two are",
        "choices": ["four", "five"],
        "gold": 0,
        "series": "run-a",
        "answers": [{"step": 0, "logliks": [-3.0, -3.1]}, {"step": 30, "logliks": [-1.0, None]}],
    }
    return {
        "curves": [curve, {**curve, "series": "run-b"}],
        "tasks": [{"task": f"{name}_task", "items": 200, "public": 60, "choices": [4]}],
        "samples": [sample],
        "environment": {"python": "3.11", "lm_eval": "0.4.13"},
        "remarks": "",
    }


def filled_season(folder: Path) -> tuple[Season, Store]:
    """Four scored submissions, one refused, one waiting."""
    season = Season(title="Sample season")
    season.write(folder)
    store = Store(database_url(str(folder)))
    store.set_setting("split_salt", "salt")
    store.add_team("reds", token_hash(TOKEN), "team", NOW)
    for name, team, level in SCORES:
        key = submit(store, name, team)
        store.move(key, State.CHECKING, NOW)
        store.move(key, State.RUNNING, NOW)
        store.record(key, results(level), details(name, level), NOW)
    key = submit(store, "hostile", "greens", HOSTILE_TITLE)
    store.move(key, State.REFUSED, NOW, "a.yaml: found <b>x</b> | b.yaml: found y")
    submit(store, "waiting", "greens")
    return season, store


def submit(store: Store, name: str, team: str, title: str = "A title") -> str:
    content = name.encode()
    incoming = Incoming(sha256(content).hexdigest(), content, name, title, team)
    return store.submit(incoming, 100, NOW)[0].id


def results(level: float) -> list[Result]:
    found = []
    for series in ("", "run-a", "run-b"):
        found.append(Result("public", "signal_quality", series, level, level - 0.1, level + 0.1, None, ""))
        found.append(Result("private", "signal_quality", series, PRIVATE_VALUE, 0.7, 0.8, None, ""))
    found.append(Result("public", "e2lmc_sq", "", 0.912345, 0.812345, 0.951234))
    found.append(Result("public", "e2lmc_rc", "", 2 / 3, reason="no interval: one item"))
    found.append(Result("public", "e2lmc_cs", "", None, reason="no control series"))
    found.append(Result("public", "e2lmc_global", "", None, reason="undefined: CS"))
    return found
