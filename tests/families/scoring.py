"""Log-likelihoods by ``e2lm-hf`` beside lm-eval's ``hf`` with several batch sizes, one live model through a series.

The series is a fresh model, one whose output head is zero, and one as after training: what holds for the first two,
whose logits are all about the same, says nothing of the third.

What may differ, in nats: in float32 1e-4 for a continuation of up to 50 tokens, and in proportion beyond. In bfloat16
the spread of stock scoring over its batch sizes, or the rounding of a sum, which stock scoring stores in 8 bits: 2**-7
of the log-likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tests.families.architectures import ARCHITECTURES, CONTEXT, SHORT_WINDOW, VOCABULARY, Weights, model

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
SERIES: tuple[Weights, ...] = ("default", "zero head", "trained")
BATCH_SIZES = (1, 2, 7, 16)
FLOAT32_NATS, FLOAT32_TOKENS = 1e-4, 50
BFLOAT16_SHARE = 2.0**-7

Pair = tuple[str, str]


@dataclass(frozen=True)
class Scored:
    """One checkpoint of a family: the difference that is largest beside what is allowed, and the way it was scored."""

    name: str
    precision: Precision
    weights: Weights
    difference: float
    allowed: float
    spread: float
    greedy_differences: int
    stock_way: str
    fallbacks: int

    @property
    def holds(self) -> bool:
        """Whether it is within what is allowed; dense full attention shares prefixes, and nothing has to fall back."""
        shares = not ARCHITECTURES[self.name].is_dense_full_attention or not self.stock_way
        return self.difference <= self.allowed and shares and not self.fallbacks

    def __str__(self) -> str:
        verdict = "ok" if self.holds else "DIFFERS"
        return (
            f"{self.name:18} {self.precision:8} {self.weights:9} {verdict:7} {self.difference:.1e} of "
            f"{self.allowed:.1e}  stock's spread {self.spread:.1e}  greedy {self.greedy_differences}  "
            f"{self.stock_way or 'shared'}"
        )


def tokenizer() -> Any:
    """A token for every word "w3" ... "w511", and for nothing else."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    known = {"<end>": 0, "<unknown>": 1, **{f"w{number}": number for number in range(2, VOCABULARY)}}
    words = Tokenizer(models.WordLevel(known, unk_token="<unknown>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", pad_token="<end>")


def pairs() -> list[Pair]:
    """Items of several choices, short and longer than any window, with worked examples before them and without."""
    rng = np.random.default_rng(7)

    def text(count: int) -> str:
        return " ".join(f"w{number}" for number in rng.integers(2, VOCABULARY, size=count))

    def items(count: int, before: str = "", longest: int = 40) -> list[Pair]:
        contexts = [before + text(int(rng.integers(3, longest))) for _ in range(count)]
        return [(context, " " + text(int(rng.integers(1, 7)))) for context in contexts for _ in range(3)]

    found = items(3) + items(3, before=text(3 * SHORT_WINDOW) + " ") + [("", text(3)), ("", text(5))]
    found += [(text(SHORT_WINDOW + 40), " " + text(60))]
    question = text(12)
    return found + [(question, f" w{letter}") for letter in (5, 6, 7, 5)]


def scored(lm: Any, asked: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihoods in nats and greedy flags."""
    from lm_eval.api.instance import Instance

    instances: Any = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(asked)]
    answers = lm.loglikelihood(instances, disable_tqdm=True)
    return np.array([loglik for loglik, _ in answers]), np.array([greedy for _, greedy in answers])


def series_of(
    name: str, precision: Precision, series: Sequence[Weights] = SERIES, batch_sizes: Sequence[int] = BATCH_SIZES
) -> list[Scored]:
    """One live model of the family goes through the weights of ``series``, scored by us and by lm-eval each time."""
    import torch
    from lm_eval.models.huggingface import HFLM

    from e2lm_adapters.scoring.hf import E2lmHf

    live, asked = model(name, weights=series[0], dtype=getattr(torch, precision)), pairs()
    common: dict[str, Any] = {"tokenizer": tokenizer(), "device": "cpu", "max_length": CONTEXT}
    ours = E2lmHf(live, **common, show_progress=False)
    found = []
    for weights in series:
        live.load_state_dict(model(name, weights=weights, dtype=getattr(torch, precision)).state_dict())
        loglik_R, greedy_R = scored(ours, asked)
        stock = [scored(HFLM(live, **common, batch_size=size), asked) for size in batch_sizes]
        alone_R = stock[0][0]
        spread = float(max(np.abs(other_R - alone_R).max() for other_R, _ in stock))
        allowed_R = _allowed(precision, alone_R, asked, spread)
        worst = int(np.argmax(np.abs(loglik_R - alone_R) / allowed_R))
        found.append(
            Scored(
                name,
                precision,
                weights,
                float(np.abs(loglik_R - alone_R)[worst]),
                float(allowed_R[worst]),
                spread,
                int((greedy_R != stock[0][1]).sum()),
                ours._why_stock or "",
                len(ours.fallbacks),
            )
        )
    return found


def _allowed(precision: Precision, stock_R: np.ndarray, asked: Sequence[Pair], spread: float) -> np.ndarray:
    if precision == "bfloat16":
        return np.maximum(BFLOAT16_SHARE * np.abs(stock_R), spread)
    tokens_R = np.array([len(continuation.split()) for _, continuation in asked])
    return FLOAT32_NATS * np.maximum(tokens_R / FLOAT32_TOKENS, 1.0)


def study(names: Sequence[str]) -> int:
    """Tells every family in both precisions, and gives how many hold."""
    passed = 0
    for name in names:
        try:
            found = [one for precision in PRECISIONS for one in series_of(name, precision)]
        except Exception as error:  # a family that crashes is told, and the next one is looked at
            print(f"{name:18} {type(error).__name__}: {error}", flush=True)
            continue
        for one in found:
            print(one, flush=True)
        passed += all(one.holds for one in found)
    return passed
