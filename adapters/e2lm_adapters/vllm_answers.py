"""Reads vLLM's outputs: log-probability and rank of each token of a continuation.

Shape suffix: T tokens of a continuation.
"""

from __future__ import annotations

from typing import Any

from e2lm_adapters.prefix_tree import TokenRequest
from e2lm_adapters.vllm_scoring import PromptScore, Way

#: Where vLLM does not say how much it took from its cache, it may have been everything.
UNKNOWN_CACHED = 1 << 30


def prompt_score(output: Any, request: TokenRequest, way: Way, ties: bool) -> PromptScore:
    """What ``output`` says about ``request``; ``ties``: whether equal logits are to be expected (half precision)."""
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
    if way is Way.PLAIN:
        return PromptScore(logprobs_T, all(logprob >= best for logprob, _, best in found), cached_tokens)
    ranks_T = [rank for _, rank, _ in found]
    # A rank counts the tokens that are at least as likely. Rank 2 may thus be a tie for the first place, in which
    # lm-eval's vllm calls the token greedy; a plain request tells.
    if ties and 2 in ranks_T and max(ranks_T) == 2:
        return PromptScore(logprobs_T, None, cached_tokens)
    return PromptScore(logprobs_T, all(rank == 1 for rank in ranks_T), cached_tokens)


def _row(rows: Any, position: int, token: int) -> tuple[float, int, float]:
    """Log-probability and rank of ``token`` at ``position``, and the highest log-probability given there."""
    if hasattr(rows, "start_indices"):  # vLLM's FlatLogprobs: the prompt's own token stands first
        first, last = rows.start_indices[position], rows.end_indices[position]
        return rows.logprobs[first], rows.ranks[first], max(rows.logprobs[first:last])
    entry = rows[position]
    return entry[token].logprob, entry[token].rank, max(one.logprob for one in entry.values())
