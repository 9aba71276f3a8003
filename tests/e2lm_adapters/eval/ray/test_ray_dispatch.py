from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2lm.errors import UserError
from e2lm_adapters.eval.ray.queue import ATTEMPTS, BATCH_S, Done, Lost, Ready, Span, UnitQueue, dispatch


class PlayedCluster:
    """Workers that do one batch after the other; ``deadly`` units kill, so does every batch numbered in ``deaths``."""

    def __init__(
        self, workers: int, deaths: set[int] = frozenset(), deadly: set[tuple[int, int]] = frozenset()
    ) -> None:  # type: ignore[assignment]
        self.waiting: deque[Ready | tuple[int, Span]] = deque(Ready(worker) for worker in range(workers))
        self.workers = workers
        self.deaths = deaths
        self.deadly = deadly
        self.batches = 0
        self.most_under_way = 0
        self.done: list[tuple[int, int]] = []

    def start(self, worker: int, span: Span, following: int | None) -> None:
        self.waiting.append((worker, span))
        under_way = sum(not isinstance(one, Ready) for one in self.waiting)
        self.most_under_way = max(self.most_under_way, under_way)

    def events(self) -> Sequence[Ready | Done | Lost]:
        event = self.waiting.popleft()
        if isinstance(event, Ready):
            return [event]
        worker, span = event
        units = [(span.piece, unit) for unit in range(span.start, span.stop)]
        self.batches += 1
        if self.batches in self.deaths or self.deadly & set(units):
            self.waiting.append(Ready(self.workers))
            self.workers += 1
            return [Lost(worker, span)]
        self.done += units
        return [Done(worker, span, wall_s=2.0 * len(span))]


@given(
    counts=st.lists(st.integers(0, 5), max_size=6),
    workers=st.integers(1, 4),
    deaths=st.sets(st.integers(1, 20), max_size=2),
)
def test_all_units_are_done_although_workers_die(counts: list[int], workers: int, deaths: set[int]) -> None:
    cluster = PlayedCluster(workers, deaths)
    told: list[Span] = []
    assert dispatch(UnitQueue(enumerate(counts)), cluster, told.append) == []
    expected = [(piece, unit) for piece, count in enumerate(counts) for unit in range(count)]
    assert sorted(cluster.done) == expected
    assert sorted((span.piece, unit) for span in told for unit in range(span.start, span.stop)) == expected
    assert cluster.most_under_way <= workers


def test_a_unit_that_kills_every_worker_is_given_up_alone() -> None:
    cluster = PlayedCluster(2, deadly={(1, 3)})
    given_up = dispatch(UnitQueue([(0, 5), (1, 6), (2, 5)]), cluster, lambda span: None)
    assert given_up == [Span(1, 3, 4)]
    assert len(cluster.done) == 15
    assert cluster.workers == 2 + ATTEMPTS


def test_batches_last_about_as_long_as_they_should() -> None:
    cluster = PlayedCluster(1)
    told: list[Span] = []
    dispatch(UnitQueue([(0, 50)]), cluster, told.append)
    assert {len(span) for span in told[1:-1]} == {int(BATCH_S / 2.0)}


def test_an_error_of_a_worker_ends_it() -> None:
    class Full(PlayedCluster):
        def events(self) -> Sequence[Ready | Done | Lost]:
            if self.batches == 2:
                raise UserError("no space left")
            return super().events()

    cluster = Full(1)
    with pytest.raises(UserError, match="no space left"):
        dispatch(UnitQueue([(0, 9)]), cluster, lambda span: None)
    assert len(cluster.done) >= 2
