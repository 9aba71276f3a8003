from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from e2lm_adapters.eval.ray.queue import Span, UnitQueue


@given(counts=st.lists(st.integers(0, 7), max_size=8), choices=st.lists(st.integers(0, 10_000), max_size=300))
def test_every_unit_is_handed_out_once_whatever_workers_do(counts: list[int], choices: list[int]) -> None:
    queue = UnitQueue(enumerate(counts))
    taken: list[tuple[int, int]] = []
    for choice in choices:
        span = queue.take(worker=choice % 5, units=1 + choice % 3)
        if span is not None:
            taken += [(span.piece, unit) for unit in range(span.start, span.stop)]
    while (span := queue.take(worker=0, units=2)) is not None:
        taken += [(span.piece, unit) for unit in range(span.start, span.stop)]
    assert sorted(taken) == [(piece, unit) for piece, count in enumerate(counts) for unit in range(count)]


@given(
    counts=st.lists(st.integers(1, 6), min_size=1, max_size=6), choices=st.lists(st.integers(0, 10_000), max_size=100)
)
def test_what_a_lost_worker_had_is_handed_out_again(counts: list[int], choices: list[int]) -> None:
    queue = UnitQueue(enumerate(counts))
    done: set[tuple[int, int]] = set()
    for choice in choices:
        worker = choice % 3
        span = queue.take(worker, units=2)
        if choice % 4 == 0:
            queue.give_back(worker, [] if span is None else [span])
        elif span is not None:
            done |= {(span.piece, unit) for unit in range(span.start, span.stop)}
    while (span := queue.take(worker=9, units=3)) is not None:
        new = {(span.piece, unit) for unit in range(span.start, span.stop)}
        assert not new & done
        done |= new
    assert done == {(piece, unit) for piece, count in enumerate(counts) for unit in range(count)}


def test_a_worker_stays_with_its_checkpoint_while_there_are_others_to_begin() -> None:
    queue = UnitQueue((piece, 4) for piece in range(6))
    pieces: dict[int, list[int]] = {0: [], 1: []}
    for turn in range(24):
        span = queue.take(turn % 2, 1)
        assert span is not None
        pieces[turn % 2].append(span.piece)
    swaps = sum(a != b for own in pieces.values() for a, b in pairwise(own))
    assert swaps == 4
    assert queue.take(0, 1) is None


def test_the_next_checkpoint_of_a_worker_is_the_one_it_was_told() -> None:
    queue = UnitQueue((piece, 1) for piece in range(6))
    queue.take(0, 1)
    queue.take(1, 1)
    for worker in (0, 1):
        told = queue.following(worker)
        assert queue.take(worker, 1) == Span(told or 0, 0, 1)


def test_pieces_are_drawn_only_as_workers_need_them() -> None:
    drawn: list[int] = []

    def pieces() -> object:
        for piece in range(10_000):
            drawn.append(piece)
            yield piece, 1000

    queue = UnitQueue(pieces())  # type: ignore[arg-type]
    for worker in range(3):
        queue.take(worker, 10)
    assert len(drawn) == 6
