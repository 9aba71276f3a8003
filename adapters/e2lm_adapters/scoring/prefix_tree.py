"""Turns scoring requests into rows in which every shared token is computed once.

A request asks for the log-likelihood of a continuation after a context. The requests of one context form a token tree:
the context once, then the choices as branches, which may share their own first tokens. A row is such a tree written
out depth first; token j is visible to token i exactly if j is an ancestor of i or i itself, which in depth-first order
means ``j <= i < end_j`` with ``end_j`` the end of j's subtree. Contexts that start alike (few-shot examples, passages
with several questions) share a *preamble*, computed once for all of them and reused through the key-value cache.

Shape suffixes: Q tokens of a row, R reads (one per continuation token), B rows of a batch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2lm.errors import UserError

Tokens = NDArray[np.int32]

#: A shared beginning shorter than this is not worth a key-value cache of its own.
MIN_PREAMBLE_TOKENS = 8
#: Contexts that share a beginning and fit together into so many tokens become one row instead.
MAX_JOINED_ROW_TOKENS = 512
#: Attention costs the square of a row, so the continuations of one context are spread over rows that hold this many
#: times its tokens (a repeated context then costs 4 % more tokens), within bounds.
BRANCH_TOKENS_PER_CONTEXT_TOKEN = 25
MIN_BRANCH_TOKENS, MAX_BRANCH_TOKENS = 32, 512
#: A row may be padded by this fraction of its length within a batch; longer differences start a new batch.
MAX_PADDING = 0.04


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """Score ``continuation`` after ``context``; both hold at least one token id.

    ``refused`` says why there are no tokens, where there are none.
    """

    context: tuple[int, ...]
    continuation: tuple[int, ...]
    refused: str = ""

    def tokens_forwarded(self, max_length: int) -> int:
        """Tokens that a model sees of it: all but the last, the newest ``max_length`` of them."""
        return min(len(self.context) + len(self.continuation) - 1, max_length)

    def why_not_scored(self, max_length: int) -> str:
        """Why it cannot be scored by a model that takes so many tokens; empty where it can."""
        if self.refused:
            return self.refused
        if not self.context or not self.continuation:
            return "a request without tokens cannot be scored: an answer choice is empty; check the task's data"
        if len(self.continuation) > max_length:
            return (
                f"a continuation of {len(self.continuation)} tokens is longer than the model's context of "
                f"{max_length}; shorten it in the task's data"
            )
        return ""


@dataclass(frozen=True, slots=True)
class Row:
    """A token tree in depth-first order.

    ``positions_Q`` counts from the start of the text, preamble included. Read r takes the prediction made at token
    ``read_token_R[r]`` for the token id ``target_R[r]`` and adds it to request ``request_R[r]``.
    """

    tokens_Q: Tokens
    positions_Q: Tokens
    ends_Q: Tokens
    read_token_R: Tokens
    target_R: Tokens
    request_R: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.tokens_Q)

    @property
    def tokens_read(self) -> int:
        """Tokens whose predictions are read, each counted once."""
        return len(np.unique(self.read_token_R))

    def only(self, requests: Collection[int]) -> Row:
        """The same tree without the branches that none of ``requests`` reads.

        >>> (group,) = planned([TokenRequest((5,), (8, 9)), TokenRequest((5,), (7, 6))], max_length=16).groups
        >>> group.rows[0].tokens_Q.tolist(), group.rows[0].only([0]).tokens_Q.tolist()
        ([5, 7, 8], [5, 8])
        """
        wanted_R = np.isin(self.request_R, list(requests))
        place_Q = np.arange(len(self))
        read_N = np.unique(self.read_token_R[wanted_R])
        on_path_NQ = (place_Q <= read_N[:, None]) & (read_N[:, None] < self.ends_Q)
        kept_Q = on_path_NQ.any(axis=0)
        before_Q = np.concatenate([[0], np.cumsum(kept_Q)]).astype(np.int32)
        return Row(
            tokens_Q=self.tokens_Q[kept_Q],
            positions_Q=self.positions_Q[kept_Q],
            ends_Q=before_Q[self.ends_Q[kept_Q]],
            read_token_R=before_Q[self.read_token_R[wanted_R]],
            target_R=self.target_R[wanted_R],
            request_R=self.request_R[wanted_R],
        )


@dataclass(frozen=True, slots=True)
class PreambleGroup:
    """Rows that all continue the same ``preamble`` (empty where nothing is shared)."""

    preamble: Tokens
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class ScoringPlan:
    """All requests as rows; made once and used for every checkpoint of a series.

    A request that is asked several times is in one row, once: ``same_as`` is the first of its kind for each, so that
    all have one value to the last bit.
    """

    groups: tuple[PreambleGroup, ...]
    request_count: int
    continuation_lengths: NDArray[np.int64]
    same_as: NDArray[np.int64]

    @property
    def tokens_forwarded(self) -> int:
        """Tokens run through the model, padding not counted."""
        return sum(len(group.preamble) + sum(map(len, group.rows)) for group in self.groups)


def planned(requests: Sequence[TokenRequest], max_length: int) -> ScoringPlan:
    """The rows for ``requests``; contexts too long for ``max_length`` lose their beginning, as in lm-eval.

    >>> plan = planned([TokenRequest((5, 6, 7), (8, 9)), TokenRequest((5, 6, 7), (8, 4))], max_length=16)
    >>> [row.tokens_Q.tolist() for row in plan.groups[0].rows]
    [[5, 6, 7, 8]]
    """
    by_context: dict[bytes, _Context] = {}
    first_of: dict[tuple[bytes, bytes], int] = {}
    same_as = np.arange(len(requests), dtype=np.int64)
    for index, request in enumerate(requests):
        context, continuation = _cut_to(request, max_length)
        key = context.astype(">i4").tobytes()
        same_as[index] = first = first_of.setdefault((key, continuation.tobytes()), index)
        if first == index:
            by_context.setdefault(key, _Context(context)).add(continuation, index)
    contexts = [by_context[key] for key in sorted(by_context)]
    lengths = np.array([len(request.continuation) for request in requests], dtype=np.int64)
    return ScoringPlan(tuple(_grouped(contexts)), len(requests), lengths, same_as)


class _Context:
    """One context and the continuations asked for after it."""

    __slots__ = ("continuations", "requests", "tokens")

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self.continuations: list[Tokens] = []
        self.requests: list[int] = []

    def add(self, continuation: Tokens, request: int) -> None:
        self.continuations.append(continuation)
        self.requests.append(request)

    def parts(self, preamble: int) -> list[_Context]:
        """The context with its continuations in groups that are worth a row each."""
        own = len(self.tokens) - preamble
        room = max(MIN_BRANCH_TOKENS, min(BRANCH_TOKENS_PER_CONTEXT_TOKEN * own, MAX_BRANCH_TOKENS))
        if self.size - len(self.tokens) <= room:
            return [self]
        parts: list[_Context] = []
        filled = 0
        for index in sorted(range(len(self.requests)), key=lambda i: self.continuations[i].astype(">i4").tobytes()):
            continuation = self.continuations[index]
            if not parts or filled + len(continuation) - 1 > room:
                parts.append(_Context(self.tokens))
                filled = 0
            parts[-1].add(continuation, self.requests[index])
            filled += len(continuation) - 1
        return parts

    @property
    def size(self) -> int:
        return len(self.tokens) + sum(len(continuation) - 1 for continuation in self.continuations)


def _cut_to(request: TokenRequest, max_length: int) -> tuple[Tokens, Tokens]:
    """Context and continuation, the last ``max_length + 1`` tokens of both together (lm-eval: huggingface.py)."""
    if why := request.why_not_scored(max_length):
        raise UserError(why)
    whole = np.array(request.context + request.continuation, dtype=np.int32)[-(max_length + 1) :]
    cut = len(whole) - len(request.continuation)
    return whole[:cut], whole[cut:]


def common_length(a: Tokens, b: Tokens) -> int:
    """How many tokens two sequences share from the start."""
    shortest = min(len(a), len(b))
    differs = np.flatnonzero(a[:shortest] != b[:shortest])
    return int(differs[0]) if len(differs) else shortest


# -- which contexts share a preamble ------------------------------------------------------------------------------


def _grouped(contexts: list[_Context]) -> Iterator[PreambleGroup]:
    alone: list[Row] = []
    for start, stop, depth in _sharing_ranges(contexts):
        members = contexts[start:stop]
        joined_size = depth + sum(context.size - depth for context in members)
        if depth == 0:
            alone += _rows_of(members, 0)
        elif joined_size <= MAX_JOINED_ROW_TOKENS:
            alone.append(_row(members, 0))
        else:
            yield PreambleGroup(members[0].tokens[:depth], tuple(_rows_of(members, depth)))
    if alone:
        yield PreambleGroup(np.zeros(0, dtype=np.int32), tuple(alone))


def _sharing_ranges(contexts: list[_Context]) -> list[tuple[int, int, int]]:
    """Ranges (start, stop, shared tokens) over the sorted contexts that save the most tokens.

    In the tree of common beginnings every node with n contexts below it and depth d would save (n - 1) d tokens;
    the best choice of nodes, none below another, follows bottom up: a node is chosen if it saves more than the best
    choice among its children. The last token of a context is never part of a preamble: it makes the first prediction.
    """
    best = _best_nodes(contexts)
    ranges, position = [], 0
    for start, stop, depth in sorted(best):
        if position < start:
            ranges.append((position, start, 0))
        ranges.append((start, stop, depth))
        position = stop
    if position < len(contexts):
        ranges.append((position, len(contexts), 0))
    return ranges


@dataclass(slots=True)
class _Node:
    """An open node of the tree of common beginnings while contexts are read in sorted order."""

    depth: int
    start: int
    saved: int
    chosen: list[tuple[int, int, int]]


def _best_nodes(contexts: list[_Context]) -> list[tuple[int, int, int]]:
    root = _Node(0, 0, 0, [])
    stack = [root]
    for index in range(1, len(contexts) + 1):
        depth = _shared_depth(contexts, index)
        start = index - 1
        while stack[-1].depth > depth:
            node = stack.pop()
            _close(node, index)
            start = node.start
            parent = stack[-1]
            if parent.depth < depth:
                parent = _Node(depth, start, 0, [])
                stack.append(parent)
            parent.saved += node.saved
            parent.chosen += node.chosen
        if stack[-1].depth < depth:
            stack.append(_Node(depth, start, 0, []))
    return root.chosen


def _shared_depth(contexts: list[_Context], index: int) -> int:
    if index == len(contexts):
        return 0
    left, right = contexts[index - 1].tokens, contexts[index].tokens
    depth = min(common_length(left, right), len(left) - 1, len(right) - 1)
    return depth if depth >= MIN_PREAMBLE_TOKENS else 0


def _close(node: _Node, stop: int) -> None:
    own = (stop - node.start - 1) * node.depth
    if own > node.saved:
        node.saved = own
        node.chosen = [(node.start, stop, node.depth)]


def _rows_of(contexts: list[_Context], preamble: int) -> list[Row]:
    """One row per context, more where it has many continuations (sentences without any context, say)."""
    return [_row([part], preamble) for context in contexts for part in context.parts(preamble)]


# -- rows ---------------------------------------------------------------------------------------------------------


def _row(contexts: list[_Context], preamble: int) -> Row:
    """The tree of ``contexts`` with all their continuations, without the first ``preamble`` tokens."""
    builder = _RowBuilder(preamble)
    entries = [
        (np.concatenate([context.tokens, continuation[:-1]]), len(context.tokens), continuation, request)
        for context in contexts
        for continuation, request in zip(context.continuations, context.requests, strict=True)
    ]
    for whole, context_length, continuation, request in sorted(entries, key=lambda e: e[0].astype(">i4").tobytes()):
        path_Q = builder.add(whole[preamble:])
        first = context_length - 1 - preamble
        builder.read(path_Q[first : first + len(continuation)], continuation, request)
    return builder.row()


class _RowBuilder:
    """Writes sorted sequences as one tree, depth first."""

    def __init__(self, preamble: int) -> None:
        self._preamble = preamble
        self._tokens: list[Tokens] = []
        self._positions: list[Tokens] = []
        self._closed: list[tuple[Tokens, int]] = []
        self._reads: list[tuple[Tokens, Tokens, int]] = []
        self._sequence: Tokens = np.zeros(0, dtype=np.int32)
        self._path: Tokens = np.zeros(0, dtype=np.int32)
        self._size = 0

    def add(self, sequence_Q: Tokens) -> Tokens:
        """Where in the row each token of the sequence is."""
        shared = common_length(self._sequence, sequence_Q)
        fresh = len(sequence_Q) - shared
        self._closed.append((self._path[shared:], self._size))
        self._tokens.append(sequence_Q[shared:])
        self._positions.append(np.arange(shared, len(sequence_Q), dtype=np.int32) + self._preamble)
        added = np.arange(self._size, self._size + fresh, dtype=np.int32)
        self._path = np.concatenate([self._path[:shared], added])
        self._sequence = sequence_Q
        self._size += fresh
        return self._path

    def read(self, tokens_R: Tokens, targets_R: Tokens, request: int) -> None:
        self._reads.append((tokens_R, targets_R, request))

    def row(self) -> Row:
        ends_Q = np.full(self._size, self._size, dtype=np.int32)
        for path, end in self._closed:
            ends_Q[path] = end
        counts = [len(targets_R) for _, targets_R, _ in self._reads]
        return Row(
            tokens_Q=np.concatenate(self._tokens),
            positions_Q=np.concatenate(self._positions),
            ends_Q=ends_Q,
            read_token_R=np.concatenate([tokens_R for tokens_R, _, _ in self._reads]),
            target_R=np.concatenate([targets_R for _, targets_R, _ in self._reads]),
            request_R=np.repeat([request for _, _, request in self._reads], counts).astype(np.int64),
        )


# -- batches ------------------------------------------------------------------------------------------------------


def batches(group: PreambleGroup, token_budget: int, read_budget: int | None = None) -> Iterator[tuple[Row, ...]]:
    """The rows of ``group``, longest first, in batches of at most ``token_budget`` tokens with padding.

    A batch reads at most ``read_budget`` tokens, a single row as many as it has.
    """
    batch: list[Row] = []
    reads = 0
    for row in sorted(group.rows, key=len, reverse=True):
        own = row.tokens_read
        if batch:
            longest = len(batch[0])
            full = (len(batch) + 1) * longest > token_budget or (read_budget is not None and reads + own > read_budget)
            uneven = longest - len(row) > max(MAX_PADDING * longest, 1)
            if full or uneven:
                yield tuple(batch)
                batch, reads = [], 0
        batch.append(row)
        reads += own
    if batch:
        yield tuple(batch)
