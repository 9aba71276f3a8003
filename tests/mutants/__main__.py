"""``python -m tests.mutants``: run (plant and judge), draw (fill the list), reach (which tests run which function).

run [--only NAME|PACKAGE|FILE ...] [--sample 15 [--seed N]] [--jobs 2] [--limit SECONDS] [--record]
draw [--seed N] [--redraw NAME ... | --redraw stale]
reach [PACKAGE ...]
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic

from tests.mutants.copies import tree_digest
from tests.mutants.drawn import LIST, PACKAGES, Mutant, counts, drawable, drawn, read, redrawn, sources, stale, write
from tests.mutants.planting import KILLED, Results, Verdict, copies, nice_jobs, planted_all, table
from tests.mutants.reach import functions_called, noticing

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "mutants"
REACHED = BUILD / "reach.json"


def main(arguments: list[str] | None = None) -> int:
    """0 if every planted change was noticed, 1 if one was not or is stale, 2 if what was asked for is not there."""
    options = _parser().parse_args(arguments)
    # As a keyboard's interrupt, which removes the copies, and which a process in the background never gets.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        print("stopped; the same command goes on where it was", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__, allow_abbrev=False)
    actions = parser.add_subparsers(required=True)
    run = actions.add_parser("run", help="plant every change and fail if a test notices none of it")
    run.add_argument("--only", nargs="+", default=[], help="names, packages or files")
    run.add_argument("--sample", type=int, help="so many, drawn at random")
    run.add_argument("--seed", type=int, help="of the sample; from the commit unless given")
    run.add_argument("--jobs", type=int, help="at a time")
    run.add_argument("--limit", type=float, default=300.0, help="seconds for the tests of one change")
    run.add_argument(
        "--record", action="store_true", help="write into the list which test noticed, as the first to ask"
    )
    run.set_defaults(run=_run)
    draw = actions.add_parser("draw", help="fill the list")
    draw.add_argument("--seed", type=int, default=9)
    draw.add_argument("--redraw", nargs="+", default=[], help="names that go, or 'stale' for all whose line is gone")
    draw.set_defaults(run=_draw)
    reach = actions.add_parser("reach", help="run the tests of packages in a copy that tells who calls what")
    reach.add_argument("packages", nargs="*", choices=[*PACKAGES, []], help="all unless named")
    reach.add_argument("--limit", type=float, default=3600.0)
    reach.set_defaults(run=_reach)
    return parser


def _run(options: argparse.Namespace) -> int:
    mutants = read()
    chosen = _chosen(mutants, options)
    gone = stale(chosen, ROOT)
    for one in gone:
        print(
            f"{one.name}: {one.change.file} has no line {one.change.line!r} in {one.change.where} any more: "
            f"`python -m tests.mutants draw --redraw {one.name}` finds it where it moved to, or draws another",
            file=sys.stderr,
        )
    if not chosen:
        print(
            f"--only {' '.join(options.only)}: no mutant of {LIST.name} has such a name, package or file",
            file=sys.stderr,
        )
        return 2
    began = monotonic()
    planting = [one for one in chosen if not one.equivalent and one not in gone]
    results = Results(BUILD / "results.jsonl", tree_digest(ROOT))
    found = planted_all(
        planting, ROOT, results, jobs=nice_jobs(options.jobs), limit_s=options.limit, told=_teller(len(planting))
    )
    if options.record:
        write(_recorded(read(), found))
    print(table(chosen, found))
    print(f"{len(planting)} planted in {monotonic() - began:.0f} s")
    return 1 if gone or any(one.outcome != KILLED for one in found.values()) else 0


def _chosen(mutants: list[Mutant], options: argparse.Namespace) -> list[Mutant]:
    if options.only:
        mutants = [
            one
            for one in mutants
            if any(word in (one.name, one.change.package, one.change.file) for word in options.only)
        ]
    if options.sample:
        seed = options.seed if options.seed is not None else _seed_of_commit()
        print(f"a sample of {options.sample}: --seed {seed}")
        planted_ones = [one for one in mutants if not one.equivalent]
        mutants = random.Random(seed).sample(planted_ones, min(options.sample, len(planted_ones)))
    return mutants


def _seed_of_commit() -> int:
    """The same for the same commit, so that a second run asks the same; 0 where there is none."""
    said = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return int(said.stdout.strip()[:8], 16) if said.returncode == 0 else 0


def _teller(count: int) -> Callable[[Verdict], None]:
    """Prints each verdict as it comes, with how many of all there are by now."""
    number = itertools.count(1)

    def told(one: Verdict) -> None:
        print(f"[{next(number)}/{count}] {one.name} {one.outcome} {one.by} ({one.seconds:.0f} s)", flush=True)

    return told


def _recorded(mutants: list[Mutant], found: dict[str, Verdict]) -> list[Mutant]:
    """The list with the test that noticed as the first to ask, and four more."""
    recorded = []
    for one in mutants:
        by = found[one.name].by if one.name in found and found[one.name].outcome == KILLED else ""
        notice = dict.fromkeys([*([by] if "::" in by else []), *one.notice])
        recorded.append(replace(one, notice=tuple(notice)[:5] if by else tuple(notice)))
    return recorded


def _draw(options: argparse.Namespace) -> int:
    mutants = read()
    gone = [one for one in mutants if one.name in options.redraw]
    unknown = set(options.redraw) - {one.name for one in gone} - {"stale"}
    if unknown:
        print(f"--redraw: {LIST.name} has no {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    gone += stale(mutants, ROOT) if "stale" in options.redraw else []
    known = {one.name for one in mutants}
    if gone:
        filled = redrawn(mutants, gone, ROOT, options.seed)
    else:
        filled = drawn(drawable(ROOT), mutants, sources(ROOT), options.seed)
    reached = json.loads(REACHED.read_text(encoding="utf-8")) if REACHED.exists() else {}
    texts = sources(ROOT)
    filled = [one if one.notice else replace(one, notice=noticing(one.change, reached, texts, ROOT)) for one in filled]
    write(filled)
    for one in filled:
        if one.name not in known:
            print(f"{one.name}  {one.change.file}  {one.change.where}\n  - {one.change.line}\n  + {one.change.changed}")
    print(", ".join(f"{package} {count}" for package, count in sorted(counts(filled).items())))
    return 0


def _reach(options: argparse.Namespace) -> int:
    reached = json.loads(REACHED.read_text(encoding="utf-8")) if REACHED.exists() else {}
    for package in options.packages or PACKAGES:
        with copies(ROOT, 1) as queue:
            found = functions_called(queue.get(), package, options.limit)
        reached = {key: tests for key, tests in reached.items() if f"/{package}/" not in f"/{key}"}
        reached |= {key: tests for key, tests in found.items() if f"/{package}/" in f"/{key}"}
        BUILD.mkdir(parents=True, exist_ok=True)
        REACHED.write_text(json.dumps(reached), encoding="utf-8")
        tests = {test for one in reached.values() for test in one}
        print(f"{package}: {len(found)} functions; {len(tests)} tests in all", flush=True)
    texts = sources(ROOT)
    asked = [
        replace(one, notice=tuple(dict.fromkeys([*one.notice[:1], *noticing(one.change, reached, texts, ROOT)])))
        if one.change.package in (options.packages or PACKAGES) and one not in stale([one], ROOT)
        else one
        for one in read()
    ]
    write(asked)
    return 0


if __name__ == "__main__":
    sys.exit(main())
