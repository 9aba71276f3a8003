"""The loop of ``e2lm watch``: look, score what is finished, remember what was deleted too soon, judge, wait.

A checkpoint costs itself: one that cannot be read is named, and tried again when it changes. A disk that is full, or a
folder that is not there, is waited for.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2lm.errors import MachineError, UserError, one_line, system_error
from e2lm.results import read_scores
from e2lm.series import Series
from e2lm_adapters.eval.recorded import TABLE_FILE
from e2lm_adapters.eval.store import EvaluationStore
from e2lm_adapters.watch.finished import ONCE_MORE, FileStamps, Finished, Look, WatchedRun
from e2lm_adapters.watch.holding import SETTLE_S, Holder
from e2lm_adapters.watch.pinned import pinned_before
from e2lm_adapters.watch.record import DELETED, RecordFile, Unscored, claimed

NOT_YET = "finished, not scored yet"
#: New checkpoints that are scored between two looks.
AT_ONCE = 4

ScorePass = Callable[[Sequence[Series]], Any]


@dataclass
class Watcher:
    """Looks at ``runs`` and lets ``score`` evaluate what is new, ``judge`` say what follows (True: end)."""

    runs: Sequence[WatchedRun]
    out: Path
    source: Any
    score: ScorePass
    judge: Callable[[Sequence[Look]], bool]
    every_s: float
    pins: bool = False
    quiet: bool = False
    scored: int = 0
    failed: dict[str, tuple[FileStamps, str]] = field(default_factory=dict)
    _done: dict[tuple[str, int], FileStamps] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)
    _seen: set[str] = field(default_factory=set)
    _changed_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._record = RecordFile(self.out)
        self._seen = set(self._record.read().unscored)
        self.holder = Holder(
            self.runs, self.out, self.source, self.every_s, self.pins, self._is_wanted, self._write_down
        )

    def once(self) -> list[Look]:
        """Two looks, everything scored that is finished; raises where a RUN cannot be looked at."""
        self._score_pinned()
        looks = self._look()
        for look in looks:
            if look.trouble:
                raise UserError(look.trouble)
        if any(look.waiting for look in looks):
            time.sleep(min(SETTLE_S, self.every_s))
        while self._score_new(self._look()):
            pass
        self.holder.end()
        while self._score_new(self._look()):
            pass
        looks = self._look()
        self.judge(looks)
        return looks

    def standing(self, until_idle_s: float | None) -> None:
        """Look until ``judge`` says to end, or nothing has been new for so long."""
        with self._trouble_waited_for():
            self._score_pinned()
        while True:
            looks: list[Look] = []
            with self._trouble_waited_for():
                looks = self._look()
                more = self._score_new(looks)
                if self.judge(looks):
                    return
                if more:
                    continue
            if until_idle_s is not None and time.monotonic() - self._changed_s > until_idle_s:
                self.holder.end()
                with self._trouble_waited_for():
                    self._score_new(self._look())  # what was held a moment ago
                return
            fresh = any(why == ONCE_MORE for look in looks for why in look.waiting.values())
            self._wait(min(SETTLE_S, self.every_s) if fresh else self.every_s)

    # -- looking --------------------------------------------------------------------------------------------------

    def _look(self) -> list[Look]:
        looks = [run.look() for run in self.runs]
        for run, look in zip(self.runs, looks, strict=True):
            if look.trouble:
                self._tell_once(f"{run.run}: {look.trouble}; looked at again every {self.every_s:g} s")
            else:
                self._told.difference_update({one for one in self._told if one.startswith(f"{run.run}: ")})
        self._note(looks)
        return looks

    def _note(self, looks: Sequence[Look]) -> None:
        """Write down what waits and what is gone, and say so once."""
        finished = [one for look in looks for one in look.finished]
        waiting = self._waiting(looks)
        gone = {} if any(look.trouble for look in looks) else self._gone(looks)
        done = {one.label for one in finished if self._is_done(one)} | {label for label, why in gone.items() if not why}
        missed = {label: why for label, why in sorted(gone.items()) if why}
        self._record.update(waiting, missed, done)
        for label, why in missed.items():
            self._say(f"missed: {label}: {why}")
        present = {label for look in looks for label in look.present}
        if present - self._seen or any(one.why == ONCE_MORE for one in waiting.values()):
            self._changed_s = time.monotonic()
        self._seen |= present
        for label, one in waiting.items():
            if one.why not in (ONCE_MORE, NOT_YET):
                self._tell_once(f"waiting for {label}: {one.why}", key=f"waiting {label}")

    def _waiting(self, looks: Sequence[Look]) -> dict[str, Unscored]:
        """What is there and not scored, and why, by label."""
        waiting = {
            label: Unscored(why=why, series=label.partition("/")[0], step=look.present[label])
            for look in looks
            for label, why in look.waiting.items()
        }
        finished = [one for look in looks for one in look.finished]
        return waiting | {one.label: self._unscored(one) for one in finished if not self._is_done(one)}

    def _write_down(self, looks: Sequence[Look]) -> None:
        """What waits, for the next watch if this one is killed; what is scored or gone is for :meth:`_note` to say."""
        self._record.update(self._waiting(looks), {}, set())

    def _gone(self, looks: Sequence[Look]) -> dict[str, str]:
        """What was waited for in one of our runs and is not there any more, and why it has no row (empty: it has)."""
        present = {label for look in looks for label in look.present}
        own = {label.partition("/")[0] for label in present} | {Path(run.run).resolve().name for run in self.runs}
        before = self._record.read().unscored
        gone = [one for one in before if one not in present | self.holder.labels and one.partition("/")[0] in own]
        return {label: self._why_without_row(before[label]) for label in gone}

    def _why_without_row(self, one: Unscored) -> str:
        """Empty where a watch that was killed had got so far."""
        if not one.series:
            return DELETED
        with suppress(UserError, OSError):
            rows = read_scores(self.out / TABLE_FILE).scores.where(series=one.series).frame
            if (rows["step"] == one.step).any():
                return ""
        units = EvaluationStore(self.out).recorded(one.series)
        return next((unit.not_finite for unit in units if unit.step == one.step and unit.not_finite), DELETED)

    def _unscored(self, found: Finished) -> Unscored:
        stamp, why = self.failed.get(found.label, ((), ""))
        why = why if why and stamp == found.stamp else NOT_YET
        return Unscored(why=why, series=found.series.name, step=found.step)

    def _is_done(self, found: Finished) -> bool:
        return self._done.get((found.series.name, found.step)) == found.stamp

    def _is_wanted(self, found: Finished) -> bool:
        """Neither scored nor refused as it is."""
        return not self._is_done(found) and self.failed.get(found.label, (None,))[0] != found.stamp

    # -- scoring --------------------------------------------------------------------------------------------------

    def _score_pinned(self) -> None:
        """Score what a killed watch had pinned, a series at a time; what comes and goes meanwhile is seen."""
        with self.holder.lock:
            before = [one for one in pinned_before(self.out) if one.label not in self.holder.labels]
            self.holder.labels |= {one.label for one in before}
        for name in dict.fromkeys(found.series.name for found in before):
            self._look()
            with ExitStack() as stack:
                own = [one for one in before if one.series.name == name]
                self._scored(self._claimed(own, stack), [])

    def _score_new(self, looks: Sequence[Look]) -> bool:
        """Score the oldest of what is new; whether there may be more."""
        finished = [one for look in looks for one in look.finished]
        new = [one for one in finished if self._is_wanted(one)]
        new += self.holder.gone({label for look in looks for label in look.present})
        if not new:
            return False
        names = list(dict.fromkeys(one.series.name for one in new))
        together = [names] if self.pins else [[name] for name in names]
        return sum([self._score_series(some, new, finished) for some in together]) > 0

    def _score_series(self, names: Sequence[str], new: Sequence[Finished], finished: Sequence[Finished]) -> int:
        """Score the oldest of what is new of these series; how many were not another watch's to score.

        With pins all of them are held before the first is scored, so that none is deleted meanwhile.
        """
        with ExitStack() as stack:
            held: list[tuple[list[Finished], list[Finished]]] = []
            count = 0
            for name in names:
                chosen = [one for one in new if one.series.name == name][:AT_ONCE]
                mine = self._claimed(chosen, stack)
                beside = [one for one in finished if one.series.name == name and one not in new]
                held.append(([one for one in map(self.holder.of, mine) if one is not None], beside))
                count += len(mine)
            for number, (own, beside) in enumerate(held):
                if number:
                    self._look()  # what comes and goes meanwhile is seen
                self._scored(own, beside)
        return count

    def _claimed(self, found: Sequence[Finished], stack: ExitStack) -> list[Finished]:
        """Those that no other watch scores just now."""
        with self.holder.lock:
            return [one for one in found if stack.enter_context(claimed(self.out, one.label))]

    def _scored(self, new: Sequence[Finished], beside: Sequence[Finished]) -> None:
        """Score ``new`` together, what is there of the series ``beside``; each alone where that fails."""
        if not new:
            return
        began_s = time.monotonic()
        try:
            refused = self._evaluated([*new, *beside])
        except MemoryError:
            raise
        except Exception as error:
            if _is_no_fault_of_a_checkpoint(error):
                raise
            if len(new) + len(beside) > 1:
                for one in new:
                    self._scored([one], [])
            else:
                self._fail(new[0], error)
            return
        for one in new:
            if one.step in refused:
                self._fail(one, UserError(refused[one.step]))
        self._changed_s = time.monotonic()
        self._done_with([one for one in new if one.step not in refused], time.monotonic() - began_s)

    def _done_with(self, scored: Sequence[Finished], wall_s: float) -> None:
        for one in scored:
            self._done[one.series.name, one.step] = one.stamp
            self.failed.pop(one.label, None)
            self.holder.let_go(one)
        self._record.update({}, {}, {one.label for one in scored})
        self.scored += len(scored)
        if scored:
            steps = ", ".join(str(one.step) for one in scored)
            self._say(f"{scored[0].series.name} step {steps}: in the table ({wall_s:.1f} s)")

    def _evaluated(self, found: Sequence[Finished]) -> dict[int, str]:
        """Score them together; which steps have no row at all, and why."""
        points = sorted((one.series.checkpoints[0] for one in found), key=lambda point: point.step)
        known = {point.step: point for point in points}
        series = found[0].series.model_copy(update={"checkpoints": tuple(known[step] for step in sorted(known))})
        evaluation = self.score([series])
        steps = {f"{series.name} step {step}": step for step in known}
        refused = {steps[one.what]: one.why for one in evaluation.left_out if one.what in steps}
        for one in evaluation.left_out:
            if one.what not in steps:
                self._tell_once(str(one))
        return refused

    def _fail(self, found: Finished, error: Exception) -> None:
        was_there = found.place is None or found.place.exists()
        self.holder.let_go(found)
        if not was_there:
            return  # deleted, or on a mount that is away and comes back with the same files
        why = one_line(error) if isinstance(error, UserError) else f"{type(error).__name__}: {one_line(error)}"
        self.failed[found.label] = (found.stamp, why)
        self._say(f"not scored: {found.label}: {why:.300}; tried again when it changes")

    # -- waiting and telling --------------------------------------------------------------------------------------

    def _trouble_waited_for(self) -> Any:
        return _Waited(self)

    def _wait(self, seconds: float) -> None:
        folders = [Path(run.run) for run in self.runs if Path(run.run).is_dir()]
        try:
            from watchfiles import watch
        except ImportError:
            folders = []
        if not folders or seconds <= SETTLE_S:
            time.sleep(seconds)
            return
        with suppress(OSError, RuntimeError):  # a file system that does not tell
            changes = watch(*folders, rust_timeout=int(seconds * 1000), yield_on_timeout=True, raise_interrupt=True)
            next(changes, None)
            return
        time.sleep(seconds)

    def _say(self, line: str) -> None:
        if not self.quiet:
            print(line, flush=True)

    def _tell_once(self, line: str, key: str = "") -> None:
        if (key or line) not in self._told:
            self._told.add(key or line)
            print(line, file=sys.stderr, flush=True)

    def tell_trouble(self, error: UserError) -> None:
        """A line about what the machine does not give, once until it does."""
        self._tell_once(f"e2lm: warning: {one_line(error)}; tried again every {self.every_s:g} s")
        self._changed_s = time.monotonic()  # there is something to do


class _Waited:
    """What the machine does not give just now costs a line; the next look tries again."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, BrokenPipeError):
            error = system_error(error)
        if isinstance(error, MachineError):
            self._watcher.tell_trouble(error)
            return True
        return False


def _is_no_fault_of_a_checkpoint(error: Exception) -> bool:
    """An option of the user's, or what the machine does not give; libraries raise OSError without a number too."""
    if isinstance(error, UserError):
        return isinstance(error, MachineError) or str(error).startswith("--")
    return isinstance(error, OSError) and error.errno is not None and not isinstance(error, FileNotFoundError)


def scorer(arguments: Namespace, source: Any) -> ScorePass:
    """One evaluation pass, as ``e2lm eval`` does it; tasks are loaded once for all, and dashboards hear of it."""
    from e2lm_adapters.eval.command import request_of
    from e2lm_adapters.eval.known import RememberedTasks
    from e2lm_adapters.eval.series import evaluate_series
    from e2lm_adapters.watch.dashboard import dashboards, opener_of

    named = [opener_of(one) for one in dict.fromkeys(arguments.log_to)]
    kept: list[RememberedTasks] = []

    def score(series: Sequence[Series]) -> Any:
        request = request_of(arguments, series, source, quiet=True)
        if not kept:
            kept.append(RememberedTasks(request))
        with dashboards(named, arguments.out):
            return evaluate_series(request, kept[0])

    return score
