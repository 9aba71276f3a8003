"""Proves on some requests of a list that sharing prefixes gives what each request gives alone.

In float32 the answers themselves are held against those of each request alone. In half precision rounding hides what
is wrong, so the way of scoring is proven by the same weights in float32, tokens and tree alike, and the answers must
lie within rounding of what float32 gives.

Shape suffixes: K requests looked at, T tokens of a continuation, V vocabulary.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from e2lm_adapters.scoring.check import Loglikelihood, ScoringDifference
from e2lm_adapters.scoring.packed import PackedScorer
from e2lm_adapters.scoring.prefix_tree import PreambleGroup, Row, ScoringPlan, TokenRequest

if TYPE_CHECKING:
    import torch

#: How many requests of a list are looked at, each of them in up to ``HALF_PASSES`` forward passes in half precision.
LOOKED_AT, LOOKED_AT_HALF = 8, 2
HALF_PASSES = 4
#: From so many requests on, those passes may take this share of the tokens of the list.
MANY_REQUESTS, TOKEN_SHARE = 1_000, 0.03
#: One of the requests looked at is among this share of the longest.
LONGEST_SHARE = 0.125
#: Rounding of float32, nats: of a continuation of so many tokens, and in proportion of longer ones.
FLOAT32_NATS, FLOAT32_TOKENS = 1e-4, 50
#: How many times the largest error that stock scoring itself makes on these requests is rounding too.
TIMES_STOCK_ERROR = 3.0
#: So many numbers of so many tensors tell one checkpoint from another.
MARKED_TENSORS, MARKED_NUMBERS = 16, 64
#: Of the memory that is free, the part that a float32 copy may take.
FREE_MEMORY_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class StockAnswers:
    """What stock scoring gives for K requests; ``rounding_K`` is how far half precision may be off, in nats."""

    loglik_K: NDArray[np.float64]
    greedy_K: NDArray[np.bool_]
    rounding_K: NDArray[np.float64]

    @classmethod
    def joined(cls, parts: Sequence[StockAnswers]) -> StockAnswers:
        """The answers of all ``parts``, one after the other."""
        logliks, flags, roundings = zip(*((one.loglik_K, one.greedy_K, one.rounding_K) for one in parts), strict=True)
        return cls(np.concatenate(logliks), np.concatenate(flags), np.concatenate(roundings))


def weights_mark(model: Any) -> int:
    """A number by which the weights of one checkpoint differ from those of another, from a few of them."""
    import torch

    at_hand = [one for one in model.parameters() if not one.is_meta and one.numel()]
    few = at_hand[:: max(len(at_hand) // MARKED_TENSORS, 1)]
    with torch.no_grad():
        parts = [one.detach().flatten()[:MARKED_NUMBERS].float().cpu() for one in few]
    return zlib.crc32(b"".join(part.numpy().tobytes() for part in parts))


# -- which requests -----------------------------------------------------------------------------------------------


def looked_at(plan: ScoringPlan, requests: Sequence[TokenRequest], max_length: int, seed: int, half: bool) -> list[int]:
    """The requests of a list that are proven, by ``seed``: with and without a preamble in turn, one of the longest.

    At least one, and otherwise as many as the number of requests and their share of all tokens allow.
    """
    tokens_of = [request.tokens_forwarded(max_length) for request in requests]
    count, passes = (LOOKED_AT_HALF, HALF_PASSES) if half else (LOOKED_AT, 1)
    allowed = TOKEN_SHARE * plan.tokens_forwarded if len(requests) >= MANY_REQUESTS else np.inf
    chosen: list[int] = []
    spent = 0
    for index in _by_turns([_shuffled(part, tokens_of, seed) for part in _with_and_without_preamble(plan)]):
        spent += passes * tokens_of[index]
        if chosen and (spent > allowed or len(chosen) == count):
            break
        chosen.append(index)
    return chosen


def random_requests(plan: ScoringPlan, count: int, seed: int) -> list[int]:
    """So many requests of a list, or all of them, without repetitions."""
    distinct = np.unique(plan.same_as)
    return [int(index) for index in np.random.default_rng(seed).permutation(distinct)[:count]]


def _with_and_without_preamble(plan: ScoringPlan) -> list[NDArray[np.int64]]:
    parts: dict[bool, list[NDArray[np.int64]]] = {True: [], False: []}
    for group in plan.groups:
        parts[len(group.preamble) > 0] += [row.request_R for row in group.rows]
    return [np.unique(np.concatenate(rows)) for rows in parts.values() if rows]


def _shuffled(indices: NDArray[np.int64], tokens_of: Sequence[int], seed: int) -> list[int]:
    """In random order, but for the first, which is among the longest."""
    rng = np.random.default_rng(seed)
    longest_first = sorted(map(int, indices), key=lambda index: -tokens_of[index])
    first = longest_first[int(rng.integers(max(int(len(indices) * LONGEST_SHARE), 1)))]
    return [first, *(int(index) for index in rng.permutation(indices) if index != first)]


def _by_turns(parts: Sequence[Sequence[int]]) -> Iterator[int]:
    for place in range(max(map(len, parts), default=0)):
        yield from (part[place] for part in parts if place < len(part))


def with_a_sibling(plan: ScoringPlan, chosen: Sequence[int]) -> ScoringPlan:
    """The rows of ``chosen`` alone, each with one more branch, so that there is a tree to get wrong."""
    groups: list[PreambleGroup] = []
    for group in plan.groups:
        rows = [(row, [index for index in chosen if index in row.request_R]) for row in group.rows]
        kept = tuple(row.only([*own, *_neighbours(row, own)]) for row, own in rows if own)
        groups += [PreambleGroup(group.preamble, kept)] if kept else []
    return replace(plan, groups=tuple(groups))


def _neighbours(row: Row, own: Sequence[int]) -> list[int]:
    """A request that stands before the last of ``own`` in the row; one behind it where there is none."""
    order = list(dict.fromkeys(map(int, row.request_R)))
    place = max(order.index(index) for index in own)
    return [one for one in [*order[:place][::-1], *order[place + 1 :]] if one not in own][:1]


# -- stock scoring, float32 ---------------------------------------------------------------------------------------


class StockScoring:
    """Scores requests as lm-eval's ``hf`` does, by ``model`` from tokens [B, Q] to logits [B, Q, V].

    Half precision is rounded token by token as there; the sum over tokens, which lm-eval rounds as well, is exact.
    """

    def __init__(self, model: Any, max_length: int) -> None:
        self._model, self._max_length = model, max_length

    def alone(self, requests: Sequence[TokenRequest], softmax_dtype: torch.dtype | None, eps: float) -> StockAnswers:
        """Each request in a forward pass of its own; ``eps`` is the precision of the model's numbers."""
        return StockAnswers.joined([self.together([request], softmax_dtype, eps) for request in requests])

    def together(self, requests: Sequence[TokenRequest], softmax_dtype: torch.dtype | None, eps: float) -> StockAnswers:
        """All requests in one forward pass, padded at the right."""
        import torch

        inputs = [(one.context + one.continuation)[-(self._max_length + 1) :][:-1] for one in requests]
        width = max(map(len, inputs))
        tokens_KQ = torch.tensor([[*one, *[0] * (width - len(one))] for one in inputs], device=self._model.device)
        with torch.inference_mode():
            logits_KQV = self._model(tokens_KQ).logits
            rows = [
                _answer(logits_QV[len(tokens) - len(request.continuation) :], request, softmax_dtype)
                for logits_QV, tokens, request in zip(logits_KQV, inputs, requests, strict=True)
            ]
        logliks, flags, sizes = zip(*rows, strict=True)
        return StockAnswers(np.array(logliks), np.array(flags), eps * np.array(sizes))


