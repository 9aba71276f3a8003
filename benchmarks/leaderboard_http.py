"""Submissions per second, and ranking pages per second, over HTTP on this machine.

    python benchmarks/leaderboard_http.py [--seconds 10] [--clients 16] [--submissions 10000]

The server is a process of its own; so are the clients. Every POST is another bundle of about 160 items, acknowledged
once it is on disk.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import numpy as np

from e2lm_leaderboard.bundle.bundle import Bundle
from e2lm_leaderboard.cli.entrant import sample_files
from e2lm_leaderboard.season.season import Season, SeasonRules
from e2lm_leaderboard.store.database import database_url
from e2lm_leaderboard.store.store import Incoming, Result, Store
from e2lm_leaderboard.store.tables import State
from e2lm_leaderboard.web.guard import token_hash

TOKEN = "e2lm_benchmark"
BUNDLES = 6000
#: A team sends few bundles a day, so many clients are many teams.
TEAMS = 64
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def filled(folder: Path, submissions: int) -> None:
    """A season with many scored submissions."""
    season = Season(title="Load", rules=SeasonRules(submissions_per_day=10**9), posts_per_minute=10**9)
    season.write(folder)
    store = Store(database_url(str(folder)))
    store.add_team("organiser", token_hash(TOKEN), "organiser", NOW)
    for number in range(TEAMS):
        store.add_team(f"team {number}", token_hash(f"{TOKEN}{number}"), "team", NOW)
    rng = np.random.default_rng(0)

    def one(number: int) -> None:
        content = f"filler {number}".encode()
        key = sha256(content).hexdigest()
        store.submit(Incoming(key, content, f"bench-{number}", "Title", f"team-{number}"), 10**9, NOW)
        store.move(key, State.CHECKING, NOW)
        store.move(key, State.RUNNING, NOW)
        value = float(values[number])
        rows = [Result("public", name, "", value, value - 0.05, value + 0.05) for name in season.all_scores]
        store.record(key, rows, {}, NOW)

    values = rng.random(submissions)
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(one, range(submissions)))
    store.close()


def bundles(count: int) -> list[bytes]:
    """Bundles that differ in one line."""
    files = {name: text.encode() for name, text in sample_files().items()}
    return [Bundle({**files, "README": f"number {number}\n".encode()}).packed() for number in range(count)]


def posting(port: int, archives: list[bytes], clients: int, seconds: float, out: object) -> None:
    """Post as fast as the server answers; latencies in seconds go to ``out``."""
    waiting, latencies, failures = list(archives), [], []
    end = time.perf_counter() + seconds

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        while time.perf_counter() < end and waiting:
            body = waiting.pop()
            headers = {"Authorization": f"Bearer {TOKEN}{len(waiting) % TEAMS}"}
            started = time.perf_counter()
            connection.request("POST", "/api/v1/submissions", body, headers)
            answer = connection.getresponse()
            answer.read()
            latencies.append(time.perf_counter() - started)
            if answer.status != 201:
                failures.append(answer.status)

    started = time.perf_counter()
    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    out.put((latencies, failures, time.perf_counter() - started))  # type: ignore[attr-defined]


def getting(port: int, seconds: float, out: object) -> None:
    """Read the ranking over one connection, raw: the client should cost little."""
    request = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(request)
        first = connection.recv(1 << 20)
        while b"</html>" not in first:
            first += connection.recv(1 << 20)
        size, latencies = len(first), []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            started = time.perf_counter()
            connection.sendall(request)
            left = size
            while left > 0:
                left -= len(connection.recv(left))
            latencies.append(time.perf_counter() - started)
    out.put((latencies, size))  # type: ignore[attr-defined]


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def told(latencies: list[float]) -> str:
    p50, p99 = (1000 * float(np.quantile(latencies, q)) for q in (0.5, 0.99))
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--submissions", type=int, default=10_000)
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="e2lm-http-"))
    started = time.perf_counter()
    filled(folder, options.submissions)
    print(f"filled with {options.submissions} submissions in {time.perf_counter() - started:.0f} s", flush=True)
    archives = bundles(BUNDLES)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [sys.executable, "-m", "e2lm", "leaderboard", "serve", str(folder), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            _wait(port)
            results = multiprocessing.Queue()
            reader = multiprocessing.Process(target=getting, args=(port, options.seconds, results))
            reader.start()
            latencies, size = results.get()
            reader.join()
            rate = len(latencies) / options.seconds
            print(f"ranking page {rate:.0f}/s from cache over one connection, {told(latencies)}, {size / 1000:.0f} kB")
            poster = multiprocessing.Process(
                target=posting, args=(port, archives, options.clients, options.seconds, results)
            )
            before_s = cpu_s(server.pid)
            poster.start()
            latencies, failures, wall_s = results.get()
            each_ms = 1000 * (cpu_s(server.pid) - before_s) / len(latencies)
            poster.join()
            rate = len(latencies) / wall_s
            print(
                f"submissions  {rate:.0f}/s from {options.clients} clients, {told(latencies)}, failed {len(failures)}"
            )
            print(f"              {each_ms:.2f} ms CPU of the server each")
        finally:
            server.terminate()


def _wait(port: int) -> None:
    for _ in range(300):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", "/api/v1/season")
            json.load(connection.getresponse())
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the server does not answer")


if __name__ == "__main__":
    main()
