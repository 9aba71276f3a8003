"""Checkpoint folders small enough to make in a test: a byte-level tokenizer and a Llama of two layers."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

END_OF_TEXT = "<|endoftext|>"
VOCABULARY = 512
CONTEXT = 256
STEPS = (0, 10, 20, 30)
TOKENS_PER_STEP = 1024


@cache
def tokenizer_files() -> dict[str, str]:
    """Name and text of the files of a byte-level BPE tokenizer with 512 entries, trained on Python's documentation."""
    from pydoc_data.topics import topics

    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
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
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
    }
    return {"tokenizer.json": tokenizer.to_str(), "tokenizer_config.json": json.dumps(config, indent=1)}


def write_tiny_llama(folder: Path, seed: int) -> Any:
    """Write a checkpoint into the new ``folder``: 2 layers, width 64, float32. The model comes out."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
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
    for name, text in tokenizer_files().items():
        (folder / name).write_text(text, encoding="utf-8")
    return model


def write_tiny_series(run: Path) -> None:
    """Write a run folder with ``series.json`` and four checkpoints (steps 0, 10, 20, 30) of different weights."""
    from e2lm.checkpoint import Checkpoint
    from e2lm.series import Series

    model: Any = None
    for step in STEPS:
        model = write_tiny_llama(run / f"checkpoint-{step}", 100 + step)
    params = sum(parameter.numel() for parameter in model.parameters())
    embedding = 2 * model.config.vocab_size * model.config.hidden_size
    Series(
        name=run.name,
        params=params,
        params_non_embedding=params - embedding,
        tokens_per_step=TOKENS_PER_STEP,
        data="Python's documentation",
        checkpoints=tuple(
            Checkpoint(step=step, tokens=step * TOKENS_PER_STEP, path=f"checkpoint-{step}") for step in STEPS
        ),
    ).write(run)