def _answer(
    logits_QV: torch.Tensor, request: TokenRequest, softmax_dtype: torch.dtype | None
) -> tuple[float, bool, float]:
    """Log-likelihood, greedy flag, and the sum of all numbers whose rounding is in the log-likelihood."""
    import torch

    target_T = torch.tensor(request.continuation, device=logits_QV.device)
    logits_TV = logits_QV[: len(target_T)]
    logp_TV = logits_TV.log_softmax(-1, dtype=softmax_dtype)
    logp_T = logp_TV.gather(1, target_T[:, None])[:, 0].double()
    is_greedy = bool((logp_TV.argmax(-1) == target_T).all())
    return float(logp_T.sum()), is_greedy, float((logp_T.abs() + logits_TV.abs().amax(-1).double()).sum())


@contextmanager
def in_float32(model: Any) -> Iterator[bool]:
    """Within, the numbers of ``model`` are float32; says whether they are: no other type, and memory enough.

    Afterwards every tensor is the very one that it was.
    """
    tensors = [one for one in [*model.parameters(), *model.buffers()] if one.is_floating_point()]
    half = [one for one in tensors if one.dtype.itemsize == 2]
    fits = 4 * sum(one.numel() for one in half) <= FREE_MEMORY_SHARE * _free_bytes(model.device)
    if not fits or any(one.dtype.itemsize < 2 for one in tensors) or getattr(model, "is_quantized", False):
        yield False
        return
    kept = [(one, one.data) for one in half]
    try:
        for one, data in kept:
            one.data = data.float()
        yield True
    finally:
        for one, data in kept:
            one.data = data


def _free_bytes(device: Any) -> int:
    import torch

    if device.type != "cuda":
        psutil: Any = importlib.import_module("psutil")  # comes with accelerate
        return int(psutil.virtual_memory().available)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0] + unused)


