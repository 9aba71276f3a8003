"""Runs the rows of a scoring plan through a causal transformer of the transformers library.

The logits come from the model's own forward pass, whatever it does behind its output head (scaling, soft-caps,
multipliers). Head and softmax are computed for the tokens that are read only; stock lm-eval computes them for all.

Shape suffixes: B rows of a batch, Q tokens of a row, P tokens of the preamble, H hidden size, N tokens read,
V vocabulary, R reads (several targets may be read at one token).

Batches side by side on the cores of a CPU, each computed by one thread.

A small model's matrices are too small to be worth splitting: two threads on one of them spend a third of their time
waiting for each other. Whole batches need no waiting, and what one thread computes does not depend on how many cores
there are.

Spares the last layer's feed-forward block the tokens whose predictions nobody reads.

A context of a hundred tokens is run for the sake of its last one: in every layer but the last the others are needed as
keys and values, in the last one only their attention is. The feed-forward block works token by token, so it is given
the rows that are read; the others keep their residual stream, which goes unread into the final norm.

Shape suffixes: B rows of a batch, Q tokens of a row, H hidden size, N tokens read.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from e2lm_adapters.scoring.prefix_tree import PreambleGroup, Row, ScoringPlan, batches

if TYPE_CHECKING:
    import torch


TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")

#: Every thread holds the activations of one batch; with more cores than this the batches are split after all.
MAX_BATCH_THREADS = 8


def batch_threads(device_type: str) -> int:
    """How many batches run at a time: on a CPU one per core that torch may use, elsewhere 1."""
    import torch

    return min(torch.get_num_threads(), MAX_BATCH_THREADS) if device_type == "cpu" else 1


def in_order(work: Callable[[TaskT], ResultT], tasks: Iterable[TaskT], threads: int) -> Iterator[ResultT]:
    """Results of ``work`` in the order of ``tasks``, which are drawn as they are needed; errors come out in place.

    >>> list(in_order(lambda number: number**2, range(5), threads=2))
    [0, 1, 4, 9, 16]
    """
    if threads <= 1:
        yield from map(work, tasks)
        return
    waiting: deque[Future[ResultT]] = deque()
    with _cores_shared_by(threads) as prepared, ThreadPoolExecutor(threads) as pool:
        try:
            for task in tasks:
                waiting.append(pool.submit(prepared, work, task))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _cores_shared_by(threads: int) -> Iterator[Callable[[Callable[[TaskT], ResultT], TaskT], ResultT]]:
    """Gives each of ``threads`` its part of torch's cores, and what torch keeps per thread: autocast and inference."""
    import torch

    cores = torch.get_num_threads()
    own = max(cores // threads, 1)
    autocast, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def prepared(work: Callable[[TaskT], ResultT], task: TaskT) -> ResultT:
        torch.set_num_threads(own)
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if autocast:
                stack.enter_context(torch.autocast("cpu", dtype=dtype))
            return work(task)

    torch.set_num_threads(own)
    try:
        yield prepared
    finally:
        torch.set_num_threads(cores)


#: Names under which the transformers library keeps the decoder layers of a base model.
LAYER_LISTS = ("layers", "h")


class ReadTokens:
    """Gives parts of a model that work token by token the tokens that are read, and no others.

    These are the output head, and the feed-forward block of the last layer; where neither is in sight, or is called
    by another way than as a module, every token is computed and nothing is spared.
    """

    def __init__(self, model: Any) -> None:
        self._reading = threading.local()
        head, block = model.get_output_embeddings(), _last_feed_forward(model.base_model)
        if head is not None:
            head.register_forward_pre_hook(self._picked)
        if block is not None:
            block.register_forward_pre_hook(self._picked_of_block)
            block.register_forward_hook(self._put_back)

    @contextmanager
    def only(self, place_N: torch.Tensor) -> Iterator[None]:
        """Within, this thread's forward passes need the places ``place_N`` of the flattened [B, Q] grid only."""
        self._reading.place_N = place_N
        try:
            yield
        finally:
            self._reading.place_N = None

    def logits(self, logits: torch.Tensor, place_N: torch.Tensor) -> torch.Tensor:
        """[N, V]: what the model gave, whether its head saw ``place_N`` alone or every token."""
        logits_TV = logits.reshape(-1, logits.shape[-1])
        return logits_TV if len(logits_TV) == len(place_N) else logits_TV[place_N.to(logits_TV.device)]

    def _picked(self, part: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
        place_N = getattr(self._reading, "place_N", None)
        if place_N is None or not arguments:
            return None
        hidden_BQH = arguments[0]
        flat_TH = hidden_BQH.reshape(-1, hidden_BQH.shape[-1])
        return (flat_TH[place_N.to(flat_TH.device)][None], *arguments[1:])

    def _picked_of_block(self, block: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
        self._reading.shape = arguments[0].shape if arguments else None
        return self._picked(block, arguments)

    def _put_back(self, block: Any, arguments: tuple[Any, ...], output: Any) -> Any:
        place_N, shape = getattr(self._reading, "place_N", None), getattr(self._reading, "shape", None)
        if place_N is None or shape is None:
            return None
        if isinstance(output, tuple):  # a mixture of experts also gives its router's scores
            return (_scattered(output[0], place_N, shape), *output[1:])
        return _scattered(output, place_N, shape)


def _last_feed_forward(base_model: Any) -> Any:
    layers = next((getattr(base_model, name) for name in LAYER_LISTS if hasattr(base_model, name)), None)
    return getattr(layers[-1], "mlp", None) if layers is not None and len(layers) else None


def _scattered(output_1NH: torch.Tensor, place_N: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    whole_TH = output_1NH.new_zeros((shape[:-1].numel(), output_1NH.shape[-1]))
    whole_TH[place_N.to(whole_TH.device)] = output_1NH.reshape(-1, output_1NH.shape[-1])
    return whole_TH.view(*shape[:-1], output_1NH.shape[-1])


#: Tokens per forward pass. On a CPU small batches stay in the cache of a core (2,048 was fastest of 512 ... 16,384).
CPU_TOKEN_BUDGET = 2_048
GPU_TOKEN_BUDGET = 32_768
#: Numbers of the output head held at once (tokens read x vocabulary), unless one row alone has more.
CPU_LOGITS = 1 << 25
GPU_LOGITS = 1 << 28
#: Numbers of the softmax held at once.
CPU_SOFTMAX_NUMBERS = 1 << 20
GPU_SOFTMAX_NUMBERS = 1 << 27


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows of one forward pass, the keys and values they continue, and how many tokens those stand for."""

    rows: tuple[Row, ...]
    preamble: list[tuple[torch.Tensor, torch.Tensor]] | None
    preamble_length: int


@dataclass(frozen=True, slots=True)
class _Reads:
    """What a batch gives: one value and flag per read, and the tokens it took, padding included."""

    request_R: NDArray[np.int64]
    logp_R: NDArray[np.float64]
    is_greedy_R: NDArray[np.bool_]
    tokens: int
    tokens_forwarded: int


class PackedScorer:
    """Scores plans with one model, whose weights may change between calls."""

    def __init__(self, model: Any, token_budget: int | None = None) -> None:
        self._model = model
        self._read_tokens = ReadTokens(model)
        self._softmax_dtype: torch.dtype | None = None
        on_cpu = model.device.type == "cpu"
        self.token_budget = token_budget or (CPU_TOKEN_BUDGET if on_cpu else GPU_TOKEN_BUDGET)
        vocabulary = int(getattr(model.config.get_text_config(), "vocab_size", 1))
        self._read_budget = max((CPU_LOGITS if on_cpu else GPU_LOGITS) // vocabulary, 1)
        self._softmax_rows = max((CPU_SOFTMAX_NUMBERS if on_cpu else GPU_SOFTMAX_NUMBERS) // vocabulary, 1)
        #: Tokens forwarded by the last call, padding included.
        self.tokens_forwarded = 0

    def score(
        self,
        plan: ScoringPlan,
        on_tokens: Callable[[int], object] = lambda count: None,
        softmax_dtype: torch.dtype | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Log-likelihood in nats and greedy flag of every request; ``on_tokens`` hears of progress.

        ``softmax_dtype`` is the type in which log-probabilities are computed and rounded, as lm-eval's argument of
        that name; None takes the type of the logits.
        """
        import torch

        self._softmax_dtype = softmax_dtype

        loglik = np.zeros(plan.request_count, dtype=np.float64)
        greedy = np.ones(plan.request_count, dtype=np.bool_)
        self.tokens_forwarded = 0
        with torch.inference_mode():
            for parts in in_order(self._scored, self._batches(plan), batch_threads(self._model.device.type)):
                for reads in parts:
                    np.add.at(loglik, reads.request_R, reads.logp_R)
                    np.logical_and.at(greedy, reads.request_R, reads.is_greedy_R)
                    self.tokens_forwarded += reads.tokens_forwarded
                    on_tokens(reads.tokens)
        return loglik[plan.same_as], greedy[plan.same_as]

    def _batches(self, plan: ScoringPlan) -> Iterator[_Batch]:
        for group in plan.groups:
            preamble = self._preamble(group) if len(group.preamble) else None
            for rows in batches(group, self.token_budget, self._read_budget):
                yield _Batch(rows, preamble, len(group.preamble))

    def _scored(self, batch: _Batch) -> list[_Reads]:
        """The batch in one pass, or in more where memory does not hold it."""
        try:
            return [self._score_batch(batch)]
        except RuntimeError as error:
            if not _out_of_memory(error) or len(batch.rows) == 1:
                raise
        self.token_budget = max(self.token_budget // 2, 1)
        middle = len(batch.rows) // 2
        halves = batch.rows[:middle], batch.rows[middle:]
        return [reads for rows in halves for reads in self._scored(_Batch(rows, batch.preamble, batch.preamble_length))]

    def _preamble(self, group: PreambleGroup) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Keys and values of every layer after the preamble, each of shape [1, heads, P, head size]."""
        import torch
        from transformers import DynamicCache

        tokens_1P = torch.from_numpy(group.preamble.astype(np.int64))[None].to(self._model.device)
        cache = DynamicCache()
        with self._read_tokens.only(torch.tensor([len(group.preamble) - 1], device=tokens_1P.device)):
            self._model(input_ids=tokens_1P, past_key_values=cache, use_cache=True)
        self.tokens_forwarded += len(group.preamble)
        return [(layer.keys, layer.values) for layer in cache.layers]

    def _score_batch(self, batch: _Batch) -> _Reads:
        import torch

        rows, device = batch.rows, self._model.device
        tokens_BQ, positions_BQ, ends_BQ = (torch.from_numpy(grid).to(device) for grid in _padded(rows))
        options: dict[str, Any] = {"use_cache": False}
        if batch.preamble is not None:
            options = {"use_cache": True, "past_key_values": _repeated(batch.preamble, len(rows))}
        width = tokens_BQ.shape[1]
        place_R = np.concatenate([index * width + row.read_token_R for index, row in enumerate(rows)])
        place_N, slot_R = np.unique(place_R, return_inverse=True)
        read_N = torch.from_numpy(place_N).to(device)
        with self._read_tokens.only(read_N):
            logits = self._model(
                input_ids=tokens_BQ,
                position_ids=positions_BQ,
                attention_mask=self._mask(ends_BQ, batch.preamble_length),
                **options,
            ).logits
        target_R = np.concatenate([row.target_R for row in rows]).astype(np.int64)
        logp_R, is_greedy_R = self._read(self._read_tokens.logits(logits, read_N), slot_R, target_R)
        request_R = np.concatenate([row.request_R for row in rows])
        return _Reads(request_R, logp_R, is_greedy_R, sum(map(len, rows)), tokens_BQ.numel())

    def _mask(self, ends_BQ: torch.Tensor, preamble_length: int) -> torch.Tensor:
        """Who sees whom, [B, 1, Q, P + Q]: a token sees the preamble, its ancestors and itself."""
        import torch

        rows, width = ends_BQ.shape
        place_Q = torch.arange(width, device=ends_BQ.device)
        seen_BQQ = (place_Q[None, :, None] >= place_Q[None, None, :]) & (place_Q[None, :, None] < ends_BQ[:, None, :])
        if preamble_length:
            ones = torch.ones((rows, width, preamble_length), dtype=torch.bool, device=ends_BQ.device)
            seen_BQQ = torch.cat([ones, seen_BQQ], dim=-1)
        seen_B1QQ = seen_BQQ[:, None]
        if self._model.config._attn_implementation == "sdpa":
            return seen_B1QQ
        # Eager attention adds its mask to the scores.
        lowest = torch.finfo(self._model.dtype).min
        return torch.zeros(seen_B1QQ.shape, dtype=self._model.dtype, device=ends_BQ.device).masked_fill(
            ~seen_B1QQ, lowest
        )

    def _read(
        self, logits_NV: torch.Tensor, slot_R: NDArray[np.int64], target_R: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Log-probability of each target at its slot of ``logits_NV``, and whether it is the likeliest token."""
        import torch

        order_R = np.argsort(slot_R, kind="stable")
        logp_R = np.empty(len(slot_R), dtype=np.float64)
        is_greedy_R = np.empty(len(slot_R), dtype=np.bool_)
        for start in range(0, len(logits_NV), self._softmax_rows):
            first, last = np.searchsorted(slot_R[order_R], [start, start + self._softmax_rows])
            here_R = order_R[first:last]
            slots = torch.from_numpy(slot_R[here_R] - start).to(logits_NV.device)
            targets = torch.from_numpy(target_R[here_R]).to(logits_NV.device)
            chunk_NV = logits_NV[start : start + self._softmax_rows]
            logp, is_greedy = _read_logits(chunk_NV, slots, targets, self._softmax_dtype)
            logp_R[here_R] = logp.double().cpu().numpy()
            is_greedy_R[here_R] = is_greedy.cpu().numpy()
        return logp_R, is_greedy_R


def _read_logits(
    logits_NV: torch.Tensor, slot_R: torch.Tensor, target_R: torch.Tensor, softmax_dtype: torch.dtype | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-softmax at the targets, rounded as stock scoring rounds it, and greedy flags.

    Of several likeliest tokens, after rounding, the first is the greedy choice, as for stock scoring's argmax.
    """
    logp_NV = logits_NV.log_softmax(dim=-1, dtype=softmax_dtype)
    logp_R = logp_NV[slot_R, target_R]
    is_greedy_R = logp_R == logp_NV.amax(dim=-1)[slot_R]
    tied_R = is_greedy_R.nonzero()[:, 0]
    is_greedy_R[tied_R] = logp_NV[slot_R[tied_R]].argmax(dim=-1) == target_R[tied_R]
    return logp_R, is_greedy_R


def _padded(rows: tuple[Row, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Tokens, positions and subtree ends of the rows, padded at the right; padding sees itself only."""
    width = max(map(len, rows))
    tokens_BQ = np.zeros((len(rows), width), dtype=np.int64)
    positions_BQ = np.zeros((len(rows), width), dtype=np.int64)
    # A padding token that saw nothing would give NaN, and NaN times an attention weight of zero is NaN.
    ends_BQ = np.tile(np.arange(1, width + 1, dtype=np.int64), (len(rows), 1))
    for index, row in enumerate(rows):
        tokens_BQ[index, : len(row)] = row.tokens_Q
        positions_BQ[index, : len(row)] = row.positions_Q
        ends_BQ[index, : len(row)] = row.ends_Q
    return tokens_BQ, positions_BQ, ends_BQ


def _repeated(preamble: list[tuple[torch.Tensor, torch.Tensor]], rows: int) -> Any:
    """A key-value cache that holds the preamble once per row, without copying it."""
    from transformers import DynamicCache

    return DynamicCache([(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1)) for keys, values in preamble])


def _out_of_memory(error: RuntimeError) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
