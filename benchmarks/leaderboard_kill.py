"""Kills processes inside submit, score, publish and export, and looks at what is left.

    python benchmarks/leaderboard_kill.py [--kills-per-phase 150] [--postgres]

A victim does one kind of work over and over and tells when it begins and ends a piece; it is killed a random time
after such a beginning, drawn from as long as pieces of that kind take. Submit takes bundles in; score is the
organiser's whole run (check, items, 200 redraws per score, one commit), with log-likelihoods drawn instead of models;
publish records new numbers and computes the table that a page would show; export writes the pages.

Prints kills per phase, what was lost of what was acknowledged, what was half visible, what ``verify`` says, whether the
rest of the queue can be finished, and how long opening the store takes after a kill.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from leaderboard_postgres import postgres

from e2lm import Samples
from e2lm.item_metric import ItemChoices
from e2lm.plugin_manager import plugin_manager
from e2lm_leaderboard.bundle.bundle import Bundle
from e2lm_leaderboard.bundle.intake import take_in
from e2lm_leaderboard.cli.entrant import sample_files
from e2lm_leaderboard.ranking.table import season_table
from e2lm_leaderboard.season import run as season_run
from e2lm_leaderboard.season.curves import RunFacts
from e2lm_leaderboard.season.season import Season, SeasonRules
from e2lm_leaderboard.store.audit_log import FIRST_HASH
from e2lm_leaderboard.store.database import database_url
from e2lm_leaderboard.store.store import Entry, Result, Store
from e2lm_leaderboard.store.tables import State
from e2lm_leaderboard.web.export import export_season
from e2lm_leaderboard.web.pages import ServerLinks, ranking_page

PHASES = ("submit", "score", "publish", "export")
NOW = datetime(2026, 3, 1, tzinfo=UTC)
SEASON = Season(title="Kill", series=("drawn",), rules=SeasonRules(submissions_per_day=10**9))
SAMPLE = {name: text.encode() for name, text in sample_files().items()}
ITEMS, CHECKPOINTS = 160, 8
PUBLISHED_RESULTS = 50
#: Two splits of one series: two scores of curves over all series and for it, three of families, and the judge's.
RUN_RESULTS = 2 * (2 * 2 + 3 + 1)


@dataclass(frozen=True, slots=True)
class Places:
    """Where the stores are: submissions pile up in one, and the others have one that stays small."""

    submit_url: str
    season_url: str
    folder: Path

    def url(self, phase: str) -> str:
        """The store of a phase."""
        return self.submit_url if phase == "submit" else self.season_url

    @property
    def site(self) -> Path:
        """The export."""
        return self.folder / "site"


@dataclass(slots=True)
class Told:
    """What victims acknowledged, and when they were killed."""

    queued: dict[str, str] = field(default_factory=dict)
    scored: set[str] = field(default_factory=set)
    heads: set[str] = field(default_factory=set)
    exports: int = 0
    inside: Counter[str] = field(default_factory=Counter)
    between: Counter[str] = field(default_factory=Counter)
    duration_s: dict[str, list[float]] = field(default_factory=lambda: {phase: [0.05] for phase in PHASES})


# -- the victim --------------------------------------------------------------------------------------------------------


class Victim:
    """Works for ever; every piece of work is announced, and acknowledged once it is done."""

    def __init__(self, phase: str, places: Places, tag: int, pipe: int) -> None:
        self.phase, self.places, self.tag, self.pipe = phase, places, tag, pipe
        self.store = Store(places.url(phase))
        self.made = 0

    def tell(self, *words: str) -> None:
        """One line to the killer."""
        os.write(self.pipe, (" ".join(words) + "\n").encode())

    def work(self) -> None:
        """One phase, over and over."""
        action = {"submit": self.submit, "score": self.score, "publish": self.publish, "export": self.export}
        while True:
            action[self.phase]()

    def submit(self) -> None:
        """A bundle that nobody sent before."""
        bundle = Bundle({**SAMPLE, "README": f"{self.phase} {self.tag} {self.made}".encode()}).packed()
        self.made += 1
        if self.phase == "submit":
            self.tell("begin")
        intake = take_in(self.store, SEASON.rules, bundle, "reds", NOW)
        assert intake.entry is not None
        self.tell("queued", intake.entry.id, self.phase)

    def score(self) -> None:
        """All that waits, which others left half done."""
        if not self.store.entries(State.QUEUED, State.CHECKING, State.RUNNING):
            self.submit()
        waiting = [entry.id for entry in self.store.entries(State.QUEUED, State.CHECKING, State.RUNNING)]
        self.tell("begin")
        organiser_run(self.places.folder, self.store)
        for key in waiting:
            self.tell("scored", key)

    def publish(self) -> None:
        """New numbers for somebody, and the page with them."""
        scored = self.store.entries(State.SCORED)
        self.tell("begin")
        if scored:
            entry = scored[(self.tag + self.made) % len(scored)]
            self.made += 1
            value = (self.tag * 31 + self.made) % 97 / 97
            rows = [Result("public", f"s{k}", "", value) for k in range(PUBLISHED_RESULTS - 1)]
            rows.append(Result("public", SEASON.ranking_score, "", value, value - 0.1, value + 0.1))
            self.store.record(entry.id, rows, {"curves": []}, NOW)
        table = season_table(self.store, SEASON, NOW)
        assert table.head in ranking_page(table, self.store, ServerLinks())
        self.tell("head", table.head)

    def export(self) -> None:
        """All pages."""
        self.tell("begin")
        export_season(self.store, SEASON, self.places.site, NOW)
        self.tell("exported", json.loads((self.places.site / "ranking.json").read_text())["head"])


def organiser_run(folder: Path, store: Store) -> None:
    """``e2lm leaderboard run``, with log-likelihoods drawn instead of models."""
    season_run.evaluate = lambda *_: None
    season_run.evaluated_samples = drawn_samples
    season_run.run_facts = lambda _: {"drawn": RunFacts(1e6, {k: k * 1e9 for k in range(CHECKPOINTS)})}
    season_run.SeasonRun(folder, SEASON, store, tell=lambda _: None, now=lambda: NOW).run()


def drawn_samples(_: Path, tasks: Sequence[str]) -> list[Samples]:
    rng = np.random.default_rng(0)
    shape = (ITEMS, 4)
    lengths = np.full(shape, 5)
    found = []
    for task in tasks:
        for step in range(CHECKPOINTS):
            logliks = rng.normal(-5.0, 1.0, shape)
            logliks[:, 0] += 0.2 * step
            there = np.ones(shape, dtype=np.bool_)
            choices = ItemChoices(logliks, there, lengths, lengths, lengths, np.zeros(ITEMS, dtype=np.int64))
            found.append(Samples("drawn", step, task, np.arange(ITEMS), choices, there))
    return found


def victim(phase: str, places: Places, tag: int, pipe: int) -> None:
    Victim(phase, places, tag, pipe).work()


# -- the killer --------------------------------------------------------------------------------------------------------


def killed_once(phase: str, places: Places, tag: int, chance: random.Random, told: Told) -> None:
    """Start a victim, kill it inside a piece of its work, and note what it said."""
    read_end, write_end = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=victim, args=(phase, places, tag, write_end))
    process.start()
    os.close(write_end)
    pieces = chance.randint(1, 3 if phase in ("submit", "publish") else 2)
    with open(read_end, encoding="utf-8") as lines:
        said = []
        while pieces and (line := lines.readline()):
            said.append((time.monotonic(), line.split()))
            pieces -= line == "begin\n"
        assert not pieces, f"the victim of {phase} died by itself"
        time.sleep(chance.uniform(0, statistics.median(told.duration_s[phase][-9:])))
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        for line in lines:
            said.append((0.0, line.split()))
    note(phase, said, told)


def note(phase: str, said: Sequence[tuple[float, list[str]]], told: Told) -> None:
    began = 0.0
    for at, (word, *rest) in said:
        if word == "begin":
            began = at
            continue
        if phase != "score" or word == "scored":
            told.duration_s[phase] += [at - began] if began and at else []
        if word == "queued":
            told.queued[rest[0]] = rest[1]
        elif word == "scored":
            told.scored.add(rest[0])
        else:
            told.heads.add(rest[0])
            told.exports += word == "exported"
    is_inside = said[-1][1][0] == "begin"
    (told.inside if is_inside else told.between)[phase] += 1


def export_problem(places: Places, store: Store, told: Told) -> str | None:
    """What is wrong with the export as it stands."""
    if not places.site.exists():
        return "gone" if told.exports else None
    try:
        ranking = json.loads((places.site / "ranking.json").read_text(encoding="utf-8"))
        pages = [path.read_text(encoding="utf-8") for path in sorted(places.site.rglob("*.html"))]
    except (OSError, ValueError) as error:
        return f"cannot be read: {error}"
    if ranking["head"] != FIRST_HASH and not store.has_hash(ranking["head"]):
        return "its head is not in the log"
    if any(ranking["head"] not in page for page in pages):
        return "pages of two exports"
    ids = [row["id"] for row in ranking["ranking"]]
    wanted = ["index.html", "status.html", "ranking.csv", "ranking.parquet"]
    wanted += [f"submissions/{key}.html" for key in ids]
    missing = [name for name in wanted if not (places.site / name).is_file()]
    return f"{missing[0]} is missing" if missing else None


def is_half(store: Store, entry: Entry, results: int) -> bool:
    """Whether some of what belongs together is missing."""
    is_scored = entry.state == State.SCORED
    allowed = {PUBLISHED_RESULTS, RUN_RESULTS} if is_scored else {0}
    return results not in allowed or bool(store.details(entry.id)) != is_scored or not store.archive(entry.id)


def store_problems(url: str, phase: str, told: Told) -> dict[str, int]:
    """Counts of what is wrong in a store."""
    store = Store(url)
    entries = {entry.id: entry for entry in store.entries()}
    expected = [key for key, of in told.queued.items() if (of == "submit") == (phase == "submit")]
    scored = set() if phase == "submit" else told.scored
    results = Counter(key for split in ("public", "private") for key, _ in store.results(split))
    half = [key for key, entry in entries.items() if is_half(store, entry, results[key])]
    heads = set() if phase == "submit" else told.heads
    found = {
        "submissions lost": sum(key not in entries for key in expected),
        "scores lost": sum(entries[key].state != State.SCORED for key in scored if key in entries),
        "half visible": len(half),
        "published heads that the log lacks": sum(not store.has_hash(head) for head in heads - {FIRST_HASH}),
        "gaps in numbers": int([entry.number for entry in entries.values()] != list(range(1, len(entries) + 1))),
        "problems found by verify": len(store.verify()),
    }
    store.close()
    return found


def run(places: Places, kills: int, seed: int) -> None:
    chance, told, opening_s, torn = random.Random(seed), Told(), [], Counter[str]()
    plugin_manager()
    Store(places.submit_url).close()
    Store(places.season_url).close()
    tag = 0
    while open_phases := [phase for phase in PHASES if told.inside[phase] < kills]:
        tag, phase = tag + 1, chance.choice(open_phases)
        killed_once(phase, places, tag, chance, told)
        started = time.perf_counter()
        store = Store(places.url(phase))
        opening_s.append(time.perf_counter() - started)
        if phase == "export" and (problem := export_problem(places, store, told)):
            torn[problem] += 1
        store.close()
        if tag % 100 == 0:
            print(f"  {tag} kills", flush=True)
    report(places, told, opening_s, torn)


def report(places: Places, told: Told, opening_s: Sequence[float], torn: Counter[str]) -> None:
    for phase in PHASES:
        typical = statistics.median(told.duration_s[phase])
        print(f"{phase:<10} killed inside {told.inside[phase]}, between {told.between[phase]}; takes {typical:.3f} s")
    print(f"acknowledged: {len(told.queued)} submissions, {len(told.scored)} scored, {len(told.heads)} heads published")
    for phase in ("submit", "score"):
        for what, count in store_problems(places.url(phase), phase, told).items():
            print(f"{'store of submissions' if phase == 'submit' else 'store of the season':<22} {what}: {count}")
    print(f"exports torn: {sum(torn.values())} {dict(torn) or ''}")
    store = Store(places.season_url)
    organiser_run(places.folder, store)
    left = store.entries(State.QUEUED, State.CHECKING, State.RUNNING)
    print(f"left in the queue after one more run: {len(left)}; verify after it: {len(store.verify())}")
    store.close()
    print(f"opening after a kill: median {statistics.median(opening_s):.3f} s, worst {max(opening_s):.3f} s")


@contextmanager
def places(is_postgres: bool) -> Iterator[Places]:
    folder = Path(tempfile.mkdtemp(prefix="e2lm-kill-"))
    if not is_postgres:
        (folder / "submit").mkdir()
        yield Places(database_url(str(folder / "submit")), database_url(str(folder)), folder)
        return
    with postgres() as server:
        yield Places(server.url("submit"), server.url("season"), folder)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills-per-phase", type=int, default=150, help="inside a piece of work; others come on top")
    parser.add_argument("--postgres", action="store_true", help="on a PostgreSQL of its own (default: SQLite)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    engine = "PostgreSQL" if options.postgres else "SQLite"
    print(f"{engine}, {options.kills_per_phase} kills in each of {len(PHASES)} phases", flush=True)
    with places(options.postgres) as found:
        run(found, options.kills_per_phase, options.seed)


if __name__ == "__main__":
    main()
