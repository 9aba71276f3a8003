"""Every family through a real vLLM on the CPU: swapped = fresh = transformers. Skipped where vLLM is not installed.

``make test-vllm`` runs a few; ``make families-vllm`` (``E2LM_FAMILIES=all``) all, which takes a quarter of an hour.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2lm_adapters.conftest import instances, pairs_of_items, words
from tests.e2lm_adapters.vllm.families import FAMILIES, write_family
from tests.e2lm_adapters.vllm.test_series import FLOAT32_DIFFERENCE, started

pytestmark = [
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed (make test-vllm brings it)"),
    # Raised inside vLLM and what it imports:
    pytest.mark.filterwarnings("ignore::UserWarning:(?!e2lm).*", "ignore::SyntaxWarning", "ignore::ImportWarning"),
]

#: A tied head, a mixture of experts, a sliding window, and one that vLLM cannot swap.
FEW = ("llama_tied", "olmoe", "gemma3_text", "gpt_oss")
WANTED = tuple(FAMILIES) if os.environ.get("E2LM_FAMILIES") == "all" else FEW
#: vLLM 0.32 computes the exact GELU, BLOOM is trained with its approximation by tanh: fresh engines differ as well.
VLLMS_OWN = {"bloom": 5e-3}


@pytest.fixture
def engines() -> Iterator[list[Any]]:
    """Engines of a test, ended with it however it ends."""
    started_ones: list[Any] = []
    yield started_ones
    for one in started_ones:
        one.close()


def asked() -> list[tuple[str, str]]:
    before = words(np.random.default_rng(6), 30) + "\n\n"
    return [*pairs_of_items(4, 4), *pairs_of_items(5, 4, (5, 20), before)]


def scored(lm: Any) -> list[tuple[float, bool]]:
    found: list[tuple[float, bool]] = lm.loglikelihood(instances("loglikelihood", asked()), disable_tqdm=True)
    return found


@pytest.mark.parametrize("family", WANTED)
def test_a_swapped_checkpoint_is_what_a_fresh_engine_and_transformers_make_of_it(
    family: str, tmp_path: Path, tiny_tokenizer_files: dict[str, str], engines: list[Any]
) -> None:
    run = [tmp_path / f"checkpoint-{step}" for step in (0, 10)]
    for seed, folder in enumerate(run):
        write_family(family, folder, seed, tiny_tokenizer_files)
    engines += [started(folder) for folder in run]
    before, fresh = (scored(one) for one in engines)
    engines[0].load_checkpoint(run[1])
    swapped = scored(engines[0])
    truth = engines[0]._transformers.truth(run[1], engines[0]._encoder.pairs(asked()))
    for ours in (swapped, fresh):
        np.testing.assert_allclose(
            [loglik for loglik, _ in ours],
            [loglik for loglik, _ in truth.answers],
            rtol=0,
            atol=VLLMS_OWN.get(family, FLOAT32_DIFFERENCE),
        )
        assert [flag for _, flag in ours] == list(truth.greedy)
    assert swapped == fresh
    assert swapped != before
    assert bool(engines[0].fallbacks) == (family in {"gpt_oss", *VLLMS_OWN})
