"""Which prompts are sent and which answers are believed, with an engine that caches and lies exactly as vLLM does."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2lm import E2LMError, UserError
from e2lm_adapters.scoring.prefix_tree import TokenRequest
from e2lm_adapters.vllm import scoring as vllm_scoring
from e2lm_adapters.vllm.scoring import PromptScore, PromptScoring, Way, fitted, waves

VOCABULARY = 5
BLOCK = 4
GARBAGE = 123.0
SHARED = (Way.RANKS, Way.TOKEN_IDS)
WORKED = tuple(i % VOCABULARY for i in range(11))


def logprobs(prefix: tuple[int, ...]) -> list[float]:
    """The model: any function of the tokens so far that gives a distribution."""
    chance = random.Random(repr(prefix))
    # After a 1 at the beginning there are few values, so that the first place is often shared.
    weights = [chance.choice((0.1, 0.7)) if prefix[0] == 1 else chance.random() + 0.01 for _ in range(VOCABULARY)]
    return [math.log(weight / sum(weights)) for weight in weights]


def truth(request: TokenRequest) -> tuple[float, bool]:
    total, greedy = 0.0, True
    for length, token in enumerate(request.continuation):
        row = logprobs(request.context + request.continuation[:length])
        total += row[token]
        greedy &= row.index(max(row)) == token
    return total, greedy


class CachingEngine:
    """Full blocks are cached and served again; rows of served positions hold garbage, or nothing comes for ids."""

    block_tokens = BLOCK

    def __init__(self, cache_tokens: int = 10_000) -> None:
        self.cache_tokens = cache_tokens
        self.cached: set[tuple[int, ...]] = set()
        self.computed_tokens = 0
        self.asked: list[tuple[Way, TokenRequest]] = []
        self.warmed: list[tuple[int, ...]] = []

    def _run(self, prompt: tuple[int, ...], read: bool) -> int:
        hit = 0
        while read and hit + BLOCK <= len(prompt) - 1 and prompt[: hit + BLOCK] in self.cached:
            hit += BLOCK
        self.cached |= {prompt[:end] for end in range(BLOCK, len(prompt) + 1, BLOCK)}
        self.computed_tokens += len(prompt) - hit
        return hit

    def warm(self, prompts: Sequence[tuple[int, ...]]) -> list[int]:
        self.warmed += prompts
        best = []
        for prompt in prompts:
            self._run(prompt, True)
            row = logprobs(prompt)
            best.append(row.index(max(row)))
        return best

    def score(self, requests: Sequence[TokenRequest], way: Way) -> list[PromptScore]:
        return [self._score(request, way) for request in requests]

    def _score(self, request: TokenRequest, way: Way) -> PromptScore:
        self.asked.append((way, request))
        hit = self._run(request.context + request.continuation, way is not Way.PLAIN)
        first = len(request.context) - 1
        values, beaten, tied = [], False, []
        for length, token in enumerate(request.continuation):
            row = logprobs(request.context + request.continuation[:length])
            values.append(row[token] if first + length >= hit else GARBAGE)
            beaten |= values[-1] < max(row)
            tied += [length] if values[-1] == max(row) and row.count(max(row)) > 1 else []
        if way is Way.TOKEN_IDS:
            return PromptScore(tuple(values) if hit <= first else None, None, hit)
        if beaten:
            return PromptScore(tuple(values), False, hit)
        return PromptScore(tuple(values), None if tied else True, hit, tuple(tied))


def scoring(way: Way, engine: CachingEngine | None = None, longest: int = 100) -> PromptScoring:
    return PromptScoring(engine or CachingEngine(), longest, way)


def request(context: Sequence[int], *continuation: int) -> TokenRequest:
    return TokenRequest(tuple(context), continuation)


def items(count: int, choices: int = 4, context: int = 18) -> list[TokenRequest]:
    chance = random.Random(7)
    drawn = [[chance.randrange(VOCABULARY) for _ in range(context)] for _ in range(count)]
    return [
        request(WORKED + tuple(own), *(chance.randrange(VOCABULARY) for _ in range(chance.randint(1, 6))))
        for own in drawn
        for _ in range(choices)
    ]


tokens = st.lists(st.integers(0, 1), min_size=1, max_size=10).map(tuple)
overlapping = st.lists(st.tuples(tokens, tokens), min_size=1, max_size=15)


@pytest.mark.parametrize("way", Way)
@settings(max_examples=60)
@given(
    pairs=st.lists(st.tuples(tokens, tokens), min_size=1, max_size=12), cache_tokens=st.sampled_from([8, 40, 10_000])
)
def test_every_way_gives_the_models_own_answers_however_requests_overlap(
    way: Way, pairs: list[tuple[tuple[int, ...], tuple[int, ...]]], cache_tokens: int
) -> None:
    requests = [TokenRequest(context, continuation) for context, continuation in pairs]
    answers = scoring(way, CachingEngine(cache_tokens)).answers(requests, lambda _: None)
    assert answers == [pytest.approx(truth(one), abs=1e-12) for one in requests]


@pytest.mark.parametrize("way", SHARED)
def test_a_text_that_is_cached_beyond_its_context_is_asked_again_plainly(way: Way) -> None:
    whole = WORKED
    requests = [request(whole, 1), request(whole, 2), request(whole[:3], *whole[3:]), request(whole[:3], 0, 0)]
    one = scoring(way)
    assert one.answers(requests, lambda _: None) == [pytest.approx(truth(each)) for each in requests]
    assert one.answers(requests, lambda _: None) == [pytest.approx(truth(each)) for each in requests]
    assert one.report.rescored >= 1


@pytest.mark.parametrize("way", SHARED)
def test_without_the_guard_the_same_requests_would_come_out_wrong(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_scoring, "believable", lambda *_: True)
    requests = [request(WORKED, 1), request(WORKED, 2), request(WORKED[:3], *WORKED[3:])]
    one = scoring(way)
    try:
        one.answers(requests, lambda _: None)
        found = one.answers(requests, lambda _: None)
    except E2LMError:
        return
    assert found != [pytest.approx(truth(each)) for each in requests]


@pytest.mark.parametrize("way", SHARED)
def test_contexts_are_computed_once_and_choices_read_them(way: Way) -> None:
    requests = items(20)
    plain, shared = CachingEngine(), CachingEngine()
    scoring(Way.PLAIN, plain).answers(requests, lambda _: None)
    one = scoring(way, shared)
    one.answers(requests, lambda _: None)
    # 20 contexts of 29 tokens, of which the worked example is shared, and 80 choices with the rest of a block each
    assert shared.computed_tokens < 0.45 * plain.computed_tokens
    assert one.report.rescored <= 4


def test_only_full_blocks_of_contexts_with_several_choices_are_warmed() -> None:
    engine = CachingEngine()
    short, alone, several = (2, 1), WORKED, (*WORKED, 3)
    requests = [request(short, 1), request(short, 2), request(alone, 1), request(several, 1), request(several, 2)]
    scoring(Way.RANKS, engine).answers(requests, lambda _: None)
    assert engine.warmed == [several[:8]]


def test_a_context_that_ends_with_a_block_leaves_its_last_token_to_the_choices() -> None:
    engine = CachingEngine()
    scoring(Way.RANKS, engine).answers([request(WORKED[:8], 1), request(WORKED[:8], 2)], lambda _: None)
    assert engine.warmed == [WORKED[:4]]


def test_the_next_token_of_a_context_settles_most_greedy_flags() -> None:
    engine = CachingEngine()
    requests = items(10)
    answers = scoring(Way.TOKEN_IDS, engine).answers(requests, lambda _: None)
    best = {one.context: logprobs(one.context).index(max(logprobs(one.context))) for one in requests}
    open_ones = {one for one in requests if len(one.continuation) > 1 and one.continuation[0] == best[one.context]}
    assert {one for way, one in engine.asked if way is Way.RANKS} == open_ones
    assert [flag for _, flag in answers] == [truth(one)[1] for one in requests]


@pytest.mark.parametrize("way", Way)
def test_of_several_most_likely_tokens_the_one_with_the_lowest_number_is_greedy(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as before training, with an output head of zeros: all tokens are alike, everywhere
    monkeypatch.setattr(f"{__name__}.logprobs", lambda prefix: [math.log(1 / VOCABULARY)] * VOCABULARY)
    requests = [request(WORKED, 0, 0, 0), request(WORKED, 0, 1), request(WORKED, 2), request(WORKED, 1, 0)]
    found = scoring(way).answers(requests, lambda _: None)
    assert [greedy for _, greedy in found] == [True, False, False, False]


def test_the_same_prompt_is_sent_once() -> None:
    engine = CachingEngine()
    requests = items(3) * 3
    answers = scoring(Way.PLAIN, engine).answers(requests, lambda _: None)
    assert len(engine.asked) == len(set(requests))
    assert answers[: len(requests) // 3] == answers[-len(requests) // 3 :]


@settings(max_examples=60)
@given(pairs=overlapping, cache_tokens=st.integers(8, 200))
def test_waves_fit_into_half_the_cache_unless_one_context_alone_does_not(
    pairs: list[tuple[tuple[int, ...], tuple[int, ...]]], cache_tokens: int
) -> None:
    requests = [TokenRequest(context, continuation) for context, continuation in pairs]
    cut = list(waves(requests, CachingEngine(cache_tokens), Way.RANKS))
    assert {one for wave in cut for one in wave.requests} == set(requests)
    assert sum(len(wave.requests) for wave in cut) == len(set(requests))
    for wave in cut:
        contexts = {one.context for one in wave.requests}
        size = sum(map(len, contexts)) + sum(len(one.continuation) for one in wave.requests)
        assert len(contexts) == 1 or size <= cache_tokens / 2


def test_a_context_too_long_loses_its_beginning_and_a_continuation_too_long_is_refused() -> None:
    assert fitted(request(range(10), 7, 8), 5) == request((7, 8, 9), 7, 8)
    with pytest.raises(UserError, match="3 tokens does not fit into prompts of 3"):
        fitted(request((1, 2), 1, 2, 3), 3)
    for empty in (TokenRequest((1,), ()), TokenRequest((), (1,))):
        with pytest.raises(UserError, match="an answer choice is empty"):
            fitted(empty, 9)


def test_an_engine_that_answers_nothing_even_plainly_is_an_error() -> None:
    class Silent(CachingEngine):
        def _score(self, request: TokenRequest, way: Way) -> PromptScore:
            return PromptScore(None, None, 0)

    with pytest.raises(E2LMError, match="no log-probabilities for a prompt of 4 tokens"):
        scoring(Way.RANKS, Silent()).answers([request((1, 2, 3), 4)], lambda _: None)


def test_progress_counts_every_prompt_once() -> None:
    done: list[int] = []
    requests = items(8)
    scoring(Way.RANKS, CachingEngine(200)).answers(requests, done.append)
    assert len(done) > 1
    assert sum(done) == len(set(requests))
