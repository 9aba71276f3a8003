from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2lm import UserError
from e2lm_adapters.scoring.prefix_tree import (
    PreambleGroup,
    Row,
    ScoringPlan,
    TokenRequest,
    batches,
    common_length,
    planned,
)

UNLIMITED = 10_000

few_tokens = st.lists(st.integers(0, 2), min_size=1, max_size=30).map(tuple)
short = st.lists(st.integers(0, 2), min_size=1, max_size=5).map(tuple)
requests = st.lists(st.builds(TokenRequest, few_tokens, short), min_size=1, max_size=40)
#: Long common beginnings, so that key-value preambles and joined rows come up too.
stems = st.lists(st.lists(st.integers(0, 9), min_size=10, max_size=300).map(tuple), min_size=1, max_size=3)


@st.composite
def requests_with_stems(draw: st.DrawFn) -> list[TokenRequest]:
    chosen = draw(stems)
    return [
        TokenRequest(draw(st.sampled_from(chosen)) + draw(few_tokens), draw(short))
        for _ in range(draw(st.integers(1, 30)))
    ]


def replayed(plan: ScoringPlan) -> dict[int, dict[tuple[int, ...], list[int]]]:
    """request -> {tokens seen: targets read there}, from what each token of each row may look at."""
    seen: dict[int, dict[tuple[int, ...], list[int]]] = {}
    for group in plan.groups:
        for row in group.rows:
            place_Q = np.arange(len(row))
            for token, target, request in zip(row.read_token_R, row.target_R, row.request_R, strict=True):
                visible = (place_Q <= token) & (token < row.ends_Q)
                path = (*group.preamble.tolist(), *row.tokens_Q[visible].tolist())
                positions = row.positions_Q[visible]
                assert positions.tolist() == list(range(len(group.preamble), len(path)))
                seen.setdefault(int(request), {}).setdefault(path, []).append(int(target))
    return seen


def expected(request: TokenRequest, max_length: int) -> dict[tuple[int, ...], list[int]]:
    """What lm-eval does: the last ``max_length + 1`` tokens, the model sees all but the last one."""
    whole = (request.context + request.continuation)[-(max_length + 1) :]
    start = len(whole) - len(request.continuation)
    return {whole[: start + k]: [target] for k, target in enumerate(request.continuation)}


def assert_asks_what_was_asked(listed: Sequence[TokenRequest], max_length: int) -> None:
    plan = planned(listed, max_length)
    found = replayed(plan)
    # One that is asked again stands in the rows once, and is told apart by ``same_as``.
    assert set(found) == set(plan.same_as.tolist())
    assert [found[first] for first in plan.same_as] == [expected(request, max_length) for request in listed]
    assert plan.request_count == len(listed)
    assert plan.continuation_lengths.tolist() == [len(request.continuation) for request in listed]


@given(requests)
def test_rows_give_back_every_token_and_target_of_every_request_once(listed: list[TokenRequest]) -> None:
    assert_asks_what_was_asked(listed, UNLIMITED)


@settings(deadline=None)
@given(requests_with_stems())
def test_preambles_and_joined_rows_give_back_every_request(listed: list[TokenRequest]) -> None:
    assert_asks_what_was_asked(listed, UNLIMITED)


@given(requests, st.integers(5, 20))
def test_long_contexts_lose_their_beginning_as_in_lm_eval(listed: list[TokenRequest], max_length: int) -> None:
    assert_asks_what_was_asked(listed, max_length)


@given(st.integers(0, 2**32 - 1))
def test_many_continuations_of_one_context_are_spread_over_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    listed = [TokenRequest((7,), tuple(rng.integers(0, 50, size=int(rng.integers(3, 20))).tolist())) for _ in range(60)]
    assert_asks_what_was_asked(listed, UNLIMITED)
    assert max(len(row) for group in planned(listed, UNLIMITED).groups for row in group.rows) <= 64


def trie_size(listed: Sequence[TokenRequest]) -> int:
    """Distinct beginnings, counted without the code under test; the last token is only ever a target."""
    beginnings = set()
    for request in listed:
        whole = (request.context + request.continuation)[:-1]
        beginnings |= {whole[: length + 1] for length in range(len(whole))}
    return len(beginnings)


