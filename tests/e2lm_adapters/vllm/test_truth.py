"""The truth that engines are held against: transformers in a process of its own, asked by lines of JSON."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2lm_adapters.scoring.prefix_tree import TokenRequest
from e2lm_adapters.scoring.swap import UnusableCheckpointError
from e2lm_adapters.vllm import truth as vllm_truth
from e2lm_adapters.vllm.truth import Transformers, UnprovableError

REQUESTS = [TokenRequest((5, 6, 7), (8, 9)), TokenRequest((300,), (4, 3, 2, 1))]


@pytest.fixture(scope="module")
def transformers() -> Iterator[Transformers]:
    asked = Transformers()
    yield asked
    asked.close()


def by_hand(folder: Path, request: TokenRequest, dtype: Any = None) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype or torch.float32, attn_implementation="eager")
    tokens = torch.tensor([[*request.context, *request.continuation]])
    rows = model(input_ids=tokens).logits[0].detach().float().log_softmax(-1)
    first = len(request.context)
    found = [float(rows[first + place - 1, token]) for place, token in enumerate(request.continuation)]
    best = [int(rows[first + place - 1].argmax()) for place in range(len(request.continuation))]
    return found, best == list(request.continuation)


def test_every_token_of_every_request_comes_out_as_transformers_says_it(
    transformers: Transformers, tiny_llama: Path
) -> None:
    truth = transformers.truth(tiny_llama, REQUESTS)
    for request, logprobs, greedy in zip(REQUESTS, truth.logprobs, truth.greedy, strict=True):
        expected, is_greedy = by_hand(tiny_llama, request)
        assert logprobs == pytest.approx(expected, abs=1e-5)
        assert greedy == is_greedy
    assert truth.spread is None
    assert truth.answers[0] == (pytest.approx(sum(truth.logprobs[0])), truth.greedy[0])


def test_the_spread_is_how_far_half_precision_is_from_float32(transformers: Transformers, tiny_llama: Path) -> None:
    import torch

    truth = transformers.truth(tiny_llama, REQUESTS, "bfloat16")
    half = [value for request in REQUESTS for value in by_hand(tiny_llama, request, torch.bfloat16)[0]]
    exact = [value for request in REQUESTS for value in by_hand(tiny_llama, request)[0]]
    away = [abs(one - other) for one, other in zip(half, exact, strict=True)]
    assert truth.spread == pytest.approx(sum(away) / len(away), rel=0.05)
    assert truth.spread is not None
    assert truth.spread > 0


def test_what_cannot_be_asked_is_a_line_and_the_next_question_is_answered(
    transformers: Transformers, tiny_llama: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "odd"
    shutil.copytree(tiny_llama, odd)
    config = json.loads((odd / "config.json").read_text(encoding="utf-8"))
    (odd / "config.json").write_text(json.dumps({**config, "model_type": "no_such_model"}), encoding="utf-8")
    with pytest.raises(UnprovableError, match=r"transformers cannot run .*no_such_model"):
        transformers.truth(odd, REQUESTS)
    assert len(transformers.truth(tiny_llama, REQUESTS).logprobs) == 2


@pytest.mark.parametrize("is_asked", [True, False], ids=["asked for answers", "asked for this alone"])
def test_a_checkpoint_that_lacks_a_weight_says_nothing_and_is_told_from_one_that_cannot_be_asked(
    is_asked: bool, transformers: Transformers, tiny_llama: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    lacking = tmp_path / "checkpoint-7"
    shutil.copytree(tiny_llama, lacking)
    tensors = load_file(lacking / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, lacking / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UnusableCheckpointError, match=r"checkpoint-7: no tensor is stored.*'model.norm.weight'"):
        transformers.truth(lacking, REQUESTS) if is_asked else transformers.require_all_weights(lacking)
    transformers.require_all_weights(tiny_llama)
    (lacking / "config.json").write_text("{}", encoding="utf-8")
    transformers.require_all_weights(lacking)  # nobody can tell


def test_numbers_that_are_none_prove_nothing(transformers: Transformers, tiny_llama: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "checkpoint-7"
    shutil.copytree(tiny_llama, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][:] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UnprovableError, match="checkpoint-7: transformers' own answers are NaN or infinite"):
        transformers.truth(broken, REQUESTS)


def test_a_process_that_is_killed_is_a_line_and_another_takes_its_place(tiny_llama: Path) -> None:
    asked = Transformers()
    asked.truth(tiny_llama, REQUESTS)
    process = asked._process
    assert process is not None
    process.kill()
    process.wait()
    with pytest.raises(UnprovableError, match="ended without an answer"):
        asked.truth(tiny_llama, REQUESTS)
    assert len(asked.truth(tiny_llama, REQUESTS).greedy) == 2
    last = asked._process
    asked.close()
    assert last is not None
    assert last.poll() is not None


def test_a_model_that_memory_does_not_hold_is_never_begun(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_truth, "_free_memory_bytes", lambda: 1000)
    question = {"folder": str(tiny_llama), "requests": [], "half": None, "trust_remote_code": False}
    told = vllm_truth._reply(question)["error"]
    assert told.startswith("transformers needs 0.0 GB of memory")
