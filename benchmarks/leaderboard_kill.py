"""Kills processes at random points of submit, score, publish and export, and looks at what is left.

    python benchmarks/leaderboard_kill.py [--kills 500] [--database URL]

Prints acknowledged and lost changes, half-written scores, torn exports, what ``verify`` says, and how long opening the
store takes after a kill.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from e2lm_leaderboard.database import database_url
from e2lm_leaderboard.season import Season
from e2lm_leaderboard.static_export import export_season
from e2lm_leaderboard.store import Incoming, Result, Store
from e2lm_leaderboard.submission_state import State

ORDER = ("queued", "checking", "running", "scored")
RESULTS_PER_SUBMISSION = 50
EXPORT_EVERY = 8
NOW = datetime(2026, 3, 1, tzinfo=UTC)
#: The last files of an export: a folder without one of them was left half done.
EXPORT_FILES = ("index.html", "status.html", "ranking.csv", "ranking.json", "ranking.parquet")


def victim(url: str, site: Path, tag: int, pipe: int) -> None:
    """Work for ever; tell each acknowledgement."""
    store = Store(url)
    os.write(pipe, b"ready\n")
    season = Season(title="Kill")
    number = 0
    while True:
        content = f"{tag} {number}".encode() * 50
        key = sha256(content).hexdigest()
        store.submit(Incoming(key, content, "sums", "Sums", f"team {tag}"), 10**9, NOW)
        os.write(pipe, f"queued {key}\n".encode())
        store.move(key, State.CHECKING, NOW)
        store.move(key, State.RUNNING, NOW)
        os.write(pipe, f"running {key}\n".encode())
        rows = [Result("public", f"s{j}", "", j / 7) for j in range(RESULTS_PER_SUBMISSION)]
        store.record(key, rows, {}, NOW)
        os.write(pipe, f"scored {key}\n".encode())
        if number % EXPORT_EVERY == 0 and tag % 10 == 0:
            export_season(store, season, site, NOW)
        number += 1


def killed_once(url: str, site: Path, tag: int, chance: random.Random) -> list[str]:
    """What one victim acknowledged before it was killed."""
    read_end, write_end = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=victim, args=(url, site, tag, write_end))
    process.start()
    os.close(write_end)
    with open(read_end, "rb") as lines:
        lines.readline()
        time.sleep(chance.uniform(0, 0.4))
        os.kill(process.pid or 0, signal.SIGKILL)
        told = lines.read().decode().split("\n")
    process.join()
    return told[:-1]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--database", default=None)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="e2lm-kill-"))
    url = options.database or database_url(str(folder))
    chance, site = random.Random(options.seed), folder / "site"
    acknowledged: dict[str, str] = {}
    opening_s, torn = [], 0
    for tag in range(options.kills):
        for line in killed_once(url, site, tag, chance):
            state, _, key = line.partition(" ")
            acknowledged[key] = state
        if site.exists():
            torn += not all((site / name).is_file() for name in EXPORT_FILES)
        if tag % 25 == 0:
            started = time.perf_counter()
            Store(url).close()
            opening_s.append(time.perf_counter() - started)
    store = Store(url)
    entries = {entry.id: entry for entry in store.entries()}
    lost = [key for key, state in acknowledged.items() if key not in entries]
    behind = [
        key
        for key, state in acknowledged.items()
        if key in entries and ORDER.index(entries[key].state) < ORDER.index(state)
    ]
    counts: dict[str, int] = {}
    for key, _ in store.results("public"):
        counts[key] = counts.get(key, 0) + 1
    wanted = {key: RESULTS_PER_SUBMISSION if one.state == "scored" else 0 for key, one in entries.items()}
    half = [key for key in entries if counts.get(key, 0) != wanted[key]]
    print(f"kills                         {options.kills}")
    print(f"submissions acknowledged      {len(acknowledged)}, lost {len(lost)}, behind what was said {len(behind)}")
    print(f"half-written scores           {len(half)}")
    print(f"exports torn                  {torn}")
    print(f"problems found by verify      {len(store.verify())}")
    print(f"opening after a kill          {statistics.median(opening_s):.2f} s, worst {max(opening_s):.2f} s")
    store.close()


if __name__ == "__main__":
    main()
