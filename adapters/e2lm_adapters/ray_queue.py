"""Which worker does which units next. Knows neither Ray nor lm-eval: the simulation in ``benchmarks`` runs it too.

A *piece* is a checkpoint, its *units* are shards of its tasks, numbered from 0. Swapping weights costs more than
anything else here, so a worker stays with its piece, goes on to the next untouched one, and helps another worker only
when none is left. Pieces are drawn one by one: memory grows with the workers, not with the units.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """Units ``start`` to ``stop`` (without) of a piece."""

    piece: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


class UnitQueue:
    """Hands out every unit of ``pieces`` (number and unit count each) once, and again what was given back.

    >>> queue = UnitQueue([(0, 3), (1, 1)])
    >>> queue.take(worker=7, units=2)
    Span(piece=0, start=0, stop=2)
    >>> queue.take(worker=8, units=2)
    Span(piece=1, start=0, stop=1)
    >>> queue.take(worker=7, units=2)
    Span(piece=0, start=2, stop=3)
    """

    def __init__(self, pieces: Iterable[tuple[int, int]]) -> None:
        self._fresh = iter(pieces)
        self._own: dict[int, Span] = {}
        self._reserved: dict[int, Span] = {}
        self._returned: deque[Span] = deque()

    def take(self, worker: int, units: int) -> Span | None:
        """At most ``units`` consecutive units of one piece for ``worker``; None where nothing is waiting."""
        if worker not in self._own:
            found = self._next_for(worker)
            if found is None:
                return None
            self._own[worker] = found
        if worker not in self._reserved and (ahead := self._drawn()) is not None:
            self._reserved[worker] = ahead
        own = self._own.pop(worker)
        taken = Span(own.piece, own.start, min(own.start + units, own.stop))
        if taken.stop < own.stop:
            self._own[worker] = Span(own.piece, taken.stop, own.stop)
        return taken

    def following(self, worker: int) -> int | None:
        """The piece that ``worker`` gets after its present one, as far as one can tell: to be read ahead."""
        if worker in self._own:
            return self._own[worker].piece
        return self._reserved[worker].piece if worker in self._reserved else None

    def give_back(self, worker: int, spans: Iterable[Span]) -> None:
        """``worker`` is lost: ``spans``, and whatever was laid aside for it, go to the others first."""
        aside = (self._own.pop(worker, None), self._reserved.pop(worker, None))
        lost = [*spans, *(span for span in aside if span is not None)]
        self._returned.extendleft(reversed(lost))

    def _next_for(self, worker: int) -> Span | None:
        if self._returned:
            return self._returned.popleft()
        reserved = self._reserved.pop(worker, None)
        if reserved is not None:
            return reserved
        drawn = self._drawn()
        return self._helped() if drawn is None else drawn

    def _drawn(self) -> Span | None:
        for piece, count in self._fresh:
            if count:
                return Span(piece, 0, count)
        return None

    def _helped(self) -> Span | None:
        """A piece that waits behind a busy worker, else the second half of the longest rest."""
        if self._reserved:
            return self._reserved.pop(next(iter(self._reserved)))
        if not self._own:
            return None
        busiest = max(self._own, key=lambda worker: len(self._own[worker]))
        rest = self._own.pop(busiest)
        middle = rest.start + len(rest) // 2
        if middle > rest.start:
            self._own[busiest] = Span(rest.piece, rest.start, middle)
        return Span(rest.piece, middle, rest.stop)
