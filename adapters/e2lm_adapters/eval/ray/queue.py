"""Which worker does which units next, and what becomes of those of a lost one; knows neither Ray nor lm-eval.

A *piece* is a checkpoint, its *units* are shards of its tasks, numbered from 0. Swapping weights costs more than
anything else here, so a worker stays with its piece, goes on to the next untouched one, and helps another worker only
when none is left. Pieces are drawn one by one: memory grows with the workers, not with the units.

A cluster is whatever starts batches and tells what became of them; the simulation in ``benchmarks`` is one. At most one
batch per worker is under way, and what a lost worker had in hand goes to another one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol


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


#: A batch is so many units as take about this long: long against the millisecond that a call costs, short enough that
#: the last worker does not keep the others waiting.
BATCH_S = 5.0
#: How many workers may die over one unit before the unit is taken to be the cause.
ATTEMPTS = 3
#: Weight of the newest batch in the running mean of the time of a unit.
NEWEST_WEIGHT = 0.2


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker has loaded its tasks and waits for units."""

    worker: int


@dataclass(frozen=True, slots=True)
class Done:
    """A worker has finished ``span`` in ``wall_s`` seconds."""

    worker: int
    span: Span
    wall_s: float


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker is gone, and ``span`` with it."""

    worker: int
    span: Span | None


class Cluster(Protocol):
    """Workers somewhere. Errors that a repetition would not mend are raised by ``events``."""

    def start(self, worker: int, span: Span, following: int | None) -> None:
        """Let a ready worker do ``span``; ``following`` is the piece it probably gets next."""

    def events(self) -> Sequence[Ready | Done | Lost]:
        """What has happened since; waits until something has, or gives nothing after a while."""


def dispatch(queue: UnitQueue, cluster: Cluster, on_done: Callable[[Span], object]) -> list[Span]:
    """Do everything in ``queue``; gives the spans that were left because every worker that tried them died."""
    idle: dict[int, None] = {}
    under_way = 0
    unit_s: float | None = None
    tries: dict[Span, int] = {}
    given_up: list[Span] = []
    while True:
        for worker in list(idle):
            span = queue.take(worker, _batch(unit_s))
            if span is None:
                break
            del idle[worker]
            cluster.start(worker, span, queue.following(worker))
            under_way += 1
        if idle and not under_way:
            return given_up
        for event in cluster.events():
            match event:
                case Ready(worker):
                    idle[worker] = None
                case Done(worker, span, wall_s):
                    under_way -= 1
                    idle[worker] = None
                    newest = wall_s / len(span)
                    unit_s = newest if unit_s is None else unit_s + NEWEST_WEIGHT * (newest - unit_s)
                    on_done(span)
                case Lost(worker, span):
                    idle.pop(worker, None)
                    under_way -= span is not None
                    # One by one from now on, so that a unit that kills its worker takes no other along.
                    units = [] if span is None else [Span(span.piece, k, k + 1) for k in range(span.start, span.stop)]
                    for unit in units:
                        tries[unit] = tries.get(unit, 0) + 1
                    given_up += [unit for unit in units if tries[unit] >= ATTEMPTS]
                    queue.give_back(worker, [unit for unit in units if tries[unit] < ATTEMPTS])


def _batch(unit_s: float | None) -> int:
    return 1 if unit_s is None else max(int(BATCH_S / max(unit_s, 1e-6)), 1)