# -- the proof ----------------------------------------------------------------------------------------------------


class Prover:
    """Holds answers of shared prefixes against stock scoring by the same ``model``.

    ``eps`` is the precision of its numbers where that is half (torch's ``finfo``), None for float32; ``autocast`` is
    the mixed precision in which it is run.
    """

    def __init__(
        self,
        model: Any,
        stock: StockScoring,
        shared: PackedScorer,
        eps: float | None,
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._model, self._stock, self._shared, self._eps, self._autocast = model, stock, shared, eps, autocast

    @property
    def half(self) -> bool:
        """Whether the model computes in half precision."""
        return self._eps is not None

    def difference(
        self,
        plan: ScoringPlan,
        requests: Sequence[TokenRequest],
        answers: Sequence[Loglikelihood],
        chosen: Sequence[int],
        softmax_dtype: torch.dtype | None,
    ) -> ScoringDifference:
        """The ``answers`` to the ``chosen`` requests beside stock scoring; in half precision, or the way in float32.

        Of all differences it is the one that is largest beside what is allowed.
        """
        asked = [requests[index] for index in chosen]
        loglik_K, greedy_K = (np.array(column) for column in zip(*(answers[index] for index in chosen), strict=True))
        with self._autocast():
            plain = self._stock.alone(asked, softmax_dtype, self._eps or 0.0)
            if self._eps is None:
                return _worst(loglik_K, greedy_K, plain, self._float32_tolerance(asked, loglik_K, plain))
        with in_float32(self._model) as whole:
            if whole:
                truth, way = self._way_in_float32(plan, asked, chosen)
        if not whole:
            with self._autocast():
                spread_K = np.abs(self._stock.together(asked, softmax_dtype, 0.0).loglik_K - plain.loglik_K)
            return _worst(loglik_K, greedy_K, plain, _at_least(plain.rounding_K, spread_K))
        if not way.agrees:
            return way
        tolerance_K = _at_least(plain.rounding_K, np.abs(plain.loglik_K - truth.loglik_K))
        return _worst(loglik_K, greedy_K, replace(truth, greedy_K=plain.greedy_K), tolerance_K)

    def _way_in_float32(
        self, plan: ScoringPlan, asked: Sequence[TokenRequest], chosen: Sequence[int]
    ) -> tuple[StockAnswers, ScoringDifference]:
        """What float32 gives for each request alone, and how far it is with shared prefixes."""
        truth = self._stock.alone(asked, None, 0.0)
        loglik, greedy = self._shared.score(with_a_sibling(plan, chosen))
        found_K, flags_K = loglik[list(chosen)], greedy[list(chosen)]
        return truth, _worst(found_K, flags_K, truth, self._float32_tolerance(asked, found_K, truth))

    def _float32_tolerance(
        self, asked: Sequence[TokenRequest], found_K: NDArray[np.float64], plain: StockAnswers
    ) -> NDArray[np.float64]:
        """Rounding of float32; where that is not enough, what stock scoring itself differs by in one batch."""
        tokens_K = np.array([len(request.continuation) for request in asked])
        tolerance_K = FLOAT32_NATS * np.maximum(tokens_K / FLOAT32_TOKENS, 1.0)
        if len(asked) < 2 or bool(np.all(np.abs(found_K - plain.loglik_K) <= tolerance_K)):
            return tolerance_K
        spread_K = np.abs(self._stock.together(asked, None, 0.0).loglik_K - plain.loglik_K)
        return _at_least(tolerance_K, spread_K)


def _worst(
    found_K: NDArray[np.float64], flags_K: NDArray[np.bool_], stock: StockAnswers, tolerance_K: NDArray[np.float64]
) -> ScoringDifference:
    with np.errstate(invalid="ignore"):
        difference_K = np.abs(found_K - stock.loglik_K)
    # A model that gives NaN both ways says nothing against sharing; NaN beside a number does.
    both_K = ~np.isfinite(found_K) & ~np.isfinite(stock.loglik_K)
    difference_K = np.where(both_K, 0.0, np.nan_to_num(difference_K, nan=np.inf))
    allowed_K = np.maximum(np.nan_to_num(tolerance_K, nan=0.0), np.finfo(np.float64).tiny)
    worst = int(np.argmax(difference_K / allowed_K))
    return ScoringDifference(
        requests=len(found_K),
        largest_difference=float(difference_K[worst]),
        greedy_differences=int((flags_K != stock.greedy_K).sum()),
        tolerance=float(allowed_K[worst]),
    )


def _at_least(rounding_K: NDArray[np.float64], stock_error_K: NDArray[np.float64]) -> NDArray[np.float64]:
    finite = stock_error_K[np.isfinite(stock_error_K)]
    return np.maximum(rounding_K, TIMES_STOCK_ERROR * float(finite.max(initial=0.0)))
