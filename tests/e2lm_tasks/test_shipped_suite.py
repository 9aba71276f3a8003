from __future__ import annotations

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import e2lm_tasks
from e2lm_tasks.building.prose import CorpusText
from e2lm_tasks.building.text_suite import build_suite

EARLY = Path(e2lm_tasks.__file__).parent / "early"
CARD: dict[str, Any] = json.loads((EARLY / "card.json").read_text(encoding="utf-8"))
END = "<|endoftext|>"
SEQUENCE_TOKENS = 256
LIMIT = 60


def byte_level_tokenizer(text: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=4096, special_tokens=[END], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([text], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=END)


@pytest.fixture(scope="module")
def tokenizer(documentation: CorpusText) -> PreTrainedTokenizerFast:
    return byte_level_tokenizer(documentation.text)


def test_data_are_those_of_the_card() -> None:
    for name, task in CARD["tasks"].items():
        raw = (EARLY / f"{name.removeprefix('e2lm_early_')}.jsonl").read_bytes()
        assert sha256(raw).hexdigest() == task["data_sha256"]
        assert raw.count(b"\n") == task["items"] == 300


def test_it_is_small_and_says_whose_text_it_is() -> None:
    assert sum(file.stat().st_size for file in EARLY.iterdir() if file.is_file()) < 1_500_000
    assert "PSF-2.0" in (EARLY / "README.md").read_text(encoding="utf-8")
    assert "Python Software Foundation" in (EARLY / "LICENSE-PSF-2.0.txt").read_text(encoding="utf-8")


def test_the_builder_gives_it_again(documentation: CorpusText) -> None:
    if documentation.sha256 != CARD["sources"][0]["sha256"]:
        pytest.skip("this Python has another edition of the documentation than the one the suite was made from")
    text = CorpusText.of(CARD["sources"][0]["file"], documentation.text)
    built = build_suite([text], CARD["seed"], CARD["items_per_task"], CARD["name"])
    assert {name: (EARLY / name).read_text(encoding="utf-8") for name in built.files} == built.files


def test_every_item_fits_a_short_model(tokenizer: PreTrainedTokenizerFast) -> None:
    for name in ("continuation", "shuffled", "swapped", "cloze", "copying"):
        for line in (EARLY / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            texts = [f"{row['context']} {choice}" for choice in row["choices"]]
            assert max(map(len, tokenizer(texts)["input_ids"])) < SEQUENCE_TOKENS


def test_an_untrained_model_scores_near_chance(tokenizer: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=SEQUENCE_TOKENS,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    model = HFLM(
        pretrained=LlamaForCausalLM(config),
        tokenizer=tokenizer,
        device="cpu",
        batch_size=32,
        max_length=SEQUENCE_TOKENS,
    )
    manager = TaskManager(include_path=str(EARLY), include_defaults=False)
    results = simple_evaluate(model=model, tasks=["e2lm_early"], task_manager=manager, limit=LIMIT)
    choice_tasks = [name for name, task in CARD["tasks"].items() if task["chance"] is not None]
    assert len(choice_tasks) == 5
    for task in choice_tasks:
        found = results["results"][task]
        # Five standard errors of a guess.
        assert abs(found["acc,none"] - 0.25) < 5 * (0.25 * 0.75 / LIMIT) ** 0.5
        assert found["acc_stderr,none"] > 0
    assert abs(results["groups"]["e2lm_early"]["acc,none"] - 0.25) < 5 * (0.25 * 0.75 / (5 * LIMIT)) ** 0.5
    # Untrained is near uniform: log2(vocabulary) bits per token of about four bytes.
    assert 2 < results["results"]["e2lm_early_heldout"]["bits_per_byte,none"] < 6


@pytest.mark.slow
def test_the_stock_command_runs_it_offline_from_any_folder(tmp_path: Path) -> None:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "E2LM_AUTOLOAD": "0"}
    environment["HF_HOME"] = str(tmp_path / "empty")
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "dummy", "--include_path", str(EARLY)]
    command += ["--tasks", "e2lm_early", "--limit", "8", "--output_path", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "out").rglob("results_*.json")
    results = json.loads(file.read_text(encoding="utf-8"))
    assert set(results["results"]) == {"e2lm_early", *CARD["tasks"]}
    assert results["configs"]["e2lm_early_cloze"]["metadata"]["chance"] == 0.25
