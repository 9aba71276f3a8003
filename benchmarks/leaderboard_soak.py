"""Mixed load on one season for as long as wanted: does memory grow, does anything get slower?

    python benchmarks/leaderboard_soak.py [--minutes 30] [--submissions 300]

Three kinds of processes at once: the server; an organiser who takes the queue through check, items and scores (with
log-likelihoods drawn instead of models), prints the ranking and exports the pages, over and over; and clients who enter
new bundles (one a second), enter old ones again, and read pages, tables and comparisons.

Prints resident memory of server and organiser and latencies, in the second and the last fifth of the time (the first is
for warming up), the growth between them, the largest WAL file, answers that were errors, and what ``verify`` says at
the end.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import multiprocessing
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from leaderboard_kill import NOW, SAMPLE, SEASON, organiser_run

from e2lm_leaderboard.bundle.bundle import Bundle
from e2lm_leaderboard.bundle.intake import take_in
from e2lm_leaderboard.ranking.table import season_table
from e2lm_leaderboard.store.database import database_url
from e2lm_leaderboard.store.store import Result, Store
from e2lm_leaderboard.store.tables import State
from e2lm_leaderboard.web.export import export_season
from e2lm_leaderboard.web.guard import token_hash

TOKEN = "e2lm_soak"
MIB = 1 << 20
#: Pauses of the clients, s: so that the load is the same at the end as at the start.
NEW_EVERY_S, AGAIN_EVERY_S, READ_EVERY_S, ROUND_EVERY_S = 1.0, 0.05, 0.02, 2.0
READERS = 4

#: Method, path and body of the next request.
Ask = Callable[[], tuple[str, str, bytes]]


@dataclass
class Log:
    """What was seen, with seconds since the start."""

    started: float = field(default_factory=time.monotonic)
    latency: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    rss: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)
    wal_bytes: int = 0

    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started


def bundle(number: int) -> bytes:
    """The sample under another content."""
    return Bundle({**SAMPLE, "README": str(number).encode()}).packed()


def filled(folder: Path, submissions: int) -> None:
    """A season with scored submissions."""
    SEASON.write(folder)
    store = Store(database_url(str(folder)))
    store.set_setting("split_salt", "salt")
    store.add_team("reds", token_hash(TOKEN), "team", NOW)
    for number in range(submissions):
        entry = take_in(store, SEASON.rules, bundle(-number), "reds", NOW).entry
        assert entry is not None
        store.move(entry.id, State.CHECKING, NOW)
        store.move(entry.id, State.RUNNING, NOW)
        value = number % 97 / 97
        store.record(entry.id, [Result("public", SEASON.ranking_score, "", value, value - 0.1, value + 0.1)], {}, NOW)
    store.close()


def organiser(folder: Path, stop: object) -> None:
    """Run, rank, export, over and over."""
    store = Store(database_url(str(folder)))
    while not stop.is_set():  # type: ignore[attr-defined]
        organiser_run(folder, store)
        season_table(store, SEASON, NOW)
        export_season(store, SEASON, folder / "site", NOW)
        time.sleep(ROUND_EVERY_S)
    store.close()


def client(port: int, log: Log, stop: threading.Event, every_s: float, ask: Ask) -> None:
    """Ask the server, and note how long it took."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    while not stop.is_set():
        method, path, body = ask()
        headers = {"Authorization": f"Bearer {TOKEN}"} if method == "POST" else {}
        began = time.monotonic()
        try:
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status >= 400:
                log.errors.append(f"{log.now():.0f} s {method} {path}: {answer.status}")
        except OSError as error:
            log.errors.append(f"{log.now():.0f} s {method} {path}: {error}")
            connection.close()
        kind = path.partition("?")[0].split("/")[1] or "ranking"
        log.latency[f"{method} {kind}"].append((log.now(), time.monotonic() - began))
        stop.wait(every_s)


