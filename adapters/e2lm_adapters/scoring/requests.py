"""lm-eval's requests as tokens, encoded once per list however many checkpoints ask the same one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lm_eval import utils as lm_eval_utils

from e2lm.errors import UserError, one_line
from e2lm_adapters.scoring.prefix_tree import TokenRequest


class ThinkingError(UserError, ValueError):
    """Log-likelihoods were asked of a model that is to think first; lm-eval's own models raise a ``ValueError``."""


def refuse_thinking(lm: Any, requests: Sequence[Any]) -> None:
    """A :class:`ThinkingError` with the tasks' names where ``lm`` has ``enable_thinking=True``, as in lm-eval."""
    if not getattr(lm, "enable_thinking", None):
        return
    names = sorted({name for request in requests if (name := getattr(request, "task_name", None))})
    asked = f" (asked for by {', '.join(names)})" if names else ""
    raise ThinkingError(
        f"enable_thinking=True: log-likelihoods have no room for thinking{asked}; take tasks that generate text"
    )


def scorable(requests: Sequence[TokenRequest], max_length: int) -> tuple[list[int], str]:
    """Places of the requests that a model of this context can score; why the first of the others cannot be, or nothing.

    >>> scorable([TokenRequest((1,), (2,)), TokenRequest((1,), (2, 3, 4))], max_length=2)[0]
    [0]
    """
    reasons = [request.why_not_scored(max_length) for request in requests]
    return [place for place, why in enumerate(reasons) if not why], next(filter(None, reasons), "")


#: What transformers remembers a warning by: that a text longer than the model's context would break it.
TOO_LONG = "sequence-length-is-longer-than-the-specified-maximum"


def without_false_alarm(lm: Any) -> None:
    """Its tokenizer does not warn of texts longer than the context: they are cut, into windows or at the beginning."""
    said = getattr(getattr(lm, "tokenizer", None), "deprecation_warnings", None)
    if isinstance(said, dict):
        said[TOO_LONG] = True


class RequestEncoder:
    """Encodes by the tokenizer of ``lm``, an lm-eval ``TemplateLM``, exactly as lm-eval does.

    ``window_tokens`` is the longest window that a whole text is cut into. The same list asked again is the same object.
    """

    def __init__(self, lm: Any, window_tokens: int) -> None:
        self._lm = lm
        without_false_alarm(lm)
        self._window_tokens = window_tokens
        self._kept: dict[tuple[str, int], tuple[list[Any], list[TokenRequest]]] = {}
        self._window_counts: dict[str, int] = {}
        self._token_counts: dict[tuple[str, str], int] = {}

    def pairs(self, pairs: list[tuple[str, str]]) -> list[TokenRequest]:
        """One request per (context, continuation)."""
        return self._remembered("pairs", pairs, self._encoded_pairs)

    def texts(self, texts: list[tuple[str]]) -> list[TokenRequest]:
        """The windows of whole texts, one text after the other; :meth:`windows_of` says how many each has."""
        return self._remembered("texts", texts, self._encoded_windows)

    def windows_of(self, text: str) -> int:
        """Windows of a text that was encoded."""
        return self._window_counts[text]

    def continuation_tokens(self, pair: tuple[str, str]) -> int:
        """Tokens of the continuation as it was scored, 0 where it could not be; -1 for a pair that never was asked."""
        return self._token_counts.get(pair, -1)

    def _remembered(self, kind: str, arguments: list[Any], encode: Any) -> list[TokenRequest]:
        key = (kind, len(arguments))
        if key not in self._kept or self._kept[key][0] != arguments:
            self._kept[key] = (arguments, encode(arguments))
        return self._kept[key][1]

    def _encoded_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[TokenRequest]:
        cache: dict[str, list[int]] = {}
        encode = self._lm.tok_encode

        def remembered(text: str, add_special_tokens: bool | None = None, **options: Any) -> list[int]:
            if options or add_special_tokens is not None:
                return list(encode(text, add_special_tokens=add_special_tokens, **options))
            if text not in cache:
                cache[text] = list(encode(text))
            return cache[text]

        self._lm.tok_encode = remembered  # each context is encoded once, not once per choice
        try:
            requests = [self._encoded_pair(context, continuation) for context, continuation in pairs]
        finally:
            del self._lm.tok_encode
        self._token_counts.update(
            (pair, 0 if request.why_not_scored(self._window_tokens) else len(request.continuation))
            for pair, request in zip(pairs, requests, strict=True)
        )
        return requests

    def _encoded_pair(self, context: str, continuation: str) -> TokenRequest:
        """As ``TemplateLM.loglikelihood`` does it, empty contexts included; without tokens where that fails."""
        try:
            return self._split_pair(context, continuation)
        except (ValueError, TypeError, LookupError, AssertionError) as error:
            return TokenRequest((), (), _not_encoded(continuation, error))

    def _split_pair(self, context: str, continuation: str) -> TokenRequest:
        if context == "":
            tokens = list(self._lm.tok_encode(continuation, add_special_tokens=False))
            if not tokens or self._lm.prefix_token_id != tokens[0]:
                return TokenRequest((self._lm.prefix_token_id,), tuple(tokens))
            return TokenRequest(tuple(tokens[:1]), tuple(tokens[1:]))
        context_tokens, continuation_tokens = self._lm._encode_pair(context, continuation)
        return TokenRequest(tuple(context_tokens), tuple(continuation_tokens))

    def _encoded_windows(self, texts: Sequence[tuple[str]]) -> list[TokenRequest]:
        requests: list[TokenRequest] = []
        for (text,) in texts:
            own = self._windows(text)
            self._window_counts[text] = len(own)
            requests += own
        return requests

    def _windows(self, text: str) -> list[TokenRequest]:
        try:
            windows = lm_eval_utils.get_rolling_token_windows(
                token_list=list(self._lm.tok_encode(text)),
                prefix_token=self._lm.prefix_token_id,
                max_seq_len=self._window_tokens,
                context_len=1,
            )
            disjoint = [lm_eval_utils.make_disjoint_window(window) for window in windows]
        except (ValueError, TypeError, LookupError, AssertionError) as error:
            return [TokenRequest((), (), _not_encoded(text, error))]
        return [TokenRequest(tuple(context), tuple(continuation)) for context, continuation in disjoint]


def _not_encoded(text: object, error: Exception) -> str:
    shown = one_line(ascii(text))[:60]
    return f"{shown} cannot be encoded ({type(error).__name__}: {one_line(error)[:100]}); check the task's data"
