"""What every test may use: one thread, no network, a tiny Llama and a tiny run, and the real data where it is."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

# Before torch, tokenizers and the Hub are imported: they read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
from hypothesis import settings

# A busy machine makes any example slow now and then; that is no failure.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"

END_OF_TEXT = "<|endoftext|>"
TINY_STEPS = (0, 10, 20, 30)
TINY_TOKENS_PER_STEP = 1024
TINY_CONTEXT = 256


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> None:
    """The variables above come too late where a plugin of pytest has imported torch already."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the repository; the test is skipped where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no ../shared/data beside the repository")
    return SHARED_DATA


@pytest.fixture(scope="session")
def tiny_tokenizer_files() -> dict[str, str]:
    """Name and text of the files of a byte-level BPE tokenizer with 512 entries, trained on Python's documentation."""
    import json
    from pydoc_data.topics import topics

    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([topics[name] for name in sorted(topics)], trainer)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "pad_token": END_OF_TEXT,
        "model_max_length": TINY_CONTEXT,
        "clean_up_tokenization_spaces": False,
    }
    return {"tokenizer.json": tokenizer.to_str(), "tokenizer_config.json": json.dumps(config, indent=1)}


def _write_tiny_llama(folder: Path, seed: int, tokenizer_files: dict[str, str]) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=TINY_CONTEXT,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        tie_word_embeddings=False,
        # Five times the usual width: an untrained model whose choices still differ clearly from each other.
        initializer_range=0.1,
    )
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)
    torch.set_rng_state(state)
    model.save_pretrained(folder)
    for name, text in tokenizer_files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return model


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer_files: dict[str, str]) -> Path:
    """A checkpoint folder: Llama of 2 layers, width 64, float32, vocabulary 512, context 256, with its tokenizer.

    Shared by the whole session: read it, never write into it.
    """
    folder = tmp_path_factory.mktemp("tiny_llama") / "model"
    _write_tiny_llama(folder, 1, tiny_tokenizer_files)
    return folder


@pytest.fixture(scope="session")
def tiny_series(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer_files: dict[str, str]) -> Path:
    """A run folder with ``series.json`` and four checkpoints (steps 0, 10, 20, 30) of different weights.

    Shared by the whole session: read it, never write into it.
    """
    from e2lm import Checkpoint, Series

    run = tmp_path_factory.mktemp("tiny_series") / "tiny-run"
    model: Any = None
    for step in TINY_STEPS:
        model = _write_tiny_llama(run / f"checkpoint-{step}", 100 + step, tiny_tokenizer_files)
    params = sum(parameter.numel() for parameter in model.parameters())
    embedding = 2 * model.config.vocab_size * model.config.hidden_size
    Series(
        name="tiny-run",
        params=params,
        params_non_embedding=params - embedding,
        tokens_per_step=TINY_TOKENS_PER_STEP,
        data="Python's documentation",
        checkpoints=tuple(
            Checkpoint(step=step, tokens=step * TINY_TOKENS_PER_STEP, path=f"checkpoint-{step}") for step in TINY_STEPS
        ),
    ).write(run)
    return run
