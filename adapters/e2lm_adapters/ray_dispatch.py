"""Keeps the workers of a cluster busy until every unit is done: at most one batch per worker is under way.

Knows no Ray: a cluster is whatever starts batches and tells what became of them. Cost per unit is constant, memory
grows with the workers. What a lost worker had in hand goes to another one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from e2lm_adapters.ray_queue import Span, UnitQueue

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
