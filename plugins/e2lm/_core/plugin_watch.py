"""Watches the code of plugins while it runs: what it prints goes to standard error, and one that hangs is named.

Nothing is ever killed: a plugin that waits may be waiting for something that matters, and only the user can tell.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Condition, Lock, Thread
from typing import Any, Self

#: How long a plugin may take before it is named, and again after twice as long, four times ... The slowest import of a
#: healthy plugin, torch from a cold disk, takes about half of this.
PATIENCE_S = 10.0


class StandardOutput:
    """Sends standard output to standard error while any plugin runs, so that ``--json`` stays JSON.

    Python's stream and the descriptor below it, which compiled code and child processes write to. Safe with threads and
    when nested: the first to enter redirects, the last to leave restores.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._depth = 0
        self._stream: Any = None
        self._descriptor: int | None = None
        #: Characters that plugins printed so far.
        self.printed = 0

    def write(self, text: str) -> int:
        """What ``print`` of a plugin calls."""
        self.printed += len(text)
        return sys.stderr.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)

    @contextmanager
    def redirected(self) -> Iterator[None]:
        """Standard output is standard error within the block."""
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                self._redirect()
        try:
            yield
        finally:
            with self._lock:
                self._depth -= 1
                if self._depth == 0:
                    self._restore()

    def _redirect(self) -> None:
        with suppress(OSError, ValueError, AttributeError):  # a stream that is closed or None has nothing to flush
            sys.stdout.flush()
        self._stream, sys.stdout = sys.stdout, self
        try:
            self._descriptor = os.dup(1)
            os.dup2(2, 1)
        except OSError:  # one of the two is closed
            self._descriptor = None

    def _restore(self) -> None:
        with suppress(OSError, ValueError, AttributeError):  # a plugin may have kept the stream itself and written
            self._stream.flush()
        if self._descriptor is not None:
            os.dup2(self._descriptor, 1)
            os.close(self._descriptor)
        sys.stdout = self._stream


STANDARD_OUTPUT = StandardOutput()


class PluginWatch:
    """A context around a pass over plugins; :meth:`step` goes around the code of each.

    ``names`` are the plugins of the pass: the message about one that hangs lists the others, to go on without it.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._changed = Condition()
        self._step: tuple[str, str, str] | None = None
        self._since_s = self._due_s = 0.0
        self._ended = False
        self._thread = Thread(target=self._watch, name="e2lm-plugin-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()

    @contextmanager
    def step(self, name: str, label: str, doing: str) -> Iterator[list[str]]:
        """The code of plugin ``name`` runs in the block; remarks about it are in the list when it ends."""
        remarks: list[str] = []
        started_s, printed = time.monotonic(), STANDARD_OUTPUT.printed
        self._set((name, label, doing), started_s)
        try:
            with STANDARD_OUTPUT.redirected():
                yield remarks
        finally:
            self._set(None, started_s)
            if STANDARD_OUTPUT.printed > printed:
                remarks.append(f"{doing}: it printed to standard output, which was sent to standard error")
            if (took_s := time.monotonic() - started_s) > PATIENCE_S:
                remarks.append(f"{doing}: it took {took_s:.0f} s")

    def _set(self, step: tuple[str, str, str] | None, now_s: float) -> None:
        with self._changed:
            self._step, self._since_s, self._due_s = step, now_s, now_s + PATIENCE_S
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while not self._ended:
                now_s = time.monotonic()
                if self._step is None:
                    self._changed.wait()
                elif now_s < self._due_s:
                    self._changed.wait(self._due_s - now_s)
                else:
                    self._complain(*self._step, now_s - self._since_s)
                    self._due_s = now_s + (now_s - self._since_s)

    def _complain(self, name: str, label: str, doing: str, waited_s: float) -> None:
        others = ",".join(other for other in self._names if other != name)
        without = f"E2LM_PLUGINS={others}" if name in self._names else "leave out the option that names it"
        message = (
            f"e2lm: plugin {label} has been busy for {waited_s:.0f} s ({doing}); wait, or press Ctrl-C and go on "
            f"without it: {without}\n"
        )
        with suppress(OSError, ValueError, AttributeError):  # nobody can be told where standard error is closed
            sys.stderr.write(message)
            sys.stderr.flush()