def asks(folder: Path, submissions: int, new_every_s: float) -> list[tuple[float, Ask]]:
    """Pause and next request of each client."""
    store = Store(database_url(str(folder)))
    keys = [entry.id for entry in store.entries()]
    store.close()
    fresh, chance = itertools.count(1), random.Random(0)
    old = [bundle(-number) for number in range(min(submissions, 50))]
    pages = ["/", "/status", "/ranking.csv", "/ranking.parquet", "/api/v1/ranking", "/api/v1/season", "/style.css"]

    def read() -> tuple[str, str, bytes]:
        if chance.random() < 0.5:
            return "GET", chance.choice(pages), b""
        if chance.random() < 0.5:
            return "GET", f"/submissions/{chance.choice(keys)}", b""
        return "GET", f"/compare?a={chance.choice(keys)}&b={chance.choice(keys)}", b""

    post = "/api/v1/submissions"
    new = [(new_every_s, lambda: ("POST", post, bundle(next(fresh))))] if new_every_s else []
    return [
        *new,
        (AGAIN_EVERY_S, lambda: ("POST", post, chance.choice(old))),
        *[(READ_EVERY_S, read)] * READERS,
    ]


def rss_mib(process: int) -> float:
    """Resident memory."""
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def served(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """The server, answering."""
    command = [sys.executable, "-m", "e2lm", "leaderboard", "serve", str(folder), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.1)
    sys.exit("the server did not start")


def soaked(folder: Path, submissions: int, seconds: float, new_every_s: float) -> Log:
    """Everything that was seen in ``seconds`` of load."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    stop, stop_organiser = threading.Event(), context.Event()
    worker = context.Process(target=organiser, args=(folder, stop_organiser))
    server = served(folder, port)
    worker.start()
    log = Log()
    clients = asks(folder, submissions, new_every_s)
    threads = [threading.Thread(target=client, args=(port, log, stop, every_s, ask)) for every_s, ask in clients]
    for thread in threads:
        thread.start()
    while log.now() < seconds:
        time.sleep(1.0)
        for name, process in (("server", server.pid), ("organiser", worker.pid)):
            log.rss[name].append((log.now(), rss_mib(process or 0)))
        wal = folder / "leaderboard.db-wal"
        log.wal_bytes = max(log.wal_bytes, wal.stat().st_size if wal.exists() else 0)
    stop.set()
    stop_organiser.set()
    for thread in threads:
        thread.join()
    server.terminate()
    server.wait()
    worker.join()
    return log


def part(seen: Sequence[tuple[float, float]], start: float, end: float) -> list[float]:
    """What was seen in between."""
    return [value for at, value in seen if start <= at < end] or [float("nan")]


def report(log: Log, seconds: float, folder: Path) -> None:
    """Print the first and the last fifth after the warm-up."""
    fifth = seconds / 5
    windows = ((fifth, 2 * fifth), (4 * fifth, seconds + 1))
    for name, seen in log.rss.items():
        first, last = (statistics.median(part(seen, *window)) for window in windows)
        print(f"memory of {name:<10} {first:8.1f} MiB, then {last:8.1f} MiB: {last / first - 1:+.1%}")
    for name, seen in sorted(log.latency.items()):
        shown = []
        for window in windows:
            values = sorted(part(seen, *window))
            shown.append(f"{statistics.median(values) * 1e3:7.1f} / {values[int(0.99 * len(values))] * 1e3:7.1f} ms")
        print(f"{name:<18} {len(seen):7} answers, median / p99 {shown[0]}, then {shown[1]}")
    print(f"largest WAL file {log.wal_bytes / MIB:.1f} MiB; errors {len(log.errors)} {log.errors[:5] or ''}")
    store = Store(database_url(str(folder)))
    states = defaultdict(int)
    for entry in store.entries():
        states[entry.state] += 1
    print(f"submissions {dict(states)}; problems found by verify {len(store.verify())}")
    store.close()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--submissions", type=int, default=300, help="scored ones at the start")
    parser.add_argument(
        "--new-every-s", type=float, default=NEW_EVERY_S, help="seconds between new bundles; 0 for none"
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="e2lm-soak-") as name:
        folder, seconds = Path(name), options.minutes * 60
        filled(folder, options.submissions)
        print(f"{options.minutes:g} minutes, load of the machine {os.getloadavg()[0]:.1f} at the start", flush=True)
        report(soaked(folder, options.submissions, seconds, options.new_every_s), seconds, folder)


if __name__ == "__main__":
    main()
