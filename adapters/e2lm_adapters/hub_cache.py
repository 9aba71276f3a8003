"""A folder of fetched checkpoints that never holds more than a given number of them.

A checkpoint in use is locked (``flock`` on its folder, which ends with the process however it ends), so several
processes may share the folder. What no one uses is deleted, the longest unused first, before another one comes in.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

#: Written last: the checkpoint is whole, and every number in it has been seen to be finite.
WHOLE_MARK = ".e2lm-whole"


class HubCache:
    """At most ``keep`` checkpoints below ``folder``, apart from those that other processes use at the moment."""

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder = folder
        self._keep = max(keep, 1)
        self._held: dict[Path, int] = {}
        self._guard = threading.Lock()

    def place(self, name: str) -> Path:
        """The folder of the checkpoint ``name``, whether it is there or not."""
        return self._folder / name

    def is_whole(self, name: str) -> bool:
        """Whether the checkpoint is there, complete and checked."""
        return (self.place(name) / WHOLE_MARK).is_file()

    def fetched(self, name: str, fetch: Callable[[Path], object]) -> Path:
        """The folder of the checkpoint ``name``; ``fetch`` fills it, or goes on where a killed run stopped."""
        with self._guard:
            place = self.place(name)
            while len(self._held) >= self._keep and place not in self._held:
                os.close(self._held.pop(next(iter(self._held))))
            self._held[place] = self._held.pop(place) if place in self._held else _locked(place)
            os.utime(place)
            self._evict(place)
            if not self.is_whole(name):
                fetch(place)
                (place / WHOLE_MARK).touch()
            return place

    def release(self) -> None:
        """Nothing is in use by this process any more."""
        with self._guard:
            while self._held:
                os.close(self._held.popitem()[1])

    def _evict(self, newest: Path) -> None:
        others = [one for one in self._folder.iterdir() if one.is_dir() and one != newest]
        others.sort(key=lambda one: one.stat().st_mtime, reverse=True)
        for surplus in others[self._keep - 1 :]:
            if surplus not in self._held:
                _remove_unless_used(surplus)


def _locked(place: Path) -> int:
    """Descriptor of the folder with a shared lock on it; made anew where another process is just deleting it."""
    while True:
        place.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        try:
            if place.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)


def _remove_unless_used(place: Path) -> None:
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (place / WHOLE_MARK).unlink(missing_ok=True)
        shutil.rmtree(place, ignore_errors=True)
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)
