"""Which prompts an engine with a prefix cache is sent, which of its answers can be believed, and what they add up to.

A prompt is a context and a continuation; the log-likelihood of the continuation is wanted. Contexts are *warmed*
first: their full blocks go into the prefix cache, once per context. The choices that follow read them from there, and
the engine gives log-probabilities for the rows it computed.

The guard: row ``len(context) - 1`` makes the first prediction, so an answer holds only if the engine took at most
``len(context) - 1`` tokens from its cache. For rows it did not compute, vLLM returns uninitialised memory
(vLLM issue 42019). Whatever fails the guard is asked again plainly, without the cache.

Shape suffix: T tokens of a continuation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Protocol

from e2lm.errors import E2LMError, UserError
from e2lm_adapters.scoring.check import Loglikelihood
from e2lm_adapters.scoring.prefix_tree import TokenRequest

TokenIds = tuple[int, ...]

#: Warmed contexts and their choices together fill at most this share of the cache, so that none is evicted before use.
CACHE_SHARE = 0.5


class Way(Enum):
    """How prompts are scored."""

    PLAIN = "plain: every row computed, nothing read from the cache"
    RANKS = "shared contexts, prompt_logprobs=1"
    TOKEN_IDS = "shared contexts, prompt_logprob_token_ids"


@dataclass(frozen=True, slots=True)
class PromptScore:
    """The engine's answer: one log-probability (nats) per continuation token, None where it gave none.

    ``greedy`` says whether every token was the most likely one, None where the engine could not tell: at the positions
    ``tied_T`` of the continuation it is as likely as another.
    """

    logprobs_T: tuple[float, ...] | None
    greedy: bool | None
    cached_tokens: int
    tied_T: tuple[int, ...] = ()


class ScoringEngine(Protocol):
    """What scoring needs of an engine."""

    @property
    def block_tokens(self) -> int:
        """Tokens of one cache block; only full blocks are shared."""

    @property
    def cache_tokens(self) -> int:
        """Tokens that fit into the cache."""

    def warm(self, prompts: Sequence[TokenIds]) -> list[int]:
        """Run ``prompts`` into the cache; the most likely next token of each."""

    def score(self, requests: Sequence[TokenRequest], way: Way) -> list[PromptScore]:
        """The answers to ``requests``, in order."""


@dataclass(slots=True)
class ScoringReport:
    """What a list of requests cost: prompts sent, and how many of them failed the guard."""

    requests: int = 0
    prompts: int = 0
    warmed: int = 0
    rescored: int = 0


@dataclass(frozen=True, slots=True)
class Wave:
    """Contexts that fit into the cache together, and the prompts that continue them."""

    warm: tuple[TokenIds, ...]
    requests: tuple[TokenRequest, ...]


def fitted(request: TokenRequest, max_prompt_tokens: int) -> TokenRequest:
    """``request`` without the beginning of its context where it is too long; the last token of it always stays.

    >>> fitted(TokenRequest((1, 2, 3), (4, 5)), 4)
    TokenRequest(context=(2, 3), continuation=(4, 5), refused='')
    """
    if not request.context or not request.continuation:
        raise UserError("a request without tokens cannot be scored: an answer choice is empty; check the task's data")
    room = max_prompt_tokens - len(request.continuation)
    if room < 1:
        raise UserError(
            f"a continuation of {len(request.continuation)} tokens does not fit into prompts of {max_prompt_tokens} "
            "(max_model_len less one); shorten it in the task's data"
        )
    return TokenRequest(request.context[-room:], request.continuation)


def waves(requests: Sequence[TokenRequest], engine: ScoringEngine, way: Way) -> Iterator[Wave]:
    """Distinct ``requests`` by context, contexts that start alike side by side, in waves that fit into the cache."""
    by_context: dict[TokenIds, list[TokenRequest]] = {}
    for request in dict.fromkeys(requests):
        by_context.setdefault(request.context, []).append(request)
    limit = CACHE_SHARE * engine.cache_tokens
    warm: dict[TokenIds, None] = {}
    taken: list[TokenRequest] = []
    filled = 0.0
    for context in sorted(by_context):
        own = by_context[context]
        size = len(context) + sum(_rounded_up(len(one.continuation), engine.block_tokens) for one in own)
        if taken and filled + size > limit:
            yield Wave(tuple(warm), tuple(taken))
            warm, taken, filled = {}, [], 0.0
        beginning = _worth_warming(context, len(own), engine.block_tokens, way)
        if beginning:
            warm[beginning] = None
        taken += own
        filled += size
    if taken:
        yield Wave(tuple(warm), tuple(taken))


def _rounded_up(tokens: int, block_tokens: int) -> int:
    return -(-tokens // block_tokens) * block_tokens


def _worth_warming(context: TokenIds, continuations: int, block_tokens: int, way: Way) -> TokenIds:
    """What of ``context`` to warm.

    With ranks its full blocks, if several continuations use them; the last token is never among them, as it makes the
    first prediction. With token ids all of it, always: the next token tells which choices can be greedy at all.
    """
    if way is Way.TOKEN_IDS:
        return context
    if way is Way.PLAIN or continuations < 2:
        return ()
    return context[: (len(context) - 1) // block_tokens * block_tokens]


def believable(request: TokenRequest, score: PromptScore) -> bool:
    """Whether every row of the continuation was computed for this very request.

    >>> believable(TokenRequest((1, 2, 3), (4,)), PromptScore((-1.0,), True, cached_tokens=2))
    True
    >>> believable(TokenRequest((1, 2, 3), (4,)), PromptScore((-1.0,), True, cached_tokens=3))
    False
    """
    whole = score.logprobs_T is not None and len(score.logprobs_T) == len(request.continuation)
    told = score.greedy is not None or bool(score.tied_T)
    return whole and told and score.cached_tokens <= len(request.context) - 1


@dataclass(slots=True)
class PromptScoring:
    """Scores lists of requests with ``engine`` in one way."""

    engine: ScoringEngine
    max_prompt_tokens: int
    way: Way
    report: ScoringReport = field(default_factory=ScoringReport)

    def answers(self, requests: Sequence[TokenRequest], on_done: Callable[[int], object]) -> list[Loglikelihood]:
        """(log-likelihood in nats, greedy flag) per request; ``on_done`` hears of numbers of finished prompts."""
        cut = [fitted(request, self.max_prompt_tokens) for request in requests]
        found: dict[TokenRequest, Loglikelihood] = {}
        for wave in waves(cut, self.engine, self.way):
            found |= self._wave(wave)
            on_done(len(wave.requests))
        self.report.requests += len(requests)
        self.report.prompts += len(found)
        return [found[request] for request in cut]

    def _wave(self, wave: Wave) -> dict[TokenRequest, Loglikelihood]:
        next_tokens = self.engine.warm(wave.warm) if wave.warm else []
        self.report.warmed += len(wave.warm)
        if self.way is Way.TOKEN_IDS:
            scored = self._by_token_ids(wave.requests, dict(zip(wave.warm, next_tokens, strict=True)))
        else:
            scored = dict(zip(wave.requests, self.engine.score(wave.requests, self.way), strict=True))
        if self.way is not Way.PLAIN:
            doubtful = [request for request, score in scored.items() if not believable(request, score)]
            if doubtful:
                scored |= zip(doubtful, self.engine.score(doubtful, Way.PLAIN), strict=True)
                self.report.rescored += len(doubtful)
        self._settle_ties(scored)
        return {request: _answer(request, score) for request, score in scored.items()}

    def _settle_ties(self, scored: dict[TokenRequest, PromptScore]) -> None:
        """Of several most likely tokens the one with the lowest number is greedy, as for ``argmax``: the next token.

        One question a request and round, about the first tie that is open: most end there.
        """
        while tied := [request for request, score in scored.items() if score.greedy is None and score.tied_T]:
            places = [scored[request].tied_T[0] for request in tied]
            asked = [one.context + one.continuation[:place] for one, place in zip(tied, places, strict=True)]
            next_token_of = dict(zip(dict.fromkeys(asked), self.engine.warm(list(dict.fromkeys(asked))), strict=True))
            for request, place, prompt in zip(tied, places, asked, strict=True):
                score = scored[request]
                is_first = next_token_of[prompt] == request.continuation[place]
                greedy = False if not is_first else None if score.tied_T[1:] else True
                scored[request] = replace(score, greedy=greedy, tied_T=score.tied_T[1:])

    def _by_token_ids(
        self, requests: Sequence[TokenRequest], next_token_of: dict[TokenIds, int]
    ) -> dict[TokenRequest, PromptScore]:
        """Scores of chosen ids come without ranks, so the greedy flag is settled otherwise.

        A continuation whose first token is not the most likely one is not greedy; one of a single token that is, is.
        The few that are left need the ranks of their other tokens.
        """
        starts_greedy = {one: next_token_of[one.context] == one.continuation[0] for one in requests}
        open_ones = [one for one in requests if starts_greedy[one] and len(one.continuation) > 1]
        settled = [one for one in requests if not (starts_greedy[one] and len(one.continuation) > 1)]
        scored: dict[TokenRequest, PromptScore] = {}
        if settled:
            for one, score in zip(settled, self.engine.score(settled, Way.TOKEN_IDS), strict=True):
                scored[one] = PromptScore(score.logprobs_T, starts_greedy[one], score.cached_tokens)
        if open_ones:
            scored |= zip(open_ones, self.engine.score(open_ones, Way.RANKS), strict=True)
        return scored


def _answer(request: TokenRequest, score: PromptScore) -> Loglikelihood:
    if score.logprobs_T is None or len(score.logprobs_T) != len(request.continuation):
        raise E2LMError(
            f"vLLM gave no log-probabilities for a prompt of {len(request.context) + len(request.continuation)} tokens"
        )
    return sum(score.logprobs_T), bool(score.greedy)


#: Where vLLM does not say how much it took from its cache, it may have been everything.
UNKNOWN_CACHED = 1 << 30


def prompt_score(output: Any, request: TokenRequest, way: Way) -> PromptScore:
    """What ``output`` says about ``request``."""
    cached = getattr(output, "num_cached_tokens", None)
    cached_tokens = UNKNOWN_CACHED if cached is None else int(cached)
    if way is Way.TOKEN_IDS:
        scores_T1 = getattr(output, "prompt_token_id_logprobs", None)
        logprobs_T = None if scores_T1 is None else tuple(float(row[0]) for row in scores_T1)
        return PromptScore(logprobs_T, None, cached_tokens)
    rows = output.prompt_logprobs
    end = len(request.context) + len(request.continuation)
    if rows is None or len(rows) < end:
        return PromptScore(None, None, cached_tokens)
    found = [
        _row(rows, position, token)
        for position, token in zip(range(len(request.context), end), request.continuation, strict=True)
    ]
    logprobs_T = tuple(logprob for logprob, _, _ in found)
    if any(logprob < best or math.isnan(logprob) for logprob, _, best in found):
        return PromptScore(logprobs_T, False, cached_tokens)
    # A rank counts the tokens that are at least as likely: one that is as likely as the best is alone with rank 1.
    tied_T = tuple(position for position, (_, rank, _) in enumerate(found) if rank > 1)
    return PromptScore(logprobs_T, None if tied_T else True, cached_tokens, tied_T)


def _row(rows: Any, position: int, token: int) -> tuple[float, int, float]:
    """Log-probability and rank of ``token`` at ``position``, and the highest log-probability given there."""
    if hasattr(rows, "start_indices"):  # vLLM's FlatLogprobs: the prompt's own token stands first
        first, last = rows.start_indices[position], rows.end_indices[position]
        return rows.logprobs[first], rows.ranks[first], max(rows.logprobs[first:last])
    entry = rows[position]
    return entry[token].logprob, entry[token].rank, max(one.logprob for one in entry.values())
