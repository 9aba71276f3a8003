"""Plants changes one by one, each in a copy of the tree, and says which of them no test noticed."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from time import monotonic

from tests.mutants.changes import planted
from tests.mutants.copies import Ended, TreeCopy
from tests.mutants.drawn import PACKAGES, Mutant
from tests.mutants.reach import mirrored

KILLED, SURVIVED, STUCK = "killed", "survived", "stuck"
UNSOUND = "unsound, as this fails without the change too:"

#: What pytest ends with when no test was left to run.
NO_TESTS = 5


@dataclass(frozen=True)
class Verdict:
    """What came of one mutant: killed by a test (or by the import of its file), stuck beyond the limit, or survived."""

    name: str
    outcome: str
    by: str
    seconds: float


def verdict(mutant: Mutant, copy: TreeCopy, limit_s: float) -> Verdict:
    """Plant, run the likeliest test, then the others and those of the mirrored file.

    A test that fails without the change, too, has noticed nothing: the mutant is not judged by it, but called unsound.
    """
    began = monotonic()

    def ended(outcome: str, by: str = "") -> Verdict:
        return Verdict(mutant.name, outcome, by, round(monotonic() - began, 1))

    source = (copy.folder / mutant.change.file).read_text(encoding="utf-8")
    mirror = [mutant.change.file, *mirrored(mutant.change.file, copy.folder)]
    rounds: list[tuple[Sequence[str], list[str]]] = [(mutant.notice[:1], []), (mutant.notice, mirror)]
    for first, whole in rounds:
        with copy.holding(mutant.change.file, planted(source, mutant.change)):
            run = copy.test(first, whole, limit_s, stop=True)
        if run.code is None:
            return ended(STUCK)
        killer = _killer(run)
        if killer:
            sound = _passes_unchanged(copy, killer, first, whole, limit_s)
            return ended(KILLED if sound else UNSOUND, killer)
    return ended(SURVIVED)


def _killer(run: Ended) -> str:
    """The test that failed; a file that could no longer be imported, or a process that died, noticed it too."""
    if run.failed:
        return run.failed[0]
    if run.code in {0, NO_TESTS}:
        return ""
    return f"pytest ended with {run.code}"


def _passes_unchanged(copy: TreeCopy, killer: str, first: Sequence[str], whole: Sequence[str], limit_s: float) -> bool:
    """Whether the tree without the change passes: a test that always fails notices nothing."""
    if "::" not in killer:
        return copy.test(first, whole, limit_s, stop=False).code == 0
    return killer in copy.test([killer], [], limit_s, stop=False).passed


class Results:
    """Verdicts of one tree, a line each as soon as it is there, so that a killed run goes on."""

    def __init__(self, file: Path, tree: str) -> None:
        self.file, self.tree = file, tree

    def known(self) -> dict[str, Verdict]:
        """What is known of this very tree, by the name of the mutant."""
        lines = self.file.read_text(encoding="utf-8").splitlines() if self.file.exists() else []
        told = [json.loads(line) for line in lines if line.endswith("}")]
        return {
            one["name"]: Verdict(**{k: v for k, v in one.items() if k != "tree"})
            for one in told
            if one["tree"] == self.tree
        }

    def add(self, one: Verdict) -> None:
        """Keep a verdict."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"tree": self.tree, **asdict(one)}) + "\n")


@contextmanager
def copies(root: Path, count: int) -> Iterator[SimpleQueue[TreeCopy]]:
    """So many copies of the tree in a temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="e2lm-mutants-"))
    made: list[TreeCopy] = []
    try:
        queue: SimpleQueue[TreeCopy] = SimpleQueue()
        for number in range(count):
            made.append(TreeCopy.of(root, folder / str(number)))
            queue.put(made[-1])
        yield queue
    finally:
        for copy in made:
            copy.stop()
        shutil.rmtree(folder, ignore_errors=True)


def planted_all(
    mutants: Sequence[Mutant],
    root: Path,
    results: Results,
    *,
    jobs: int,
    limit_s: float,
    told: Callable[[Verdict], None],
) -> dict[str, Verdict]:
    """The verdict on every mutant, those already known first."""
    known = results.known()
    found = {one.name: known[one.name] for one in mutants if one.name in known}
    left = [one for one in mutants if one.name not in found]
    if not left:
        return found
    with ThreadPoolExecutor(jobs) as threads, copies(root, min(jobs, len(left))) as queue:

        def judged(mutant: Mutant) -> Verdict:
            copy = queue.get()
            try:
                return verdict(mutant, copy, limit_s)
            finally:
                queue.put(copy)

        running = [threads.submit(judged, mutant) for mutant in left]
        try:
            for done in as_completed(running):
                one = done.result()
                results.add(one)
                found[one.name] = one
                told(one)
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
    return found


def table(mutants: Sequence[Mutant], found: dict[str, Verdict]) -> str:
    """A line per package, then every survivor as it would stand in a diff."""
    lines = [f"{'package':<17}{'planted':>8}{'killed':>8}{'survived':>9}{'stuck':>6}{'equivalent':>11}{'seconds':>9}"]
    rows = [(package, [one for one in mutants if one.change.package == package]) for package in PACKAGES]
    for name, those in [*((name, those) for name, those in rows if those), ("all", list(mutants))]:
        verdicts = [found[one.name] for one in those if one.name in found]
        tally = Counter(one.outcome for one in verdicts)
        numbers = (
            len(verdicts),
            tally[KILLED],
            tally[SURVIVED],
            tally[STUCK],
            sum(bool(one.equivalent) for one in those),
        )
        lines.append(
            f"{name:<17}"
            + "".join(f"{n:>{w}}" for n, w in zip(numbers, (8, 8, 9, 6, 11), strict=True))
            + f"{sum(one.seconds for one in verdicts):>9.0f}"
        )
    for one in mutants:
        if one.name in found and found[one.name].outcome != KILLED:
            change = one.change
            lines += ["", f"{one.name}  {change.file}  {change.where}  ({change.kind})  {found[one.name].outcome}"]
            lines += [f"  - {change.line}", f"  + {change.changed}"]
    return "\n".join(lines)


def nice_jobs(wanted: int | None) -> int:
    """As many at a time as asked for, else as there are cores, two at most: tests need memory."""
    return wanted or min(2, os.cpu_count() or 1)
