"""``--model e2lm-hf``: lm-eval's ``hf`` model with shared prefixes computed once and weights that can be swapped.

Everything about loading, tokenising and generating is lm-eval's own; only the scoring of (context, continuation) pairs
is replaced, and checked against lm-eval's on a sample before it is trusted.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from e2lm_adapters.scoring.transformers_import import collection_paused, import_transformers_lightly

with collection_paused():
    import_transformers_lightly()
    from lm_eval.models.huggingface import HFLM

from tqdm import tqdm

from e2lm.item_metric import require_finite
from e2lm_adapters.lm_eval.tasks import cache_templates
from e2lm_adapters.scoring.check import Loglikelihood, ScoringDifference, checked_sample, compared
from e2lm_adapters.scoring.packed import PackedScorer
from e2lm_adapters.scoring.prefix_tree import ScoringPlan, TokenRequest, planned
from e2lm_adapters.scoring.requests import RequestEncoder

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

log = logging.getLogger(__name__)


class E2lmHf(HFLM):  # type: ignore[misc]
    """lm-eval's ``hf`` with shared-prefix scoring. Further arguments:

    ``verify=N`` re-scores N random requests of each list the stock way and logs the largest difference.
    ``token_budget=N`` sets the tokens of one forward pass (default: by device).
    ``prefix_sharing=False`` scores the stock way. ``show_progress=False`` shows no bar.
    """

    #: Set by lm-eval's constructor.
    logits_cache: bool
    #: Refuse an answer that is NaN or infinite at once; ``e2lm eval``, which looks at every task by itself, does not.
    raises_if_not_finite = True

    def __init__(
        self,
        pretrained: str | Any,
        verify: int = 0,
        token_budget: int | None = None,
        prefix_sharing: bool = True,
        show_progress: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(pretrained, **options)
        cache_templates()
        self._verify = int(verify)
        self._show_progress = show_progress
        self._encoder = RequestEncoder(self, self.max_length)
        self._plans: dict[tuple[str, int], tuple[list[TokenRequest], ScoringPlan]] = {}
        self._scorer: PackedScorer | None = None
        self._why_stock: str | None = None
        self._checked = False
        #: Result of the last comparison with stock scoring.
        self.verification: ScoringDifference | None = None
        self.why_stock(None if prefix_sharing else "prefix_sharing=False")
        if self._why_stock is None:
            self._set_up(token_budget)

    # -- which way to score --------------------------------------------------------------------------------------

    def why_stock(self, reason: str | None) -> None:
        """Score the stock way from now on because of ``reason`` (None: keep sharing prefixes)."""
        self._why_stock = reason
        if reason is not None:
            log.warning("e2lm-hf scores the stock way: %s", reason)

    def _set_up(self, token_budget: int | None) -> None:
        model = self._bare_model
        if self.backend != "causal":
            self.why_stock("the model is no decoder-only model")
        elif model.config._attn_implementation not in ("sdpa", "eager"):
            self.why_stock(f"attention {model.config._attn_implementation!r} takes no token tree (sdpa and eager do)")
        elif window := _sliding_window(model.config, self.max_length):
            self.why_stock(f"a sliding window of {window} tokens is shorter than the model's {self.max_length}")
        elif model.get_output_embeddings() is None or model.base_model is model:
            self.why_stock(f"{type(model).__name__} has no separate output head")
        else:
            self._scorer = PackedScorer(model, token_budget)

    @property
    def _bare_model(self) -> Any:
        accelerator = getattr(self, "accelerator", None)
        return accelerator.unwrap_model(self._model) if accelerator else self._model

    # -- lm-eval's interface -------------------------------------------------------------------------------------

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[Loglikelihood]:
        """Log-likelihood in nats and greedy flag per request."""
        pairs = [request.args for request in requests]
        tokens = self._encoder.pairs(pairs)
        answers = self._answers(self._plan("pairs", tokens), tokens, disable_tqdm)
        for pair, answer in zip(pairs, answers, strict=True):
            self.cache_hook.add_partial("loglikelihood", pair, answer)
        return answers

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of whole texts in nats, in windows as lm-eval cuts them."""
        texts = [request.args for request in requests]
        windows = self._encoder.texts(texts)
        answers = self._answers(self._plan("texts", windows), windows, disable_tqdm)
        totals, position = [], 0
        for (text,) in texts:
            count = self._encoder.windows_of(text)
            total = sum(loglik for loglik, _ in answers[position : position + count])
            position += count
            totals.append(total)
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), total)
        return totals

    def _loglikelihood_tokens(
        self,
        requests: list[tuple[tuple[str, str], list[int], list[int]]],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[Loglikelihood]:
        # Reached only from lm-eval's own code paths that bypass the two methods above.
        answers: list[Loglikelihood] = super()._loglikelihood_tokens(
            requests, disable_tqdm=disable_tqdm, override_bs=override_bs
        )
        return answers

    # -- plans ---------------------------------------------------------------------------------------------------

    def _plan(self, kind: str, tokens: list[TokenRequest]) -> ScoringPlan:
        """The plan for ``tokens``, made once per list: checkpoints of a series ask the same list again."""
        key = (kind, len(tokens))
        if key not in self._plans or self._plans[key][0] is not tokens:
            self._plans[key] = (tokens, planned(tokens, self.max_length))
        return self._plans[key][1]

    def continuation_tokens_of(self, pairs: list[tuple[str, str]]) -> list[int]:
        """Tokens of each continuation as it was scored; pairs that were never scored give -1."""
        return [self._encoder.continuation_tokens(pair) for pair in pairs]

    # -- scoring -------------------------------------------------------------------------------------------------

    def _answers(self, plan: ScoringPlan, tokens: list[TokenRequest], disable_tqdm: bool) -> list[Loglikelihood]:
        if not tokens:
            return []
        if self._scorer is not None and self._why_stock is None and not self._checked:
            self._check(tokens)
        if self._scorer is None or self._why_stock is not None or not self._checked:
            answers = self._stock_answers(tokens, disable_tqdm or not self._show_progress)
        else:
            answers = self._shared_answers(plan, tokens, disable_tqdm)
        if self.raises_if_not_finite:
            require_finite(np.array([loglik for loglik, _ in answers]))
        return answers

    def _shared_answers(self, plan: ScoringPlan, tokens: list[TokenRequest], disable_tqdm: bool) -> list[Loglikelihood]:
        assert self._scorer is not None
        hidden = disable_tqdm or not self._show_progress or self.rank != 0
        bar = tqdm(total=plan.tokens_forwarded, unit=" tokens", desc="e2lm-hf", disable=hidden)
        with bar, self._autocast():
            loglik, greedy = self._scorer.score(plan, bar.update)
        answers = [(float(value), bool(flag)) for value, flag in zip(loglik, greedy, strict=True)]
        if self._verify:
            chosen = np.random.default_rng(len(tokens)).permutation(len(tokens))[: self._verify]
            asked = [tokens[i] for i in chosen]
            self.verification = self._compared([answers[i] for i in chosen], self._answers_one_by_one(asked))
            log.warning("e2lm-hf verify: %s", self.verification)
        return answers

    def _stock_answers(self, tokens: list[TokenRequest], disable_tqdm: bool) -> list[Loglikelihood]:
        requests = [(("", ""), list(request.context), list(request.continuation)) for request in tokens]
        return self._loglikelihood_tokens(requests, disable_tqdm=disable_tqdm)

    def _answers_one_by_one(self, tokens: list[TokenRequest]) -> list[Loglikelihood]:
        """Stock answers without its cache of logits.

        lm-eval 0.4.13 groups requests by ``context + continuation[:-1]``. Two that are cut at different places, one
        text with a longer context and one with a longer continuation, then share logits, of which the shorter
        continuation is given the first rows instead of the last (huggingface.py, ``torch.gather`` after ``get_cache``).
        """
        cached = self.logits_cache
        self.logits_cache = False
        try:
            return self._stock_answers(tokens, disable_tqdm=True)
        finally:
            self.logits_cache = cached

    def _check(self, tokens: list[TokenRequest]) -> None:
        """Score a few requests both ways; on any difference beyond rounding, stay with stock scoring."""
        assert self._scorer is not None
        chosen = checked_sample(tokens)
        plain = self._answers_one_by_one(chosen)
        if not np.isfinite([loglik for loglik, _ in plain]).all():
            return  # a broken checkpoint says nothing of the way of scoring: the next one is checked
        self._checked = True
        try:
            with self._autocast():
                loglik, greedy = self._scorer.score(planned(chosen, self.max_length))
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
            self.why_stock(f"{type(self._bare_model).__name__} takes no token tree ({type(error).__name__}: {error})")
            return
        answers = [(float(value), bool(flag)) for value, flag in zip(loglik, greedy, strict=True)]
        verification = self._compared(answers, plain)
        self.verification = verification
        if not verification.agrees:
            self.why_stock(
                f"shared prefixes differ from stock scoring by {verification.largest_difference:.3g} nats on "
                f"{verification.requests} requests (allowed {verification.tolerance:.3g})"
            )

    def _compared(self, answers: list[Loglikelihood], plain: list[Loglikelihood]) -> ScoringDifference:
        return compared(answers, plain, half=self._bare_model.dtype.itemsize < 4)

    def _autocast(self) -> Any:
        import torch

        return torch.autocast(
            device_type=self.device.type,
            dtype=self.mixed_precision_dtype,
            enabled=self.mixed_precision_dtype is not None,
        )


def _sliding_window(config: Any, max_length: int) -> int | None:
    """The sliding window of the model if it is shorter than what may be scored."""
    window = getattr(config, "sliding_window", None)
    if not window or getattr(config, "use_sliding_window", True) is False:
        return None
    return int(window) if window < max_length else None