def drawn(rng: np.random.Generator, low: int, high: int) -> tuple[int, ...]:
    return tuple(rng.integers(0, 4000, size=int(rng.integers(low, high))).tolist())


def item_list(rng: np.random.Generator, before: Sequence[tuple[int, ...]], questions: int) -> list[TokenRequest]:
    """For every text of ``before``, ``questions`` contexts of four choices each."""
    return [
        TokenRequest(context, choice)
        for start in before
        for context in [start + drawn(rng, 20, 110) for _ in range(questions)]
        for choice in [drawn(rng, 4, 14) for _ in range(4)]
    ]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_items_forward_at_most_5_percent_more_than_their_distinct_tokens(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinds = {
        "contexts with choices": item_list(rng, [()] * 40, 1),
        "shared worked examples": item_list(rng, [drawn(rng, 300, 500)], 20),
        "passages with questions": item_list(rng, [drawn(rng, 100, 300) for _ in range(5)], 4),
    }
    for kind, listed in kinds.items():
        assert planned(listed, UNLIMITED).tokens_forwarded <= 1.05 * trie_size(listed), kind


@pytest.mark.parametrize("request_", [TokenRequest((1,), ()), TokenRequest((), (1,))])
def test_a_request_without_tokens_is_named(request_: TokenRequest) -> None:
    with pytest.raises(UserError, match="without tokens"):
        planned([request_], 16)


def test_a_continuation_longer_than_the_model_is_named() -> None:
    with pytest.raises(UserError, match="continuation of 17 tokens is longer than the model's context of 16"):
        planned([TokenRequest((1, 2), tuple(range(17)))], 16)


@settings(deadline=None)
@given(requests_with_stems(), st.integers(1, 2000))
def test_batches_hold_every_row_once_within_the_budget(listed: list[TokenRequest], budget: int) -> None:
    for group in planned(listed, UNLIMITED).groups:
        made = list(batches(group, budget))
        assert sorted(id(row) for batch in made for row in batch) == sorted(id(row) for row in group.rows)
        for batch in made:
            width = max(map(len, batch))
            assert len(batch) == 1 or width * len(batch) <= budget
            assert width - min(map(len, batch)) <= max(0.04 * width, 1)


@given(few_tokens, few_tokens)
def test_common_length_is_that_of_the_common_beginning(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    count = common_length(np.array(a, dtype=np.int32), np.array(b, dtype=np.int32))
    assert a[:count] == b[:count]
    assert count == min(len(a), len(b)) or a[count] != b[count]


def test_rows_of_a_batch_are_at_most_a_twenty_fifth_shorter_than_the_longest() -> None:
    def lengths(*wanted: int) -> list[list[int]]:
        empty = np.zeros(0, dtype=np.int32)
        rows = [
            Row(*(np.zeros(length, dtype=np.int32),) * 3, empty, empty, empty.astype(np.int64)) for length in wanted
        ]
        return [list(map(len, batch)) for batch in batches(PreambleGroup(empty, tuple(rows)), 10_000)]

    assert lengths(96, 100, 95) == [[100, 96], [95]]
    assert lengths(10, 9, 8) == [[10, 9], [8]]
    assert lengths(2, 1, 1) == [[2, 1, 1]]


@settings(deadline=None)
@given(requests_with_stems(), st.randoms(use_true_random=False))
def test_a_row_of_some_requests_only_asks_them_as_before(listed: list[TokenRequest], chance: random.Random) -> None:
    plan = planned(listed, UNLIMITED)
    wanted = {first for first in plan.same_as.tolist() if chance.random() < 0.3}
    groups = tuple(
        PreambleGroup(group.preamble, tuple(row.only(wanted) for row in group.rows)) for group in plan.groups
    )
    found = replayed(replace(plan, groups=groups))
    assert found == {first: expected(listed[first], UNLIMITED) for first in wanted}


def test_a_batch_reads_no_more_tokens_than_allowed_and_a_single_row_as_many_as_it_has() -> None:
    listed = [TokenRequest((number, 1, 2), (3,) * reads) for number, reads in enumerate((4, 4, 4, 30))]
    (group,) = planned(listed, UNLIMITED).groups
    assert [[row.tokens_read for row in batch] for batch in batches(group, 1000, 9)] == [[30], [4, 4], [4]]
    assert len(list(batches(group, 1000))) == 2
