"""Good, broken and hostile entries, several workers on one season, and workers killed at random times.

    python benchmarks/leaderboard_queue.py [--each 100] [--workers 4] [--kills 40]

Workers are processes that do the organiser's whole run with log-likelihoods drawn instead of models; one killed is
replaced. Hostile entries attack the door (names, templates, YAML, Parquet, rows), or their evaluation is ended at a
limit. Holds when every good entry was scored, once by the log, every other refused with its reason, and ``verify`` has
nothing to say.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from leaderboard_kill import NOW, SEASON, drawn_samples
from sqlalchemy import create_engine, select

from e2lm.errors import E2LMError
from e2lm.plugin_manager import plugin_manager
from e2lm_leaderboard.bundle.bundle import Bundle
from e2lm_leaderboard.bundle.intake import take_in
from e2lm_leaderboard.cli.entrant import SUBMISSION_YAML, TASK_YAML, sample_files, sample_items
from e2lm_leaderboard.season import run as season_run
from e2lm_leaderboard.season.curves import RunFacts
from e2lm_leaderboard.store.database import database_url
from e2lm_leaderboard.store.store import Store
from e2lm_leaderboard.store.tables import AUDIT, WAITING

SAMPLE = {name: text.encode() for name, text in sample_files().items()}
#: Ends the evaluation of an entry that holds it, as a limit does.
ENDLESS = "endless"


def _rows(seed: int, **changes: Any) -> bytes:
    """Items of the sample in places of their own: whoever sends the words of another is a copy."""
    lines, chance = sample_items(np.random.default_rng(seed)).splitlines(), random.Random(seed)
    rows = [json.loads(line) for line in lines]
    for row in rows:
        places = ", ".join("".join(chance.choices("abdegiklmnoprstuvz", k=7)) for _ in range(9))
        row["story"] = f"This was in the days of {places}, and it was said of them. {row['story']}"
    return "".join(json.dumps({**row, **changes}) + "\n" for row in rows).encode()


def good(number: int) -> dict[str, bytes]:
    """Items of its own."""
    return {"counting.jsonl": _rows(number)}


def broken(number: int) -> dict[str, bytes]:
    """A mistake of a person."""
    number += 1000
    kinds: Sequence[dict[str, bytes]] = (
        {"counting.jsonl": b"\n".join(_rows(number).splitlines()[:50])},
        {"counting.yaml": TASK_YAML.replace("{{story}}", "{{tale}}").encode()},
        {"submission.yaml": SUBMISSION_YAML.replace("acc_norm", "nonsense").encode()},
        {"counting.jsonl": _rows(number, gold=9)},
        {"counting.jsonl": _rows(number, choices=["noon", "night"], gold=0)},
        {"counting.yaml": TASK_YAML.replace("counting.jsonl", "missing.jsonl").encode()},
    )
    return {**kinds[number % len(kinds)], "README": f"broken {number}".encode()}


def hostile(number: int) -> dict[str, bytes]:
    """An attack."""
    number += 2000
    kinds: Sequence[dict[str, bytes]] = (
        {"counting.yaml": TASK_YAML.replace(": choices", ": '{{ cycler.__init__ }}'").encode()},
        {"counting.yaml": TASK_YAML.replace(": choices", ": '{{ choices * 999999999 }}'").encode()},
        {"counting.yaml": TASK_YAML.encode() + b"tag: &a [*a]\n"},
        {"counting.jsonl": b'{"story": "' + b"x" * (1 << 17) + b'"}\n'},
        {"counting.jsonl": b"[" * 100_000 + b"\n"},
        {"counting.yaml": TASK_YAML.replace("counting.jsonl", "x.parquet").encode(), "x.parquet": b"PAR1" * 999},
        {"counting.jsonl": _rows(number, person=ENDLESS)},
        {"counting.yaml": TASK_YAML.encode() + b"process_docs: !function os.system\n"},
    )
    return {**kinds[number % len(kinds)], "README": f"hostile {number}".encode()}


def worker(folder: Path) -> None:
    """``e2lm leaderboard run`` until nothing waits."""

    def evaluated(season: Any, names: Sequence[str], tasks: Path, out: Path) -> None:
        if any(ENDLESS in (tasks / f"{name}.jsonl").read_text() for name in names):
            raise E2LMError("its evaluation took more than 1 s, which is the season's limit")

    season_run.evaluate = evaluated
    season_run.evaluated_samples = drawn_samples
    season_run.run_facts = lambda _: {"drawn": RunFacts(1e6, {k: k * 1e9 for k in range(8)})}
    season_run.require_usable = lambda *_: None
    store = Store(database_url(str(folder)))
    season_run.SeasonRun(folder, SEASON, store, tell=lambda _: None, now=lambda: NOW).run()
    store.close()


def entered(store: Store, each: int, chance: random.Random) -> tuple[set[str], set[str], int]:
    """Ids of good entries, of others that were queued, and how many the door refused."""
    makers = [(make, number) for make in (good, broken, hostile) for number in range(each)]
    chance.shuffle(makers)
    wanted, others, refused = set(), set(), 0
    for place, (make, number) in enumerate(makers):
        own = {"counting.jsonl": _rows(3000 + place)}
        bundle = Bundle({**SAMPLE, **own, **make(number)})
        intake = take_in(store, SEASON.rules, bundle.packed(), make.__name__, NOW + timedelta(seconds=place))
        if intake.entry is None:
            assert intake.findings
            refused += 1
        else:
            (wanted if make is good else others).add(intake.entry.id)
    return wanted, others, refused


def killed(folder: Path, workers: int, kills: int, chance: random.Random) -> int:
    """Let workers work and kill some, until nothing waits; how many were killed."""
    context = multiprocessing.get_context("fork")
    store, running, done = Store(database_url(str(folder))), list[BaseProcess](), 0
    total = len(store.entries(*WAITING))
    while waiting := len(store.entries(*WAITING)):
        running = [one for one in running if one.is_alive()]
        while len(running) < workers:
            running.append(context.Process(target=worker, args=(folder,)))
            running[-1].start()
        time.sleep(chance.uniform(0.05, 0.3))
        if done < kills and (total - waiting) * kills >= done * total:  # spread over the whole queue
            victim = chance.choice(running)
            os.kill(victim.pid or 0, signal.SIGKILL)
            victim.join()
            done += 1
    for one in running:
        one.join()
    store.close()
    return done


def main() -> int:
    """Print what came out; 1 where it does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=100, help="entries of each kind")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance, started = random.Random(options.seed), time.monotonic()
    plugin_manager()
    with tempfile.TemporaryDirectory(prefix="e2lm-queue-") as name:
        folder = Path(name)
        store = Store(database_url(name))
        store.set_setting("split_salt", "salt")
        wanted, others, refused = entered(store, options.each, chance)
        done = killed(folder, options.workers, options.kills, chance)
        states = {entry.id: entry for entry in store.entries()}
        engine = create_engine(database_url(name))
        with engine.connect() as connection:
            scored = Counter(connection.execute(select(AUDIT.c.subject).where(AUDIT.c.event == "scored")).scalars())
        engine.dispose()
        without = [key for key in others if states[key].state == "refused" and not states[key].reason]
        print(f"{done} of {options.kills} kills, {options.workers} workers, {time.monotonic() - started:.0f} s")
        print(f"good: {sum(states[key].state == 'scored' for key in wanted)} of {len(wanted)} scored")
        for key in wanted:
            if states[key].state != "scored":
                print(f"  {states[key].state}: {states[key].reason}")
        print(f"scored more than once: {sum(count > 1 for count in scored.values())}")
        print(f"others: {refused} refused at the door, {sum(states[key].state == 'refused' for key in others)} of")
        print(f"  {len(others)} in the queue refused, {len(without)} without a reason")
        problems = store.verify()
        print(f"verify: {problems or 'nothing to say'}")
        store.close()
        in_order = all(states[key].state == "scored" and scored[key] == 1 for key in wanted)
        return int(not in_order or bool(without or problems) or any(states[key].state != "refused" for key in others))


if __name__ == "__main__":
    sys.exit(main())
