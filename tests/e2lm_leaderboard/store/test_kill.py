"""A process killed at any moment loses nothing that it acknowledged, and leaves nothing half done."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from e2lm_leaderboard.store.database import database_url
from e2lm_leaderboard.store.store import Store

KILLS = 20

#: Submits, moves and scores for ever; every acknowledgement is printed once the store gave it.
VICTIM = """
import sys
from datetime import UTC, datetime
from hashlib import sha256
from e2lm_leaderboard.store.store import Incoming, Result, Store
from e2lm_leaderboard.store.tables import State
store, tag, now = Store(sys.argv[1]), sys.argv[2], datetime.now(UTC)
print("ready", flush=True)
for k in range(10**6):
    content = f"{tag} {k}".encode() * 50
    key = sha256(content).hexdigest()
    store.submit(Incoming(key, content, "sums", "Sums", "reds"), 10**9, now)
    print("queued", key, flush=True)
    store.move(key, State.CHECKING, now)
    store.move(key, State.RUNNING, now)
    print("running", key, flush=True)
    store.record(key, [Result("public", f"s{j}", "", j / 7) for j in range(50)], {"k": k}, now)
    print("scored", key, flush=True)
"""
ORDER = ("queued", "checking", "running", "scored")


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    url, chance = database_url(str(tmp_path)), random.Random(0)
    acknowledged: dict[str, str] = {}
    for tag in range(KILLS):
        command = [sys.executable, "-c", VICTIM, url, str(tag)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as victim:
            assert victim.stdout is not None
            assert victim.stdout.readline() == "ready\n"
            time.sleep(chance.uniform(0, 0.2))
            victim.send_signal(signal.SIGKILL)
            for line in victim.stdout.read().splitlines():
                state, _, key = line.partition(" ")
                if len(key) == 64:
                    acknowledged[key] = state
    store = Store(url)
    entries = {entry.id: entry for entry in store.entries()}
    assert len(acknowledged) > KILLS
    assert [key for key, state in acknowledged.items() if ORDER.index(entries[key].state) < ORDER.index(state)] == []
    numbers = {key: len(store.results("public", key)) for key in entries}
    assert {(entries[key].state == "scored", count) for key, count in numbers.items()} <= {(True, 50), (False, 0)}
    assert [entry.number for entry in store.entries()] == list(range(1, len(entries) + 1))
    assert store.verify() == []
    store.close()
