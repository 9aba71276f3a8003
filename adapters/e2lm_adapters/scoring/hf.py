"""``--model e2lm-hf``: lm-eval's ``hf`` model with shared prefixes computed once and weights that can be swapped.

Everything about loading, tokenising and generating is lm-eval's own; only the scoring of (context, continuation) pairs
is replaced, and held against it on some requests of every list before the answers are given out.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from e2lm_adapters.scoring.transformers_import import collection_paused, import_transformers_lightly

with collection_paused():
    import_transformers_lightly()
    from lm_eval.models.huggingface import HFLM

from tqdm import tqdm

from e2lm.errors import UserError, one_line
from e2lm.item_metric import require_finite
from e2lm_adapters.lm_eval.release import whole_text_answers
from e2lm_adapters.lm_eval.tasks import cache_templates
from e2lm_adapters.scoring.attention import TreeLimit, tree_limit
from e2lm_adapters.scoring.check import NOT_SCORED, Loglikelihood, ScoringDifference
from e2lm_adapters.scoring.packed import PackedScorer
from e2lm_adapters.scoring.prefix_tree import ScoringPlan, TokenRequest, planned
from e2lm_adapters.scoring.proof import Prover, StockScoring, looked_at, random_requests, weights_mark
from e2lm_adapters.scoring.requests import RequestEncoder, refuse_thinking, scorable

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

log = logging.getLogger(__name__)

#: What a model says that cannot be run on a token tree after all.
NOT_RUN = (TypeError, ValueError, RuntimeError, AttributeError, LookupError, AssertionError)


@dataclass(slots=True)
class _RequestList:
    """A list as it was encoded, the requests of it that can be scored and where they stand, and why others cannot."""

    given: list[TokenRequest]
    asked: list[TokenRequest]
    places: list[int]
    refused: str
    longest: int
    plan: ScoringPlan | None = None


class E2lmHf(HFLM):  # type: ignore[misc]
    """lm-eval's ``hf`` with shared-prefix scoring. Further arguments:

    ``verify=N`` holds N random answers of each list against stock scoring and logs the largest difference.
    ``token_budget=N`` sets the tokens of one forward pass (default: by device).
    ``prefix_sharing=False`` scores the stock way. ``show_progress=False`` shows no bar.
    """

    #: Set by lm-eval's constructor.
    logits_cache: bool
    #: Refuse at once an answer that is NaN or infinite, a request that cannot be scored and a failed ``verify``;
    #: ``e2lm eval``, which looks at every task by itself, does not.
    raises_if_not_finite = True
    #: What became of a list whose ``verify`` failed.
    after_failed_verify = "its scores are lm-eval's own"

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
        self._lists: dict[tuple[str, int], _RequestList] = {}
        self._scorer: PackedScorer | None = None
        self._prover: Prover | None = None
        self._limit = TreeLimit()
        self._never: str | None = None
        self._why_stock: str | None = None
        self._failed_mark: int | None = None
        #: Result of the last comparison with stock scoring.
        self.verification: ScoringDifference | None = None
        #: A line for each list that was to share prefixes and had to be scored the stock way.
        self.fallbacks: list[str] = []
        #: Of each list whose ``verify`` failed: the difference.
        self.failed_verifications: list[ScoringDifference] = []
        if not prefix_sharing:
            self._never = "prefix_sharing=False"
        elif self.backend != "causal":
            self._never = "the model is no decoder-only model"
        else:
            self._set_up(token_budget)
        if self._never is not None:
            self._say_stock(self._never)

    # -- which way to score --------------------------------------------------------------------------------------

    def _set_up(self, token_budget: int | None) -> None:
        model = self._bare_model
        self._limit = tree_limit(model)
        if self._limit.tokens == 0:
            self._never = self._limit.why
            return
        self._scorer = PackedScorer(model, token_budget)
        stock = StockScoring(model, self.max_length)
        self._prover = Prover(model, stock, self._scorer, self._half_precision, self._autocast)

    @property
    def _bare_model(self) -> Any:
        accelerator = getattr(self, "accelerator", None)
        return accelerator.unwrap_model(self._model) if accelerator else self._model

    @property
    def _half_precision(self) -> float | None:
        """The precision of the coarsest numbers that are computed with; None for float32 and finer."""
        import torch

        types = [self._bare_model.dtype, self.mixed_precision_dtype, self.softmax_dtype]
        precisions = [torch.finfo(one).eps for one in types if one is not None and one.itemsize < 4]
        return max(precisions, default=None)

    def _say_stock(self, reason: str) -> None:
        """Log once that lists are scored the stock way because of ``reason``."""
        if reason != self._why_stock:
            log.warning("e2lm-hf scores the stock way: %s", reason)
        self._why_stock = reason

    def _why_not_shared(self, wanted: _RequestList) -> str | None:
        if self._never is not None:
            return self._never
        if self._limit.refuses(wanted.longest):
            return f"{self._limit.why}; the longest request has {wanted.longest}"
        if self._failed_mark is not None and self._failed_mark == weights_mark(self._bare_model):
            return "the check of this checkpoint failed"
        return None

    # -- lm-eval's interface -------------------------------------------------------------------------------------

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[Loglikelihood]:
        """Log-likelihood in nats and greedy flag per request."""
        refuse_thinking(self, requests)
        pairs = [request.args for request in requests]
        tokens = self._encoder.pairs(pairs)
        answers = self._answers("pairs", tokens, disable_tqdm)
        for pair, answer in zip(pairs, answers, strict=True):
            self.cache_hook.add_partial("loglikelihood", pair, answer)
        return answers

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[Any]:
        """Log-likelihood of whole texts in nats, in windows as lm-eval cuts them."""
        texts = [request.args[-1:] for request in requests]  # lm-eval 0.5 puts an empty context before the text
        windows = self._encoder.texts(texts)
        answers = self._answers("texts", windows, disable_tqdm)
        totals: list[float] = []
        position = 0
        for (text,) in texts:
            count = self._encoder.windows_of(text)
            total = float(sum(loglik for loglik, _ in answers[position : position + count]))
            position += count
            totals.append(total)
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), total)
        return whole_text_answers(totals)

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

    # -- lists of requests ---------------------------------------------------------------------------------------

    def _list(self, kind: str, tokens: list[TokenRequest]) -> _RequestList:
        """What is known of ``tokens``, found once per list: checkpoints of a series ask the same list again."""
        key = (kind, len(tokens))
        if key not in self._lists or self._lists[key].given is not tokens:
            places, refused = scorable(tokens, self.max_length)
            asked = [tokens[place] for place in places]
            longest = max((request.tokens_forwarded(self.max_length) for request in asked), default=0)
            self._lists[key] = _RequestList(tokens, asked, places, refused, longest)
        return self._lists[key]

    def _plan(self, wanted: _RequestList) -> ScoringPlan:
        if wanted.plan is None:
            wanted.plan = planned(wanted.asked, self.max_length)
        return wanted.plan

    def continuation_tokens_of(self, pairs: list[tuple[str, str]]) -> list[int]:
        """Tokens of each continuation as it was scored, 0 where it could not be; never asked pairs give -1."""
        return [self._encoder.continuation_tokens(pair) for pair in pairs]

    # -- scoring -------------------------------------------------------------------------------------------------

    def _answers(self, kind: str, tokens: list[TokenRequest], disable_tqdm: bool) -> list[Loglikelihood]:
        wanted = self._list(kind, tokens)
        if wanted.refused:
            if self.raises_if_not_finite:
                raise UserError(wanted.refused)
            left_out = len(tokens) - len(wanted.asked)
            log.warning("e2lm-hf cannot score %d of %d requests: %s", left_out, len(tokens), wanted.refused)
        answers = [NOT_SCORED] * len(tokens)
        found = self._answers_of(wanted, disable_tqdm) if wanted.asked else []
        if self.raises_if_not_finite:
            require_finite(np.array([loglik for loglik, _ in found]))
        for place, answer in zip(wanted.places, found, strict=True):
            answers[place] = answer
        return answers

    def _answers_of(self, wanted: _RequestList, disable_tqdm: bool) -> list[Loglikelihood]:
        why = self._why_not_shared(wanted)
        if why is None:
            shared = self._proven_answers(wanted, disable_tqdm)
            if shared is not None:
                self._why_stock = None
                return shared
        else:
            self._say_stock(why)
        return self._stock_answers(wanted.asked, disable_tqdm or not self._show_progress)

    def _proven_answers(self, wanted: _RequestList, disable_tqdm: bool) -> list[Loglikelihood] | None:
        """The answers by shared prefixes; None, and a line, where they are not those of stock scoring."""
        try:
            answers = self._shared_answers(self._plan(wanted), disable_tqdm)
            failure = self._failure(wanted, answers)
        except NOT_RUN as error:
            failure = self._never = (
                f"{type(self._bare_model).__name__} takes no token tree ({type(error).__name__}: {one_line(error)})"
            )
        if failure is None:
            return answers
        self._failed_mark = weights_mark(self._bare_model)
        self.fallbacks.append(f"scored the stock way: {failure}")
        self._say_stock(failure)
        return None

    def _shared_answers(self, plan: ScoringPlan, disable_tqdm: bool) -> list[Loglikelihood]:
        assert self._scorer is not None
        hidden = disable_tqdm or not self._show_progress or self.rank != 0
        bar = tqdm(total=plan.tokens_forwarded, unit=" tokens", desc="e2lm-hf", disable=hidden)
        with bar, self._autocast():
            loglik, greedy = self._scorer.score(plan, bar.update, self.softmax_dtype)
        return [(float(value), bool(flag)) for value, flag in zip(loglik, greedy, strict=True)]

    def _failure(self, wanted: _RequestList, answers: list[Loglikelihood]) -> str | None:
        """What is wrong with ``answers`` by a few of them, and by as many as ``verify`` says; None: nothing."""
        assert self._prover is not None
        plan, seed = self._plan(wanted), weights_mark(self._bare_model)
        samples = [looked_at(plan, wanted.asked, self.max_length, seed, self._prover.half)]
        if self._verify:
            samples.append(random_requests(plan, self._verify, seed))
        for chosen in samples:
            found = self._prover.difference(plan, wanted.asked, answers, chosen, self.softmax_dtype)
            self.verification = found
            if self._verify and (chosen is samples[-1] or not found.agrees):
                self._report_verification(found)
            if not found.agrees:
                return (
                    f"shared prefixes differ from stock scoring by {found.largest_difference:.3g} nats on "
                    f"{found.requests} requests (allowed {found.tolerance:.3g})"
                )
        return None

    def _report_verification(self, found: ScoringDifference) -> None:
        log.warning("e2lm-hf verify: %s", found)
        if not found.agrees:
            self.failed_verifications.append(found)
            if self.raises_if_not_finite:
                raise UserError(f"verify: {found}; prefix_sharing=False scores the stock way")

    def _stock_answers(self, tokens: list[TokenRequest], disable_tqdm: bool) -> list[Loglikelihood]:
        """What lm-eval's own scoring gives, with one mistake of it kept out.

        lm-eval 0.4.13 groups requests by ``context + continuation[:-1]``. Two that are cut at different places, one
        text with a longer context and one with a longer continuation, then share logits, of which the shorter
        continuation is given the first rows instead of the last (huggingface.py, ``torch.gather`` after ``get_cache``).
        """
        answers: list[Loglikelihood] = [NOT_SCORED] * len(tokens)
        for places in _of_one_cut(tokens) if self.logits_cache else [range(len(tokens))]:
            asked = [(("", ""), list(tokens[place].context), list(tokens[place].continuation)) for place in places]
            for place, answer in zip(places, self._loglikelihood_tokens(asked, disable_tqdm=disable_tqdm), strict=True):
                answers[place] = answer
        return answers

    def _autocast(self) -> Any:
        import torch

        return torch.autocast(
            device_type=self.device.type,
            dtype=self.mixed_precision_dtype,
            enabled=self.mixed_precision_dtype is not None,
        )


def _of_one_cut(tokens: Sequence[TokenRequest]) -> list[list[int]]:
    """Places of ``tokens`` in lists within which no text is cut at two places."""
    cuts: dict[tuple[int, ...], list[int]] = {}
    lists: list[list[int]] = []
    for place, request in enumerate(tokens):
        own = cuts.setdefault(request.context + request.continuation[:-1], [])
        if len(request.continuation) not in own:
            own.append(len(request.continuation))
        number = own.index(len(request.continuation))
        if number == len(lists):
            lists.append([])
        lists[number].append(place)
    return lists
