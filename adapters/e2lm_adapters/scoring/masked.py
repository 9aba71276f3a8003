"""``--model e2lm-mlm``: masked language models scored by pseudo-log-likelihood, which lm-eval's ``hf`` cannot do.

Each token of the scored text is masked once and predicted from everything else (Salazar et al. 2020, ACL, equation 1)::

    PLL(W) = sum_t log p(w_t | W without w_t)

A word of several pieces then gives itself away. ``whole_words=True`` therefore masks with each piece the pieces of its
word that follow (PLL-word-l2r, Kauf and Ivanova 2023, ACL, section 3).

Shape suffixes: R masked copies, T tokens, D width, V vocabulary.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from e2lm_adapters.scoring.transformers_import import collection_paused, import_transformers_lightly

with collection_paused():
    import_transformers_lightly()
    import torch
    from lm_eval.api.model import LM

from tqdm import tqdm

from e2lm.errors import UserError, one_line
from e2lm.item_metric import require_finite
from e2lm_adapters.lm_eval.release import whole_text_answers
from e2lm_adapters.scoring.packed import ReadTokens

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

log = logging.getLogger(__name__)

#: Tokens of one forward pass: enough to keep a CPU or a small GPU busy, and few hundred MiB of hidden states.
TOKENS_AT_ONCE = 16_384


@dataclass(frozen=True, slots=True)
class MaskedCopy:
    """One text with some tokens masked, and the token at ``place`` to predict; ``request`` owns it."""

    tokens: tuple[int, ...]
    place: int
    target: int
    request: int


class E2lmMlm(LM):  # type: ignore[misc]
    """An lm-eval model for ``AutoModelForMaskedLM`` checkpoints.

    ``whole_words=True`` is PLL-word-l2r. ``dtype``, ``revision``, ``max_length`` and ``trust_remote_code`` are as in
    lm-eval's ``hf``; ``token_budget`` is the number of tokens of one forward pass.
    """

    #: Refuse at once an answer that is NaN or infinite, and a request without tokens; ``e2lm eval``, which looks at
    #: every task by itself, does not.
    raises_if_not_finite = True

    def __init__(
        self,
        pretrained: str,
        whole_words: bool = False,
        tokenizer: str | None = None,
        revision: str = "main",
        dtype: str = "auto",
        device: str | None = None,
        max_length: int | None = None,
        token_budget: int = TOKENS_AT_ONCE,
        trust_remote_code: bool = False,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        from transformers import AutoModelForMaskedLM, AutoTokenizer

        if int(token_budget) < 1:
            raise UserError(f"token_budget: found {token_budget}; it must be at least 1")
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        options = {"revision": revision, "trust_remote_code": trust_remote_code}
        self.tokenizer = AutoTokenizer.from_pretrained(tokenizer or pretrained, **options)
        if self.tokenizer.mask_token_id is None:
            raise UserError(
                f"{pretrained}: its tokenizer has no mask token; e2lm-mlm is for masked models, e2lm-hf for others"
            )
        if whole_words and not self.tokenizer.is_fast:
            raise UserError(f"{pretrained}: whole_words=True needs a fast tokenizer, which knows where words begin")
        try:
            self.model = AutoModelForMaskedLM.from_pretrained(pretrained, dtype=dtype, **options)
        except ValueError as error:
            raise UserError(f"{pretrained}: no masked language model ({one_line(error)[:200]})") from error
        self.model.eval().to(self._device)
        self._read_tokens = ReadTokens(self.model)
        self._pretrained = pretrained
        self._whole_words = bool(whole_words)
        self._token_budget = int(token_budget)
        self._left = _first_of(self.tokenizer.cls_token_id, self.tokenizer.bos_token_id)
        self._right = _first_of(self.tokenizer.sep_token_id, self.tokenizer.eos_token_id)
        self._max_length = int(max_length) if max_length else _longest(self.model, self.tokenizer)
        self._token_counts: dict[tuple[str, str], int] = {}

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self._device

    @property
    def tokenizer_name(self) -> str:
        """For lm-eval's caches."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    # -- lm-eval's interface -------------------------------------------------------------------------------------

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Pseudo-log-likelihood in nats of each continuation given its context on both sides, and whether every
        masked token was the likeliest one.
        """
        pairs = [request.args for request in requests]
        copies_of = [self._copies(number, *pair) for number, pair in enumerate(pairs)]
        answers = self._answers([copy for own in copies_of for copy in own], len(pairs), disable_tqdm)
        empty = [number for number, own in enumerate(copies_of) if not own]
        if empty:
            self._name_empty([pairs[number] for number in empty], len(pairs))
            for number in empty:
                answers[number] = (-math.inf, False)  # never chosen; a sum of nothing would be the largest of all
        for pair, answer in zip(pairs, answers, strict=True):
            self.cache_hook.add_partial("loglikelihood", pair, answer)
        return answers

    def _name_empty(self, empty: Sequence[tuple[str, str]], asked: int) -> None:
        shown = one_line(ascii(empty[0][1]))[:60]
        why = f"{len(empty)} of {asked} requests have no token to score ({shown}); check the task's data"
        if self.raises_if_not_finite:
            raise UserError(why)
        log.warning("e2lm-mlm: %s", why)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[Any]:
        """Pseudo-log-likelihood in nats of whole texts; it is no likelihood, so no bits per byte follow from it."""
        texts = [request.args[-1] for request in requests]  # lm-eval 0.5 puts an empty context before the text
        copies_of = [self._copies(number, "", text) for number, text in enumerate(texts)]
        answers = self._answers([copy for own in copies_of for copy in own], len(texts), disable_tqdm)
        totals = [loglik for loglik, _ in answers]
        empty = [number for number, own in enumerate(copies_of) if not own and str(texts[number]).strip()]
        if empty:
            self._name_empty([("", texts[number]) for number in empty], len(texts))
            for number in empty:
                totals[number] = -math.inf  # a sum of nothing would be a text without any surprise
        for text, total in zip(texts, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), total)
        return whole_text_answers(totals)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Refused: a masked model does not write."""
        raise UserError(f"{self._pretrained}: a masked model cannot generate; take tasks of log-likelihoods")

    def continuation_tokens_of(self, pairs: list[tuple[str, str]]) -> list[int]:
        """Tokens of each continuation as it was scored; pairs that were never scored give -1."""
        return [self._token_counts.get(pair, -1) for pair in pairs]

    # -- masked copies -------------------------------------------------------------------------------------------

    def _copies(self, request: int, context: str, continuation: str) -> list[MaskedCopy]:
        """One copy per token of ``continuation``, which is encoded together with its context."""
        # A space between the two belongs to the continuation, as in lm-eval.
        stripped = context.rstrip()
        try:
            encoding = self.tokenizer(context + continuation, add_special_tokens=False)
        except (ValueError, TypeError):  # no text, or one that is no Unicode
            self._token_counts[context, continuation] = 0
            return []
        ids: list[int] = list(encoding["input_ids"])
        before = len(self.tokenizer(stripped, add_special_tokens=False)["input_ids"]) if stripped else 0
        words = encoding.word_ids() if self._whole_words else None
        self._token_counts[context, continuation] = max(len(ids) - before, 0)
        return [self._copy(request, ids, place, words) for place in range(before, len(ids))]

    def _copy(self, request: int, ids: Sequence[int], place: int, words: Sequence[int | None] | None) -> MaskedCopy:
        masked = list(ids)
        masked[place] = self.tokenizer.mask_token_id
        if words is not None:
            for later in range(place + 1, len(ids)):
                if words[later] is None or words[later] != words[place]:
                    break
                masked[later] = self.tokenizer.mask_token_id
        room = self._max_length - len(self._left) - len(self._right)
        start = min(max(0, place - room // 2), max(0, len(ids) - room))
        tokens = (*self._left, *masked[start : start + room], *self._right)
        return MaskedCopy(tokens, len(self._left) + place - start, ids[place], request)

    # -- scoring -------------------------------------------------------------------------------------------------

    def _answers(self, copies: Sequence[MaskedCopy], requests: int, disable_tqdm: bool) -> list[tuple[float, bool]]:
        logliks, greedy = [0.0] * requests, [True] * requests
        ordered = sorted(copies, key=lambda copy: len(copy.tokens))
        with tqdm(total=len(ordered), unit=" masks", desc="e2lm-mlm", disable=disable_tqdm) as bar:
            for batch in self._batches(ordered):
                for copy, loglik, is_best in zip(batch, *self._scored(batch), strict=True):
                    logliks[copy.request] += loglik
                    greedy[copy.request] &= is_best
                bar.update(len(batch))
        return list(zip(logliks, greedy, strict=True))

    def _batches(self, ordered: Sequence[MaskedCopy]) -> list[list[MaskedCopy]]:
        """Copies of one length each: some families look at padding (FNet has no mask, ConvBERT a convolution)."""
        batches: list[list[MaskedCopy]] = [[]]
        for copy in ordered:
            last = batches[-1]
            uneven = last and len(last[0].tokens) != len(copy.tokens)
            if uneven or (last and (len(last) + 1) * len(copy.tokens) > self._token_budget):
                batches.append([])
            batches[-1].append(copy)
        return [batch for batch in batches if batch]

    def _scored(self, batch: Sequence[MaskedCopy]) -> tuple[list[float], list[bool]]:
        ids_RT = torch.tensor([copy.tokens for copy in batch], dtype=torch.long)
        places_R = torch.tensor([copy.place for copy in batch], device=self._device)
        targets_R = torch.tensor([copy.target for copy in batch], device=self._device)
        with torch.inference_mode():
            logits_RV = self._logits(ids_RT.to(self._device), places_R).float()
            loglik_R = logits_RV.log_softmax(-1).gather(1, targets_R[:, None])[:, 0]
        loglik_R = loglik_R.double().cpu()
        if self.raises_if_not_finite:
            require_finite(loglik_R.numpy(), lambda row: f"request {batch[row].request}")
        return loglik_R.tolist(), (logits_RV.argmax(-1) == targets_R).tolist()

    def _logits(self, ids_RT: torch.Tensor, places_R: torch.Tensor) -> torch.Tensor:
        """Logits [R, V] at the masked places only, by the model's own forward: of a whole text they are most of the
        memory.
        """
        flat_R = torch.arange(len(ids_RT), device=self._device) * ids_RT.shape[1] + places_R
        try:
            with self._read_tokens.only(flat_R):
                logits: torch.Tensor = self.model(input_ids=ids_RT, attention_mask=torch.ones_like(ids_RT)).logits
        except (TypeError, ValueError, RuntimeError, LookupError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise UserError(
                f"{self._pretrained}: {type(self.model).__name__} does not take a text of {ids_RT.shape[1]} tokens by "
                f"itself ({type(error).__name__}: {one_line(error)[:160]}); e2lm-mlm cannot score it"
            ) from error
        return self._read_tokens.logits(logits, flat_R)


def _first_of(*ids: int | None) -> tuple[int, ...]:
    return next(((token,) for token in ids if token is not None), ())


#: Tokenizers without a limit of their own say something astronomical.
_NO_LIMIT = 1_000_000


def _longest(model: Any, tokenizer: Any) -> int:
    """Tokens that fit; where padding takes the first positions (RoBERTa and its kin), by so many fewer."""
    config = model.config.get_text_config()
    positions = int(getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length)
    for name, part in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(getattr(part, "padding_idx", None), int):
            positions = min(positions, len(part.weight) - part.padding_idx - 1)
    return min(positions, tokenizer.model_max_length) if tokenizer.model_max_length < _NO_LIMIT else positions
