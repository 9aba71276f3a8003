"""Holds what is finished in ``OUT/pinned``, by a thread that looks for itself: none waits for those before it.

A checkpoint is held once two looks have seen it finished, whatever is loaded or scored meanwhile: after ``--every``,
2 s and the time of three looks at the latest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, RLock, Thread

from e2lm.errors import UserError
from e2lm_adapters.checkpoints.source import CheckpointSource
from e2lm_adapters.watch.finished import ONCE_MORE, Finished, Look, WatchedRun
from e2lm_adapters.watch.pinned import PINNED_FOLDER, pin, unpin
from e2lm_adapters.watch.record import CLAIMS_FOLDER, WATCH_FILE, claimed

#: What was seen for the first time is looked at again after this time, or after ``--every`` if that is shorter.
SETTLE_S = 2.0
#: Of its time the thread looks at most one part in so many, else a folder of thousands of files would keep it busy.
SHARE_OF_LOOKS = 5


@dataclass
class Holder:
    """What this watch holds: ``labels`` are those that no look calls missed, though they may be gone.

    ``wanted`` says whether a finished checkpoint is still to be scored, ``note`` writes down what was seen; without
    ``pins`` nothing is held. Whoever claims a checkpoint takes ``lock`` meanwhile, so that it is not the thread that
    has the claim just then.
    """

    runs: Sequence[WatchedRun]
    out: Path
    source: CheckpointSource
    every_s: float
    pins: bool
    wanted: Callable[[Finished], bool] = lambda found: True
    note: Callable[[Sequence[Look]], None] = lambda looks: None
    labels: set[str] = field(default_factory=set)
    lock: RLock = field(default_factory=RLock)
    _kept: dict[str, Finished] = field(default_factory=dict)
    _ended: Event = field(default_factory=Event)

    def __post_init__(self) -> None:
        self._is_new = not self.out.exists()

    @contextmanager
    def beside(self) -> Iterator[None]:
        """The thread runs as long as this block, or until :meth:`end`."""
        if self.pins:
            Thread(target=self._run, name="holds checkpoints", daemon=True).start()
        try:
            yield
        finally:
            self._ended.set()

    def end(self) -> None:
        """Hold nothing more from now on; what is being held just now is held when this returns."""
        self._ended.set()
        with self.lock:
            pass

    def of(self, found: Finished) -> Finished | None:
        """``found``, which the caller has claimed, as it is held; itself without pins, None where it is deleted."""
        if not self.pins:
            return found
        with self.lock:
            kept = self._kept.get(found.label)
            if kept is not None and kept.stamp == found.stamp and (kept.place is None or kept.place.is_dir()):
                return kept
            self._forget(found)
            try:
                return self._pin(found)
            except (FileNotFoundError, UserError):  # deleted just now
                return None

    def gone(self, present: Collection[str]) -> list[Finished]:
        """What is held and not there any more."""
        with self.lock:
            return [one for label, one in self._kept.items() if label not in present and self.wanted(one)]

    def let_go(self, found: Finished) -> None:
        """It has been scored, or cannot be."""
        with self.lock:
            unpin(self.out, found)
            self._forget(found)

    def let_all_go(self) -> None:
        """Leave nothing of what was held or written down, nor folders made for it: the command will not score."""
        self.end()
        held = list(self._kept.values())
        for found in held:
            self.let_go(found)
        made = [*(self.out / PINNED_FOLDER / found.series.name for found in held), self.out / PINNED_FOLDER]
        if self._is_new:
            for file in (*(self.out / CLAIMS_FOLDER).glob("*"), *self.out.glob(f"*{WATCH_FILE}*")):
                file.unlink(missing_ok=True)
            made += [self.out / CLAIMS_FOLDER, self.out]
        for folder in made:
            with suppress(OSError):  # not there, or in use by another watch
                folder.rmdir()

    # -- the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        runs = [run.anew() for run in self.runs]
        while not self._ended.is_set():
            began_s = time.monotonic()
            looks = [run.look() for run in runs]
            with suppress(OSError, UserError), self.lock:
                if not self._ended.is_set():
                    self.note(looks)
            for found in (one for look in looks for one in look.finished):
                self._keep(found)
            looked_s = time.monotonic() - began_s
            fresh = any(why == ONCE_MORE for look in looks for why in look.waiting.values())
            pause_s = min(SETTLE_S, self.every_s) if fresh else self.every_s
            self._ended.wait(max(pause_s, SHARE_OF_LOOKS * looked_s))

    def _keep(self, found: Finished) -> None:
        """Pin ``found`` unless it is held, scored, or another watch's just now; trouble is for the scoring to tell."""
        if found.place is None or not self.wanted(found):
            return
        with suppress(OSError, UserError), self.lock:
            kept = self._kept.get(found.label)
            if self._ended.is_set() or (kept is not None and kept.stamp == found.stamp):
                return
            with claimed(self.out, found.label) as mine:
                if mine and self.wanted(found):
                    self._pin(found)

    def _pin(self, found: Finished) -> Finished:
        self.labels.add(found.label)  # before its files are linked: no look may call it missed meanwhile
        try:
            self._kept[found.label] = held = pin(self.out, found, self.source)
        except BaseException:
            if found.label not in self._kept:
                self.labels.discard(found.label)
            raise
        return held

    def _forget(self, found: Finished) -> None:
        self._kept.pop(found.label, None)
        self.labels.discard(found.label)
