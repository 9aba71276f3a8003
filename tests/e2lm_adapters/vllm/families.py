"""Tiny checkpoints of the families that vLLM is proven with: dense and mixtures of experts, tied and untied.

As ``tests/families/architectures.py``, but with heads of 32: vLLM's attention on CPUs takes none smaller.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VOCABULARY = 512


@dataclass(frozen=True)
class Family:
    """Transformers' name of a family and what a tiny configuration of it says beyond the common sizes."""

    model_type: str
    settings: dict[str, Any] = field(default_factory=dict)


_TOKENS = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
_PLAIN = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 256,
    "intermediate_size": 128,
}
_GROUPED = {**_PLAIN, "num_key_value_heads": 1}
_HEADED = {**_GROUPED, "head_dim": 32}
_GEMMA = {**_HEADED, "query_pre_attn_scalar": 32, "sliding_window": 64}
_GPT2 = {"n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 256}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2}
_LOCAL = {"num_local_experts": 4, "num_experts_per_tok": 2}
_SMALL = {**_EXPERTS, "moe_intermediate_size": 64}
_TIED = {"tie_word_embeddings": True}
_UNTIED = {"tie_word_embeddings": False}

FAMILIES = {
    "llama": Family("llama", {**_GROUPED, **_UNTIED}),
    "llama_tied": Family("llama", {**_GROUPED, **_TIED}),
    "gpt2": Family("gpt2", _GPT2),
    "gpt_neox": Family("gpt_neox", _PLAIN),
    "opt": Family("opt", {**_PLAIN, "ffn_dim": 128, "word_embed_proj_dim": 64}),
    "bloom": Family("bloom", {"hidden_size": 64, "n_layer": 2, "n_head": 2}),
    "falcon": Family("falcon", {**_PLAIN, "alibi": False, "new_decoder_architecture": False}),
    "phi": Family("phi", _GROUPED),
    "phi3": Family("phi3", {**_GROUPED, "sliding_window": None}),
    "mistral": Family("mistral", {**_HEADED, "sliding_window": None}),
    "starcoder2": Family("starcoder2", {**_GROUPED, "sliding_window": None}),
    "stablelm": Family("stablelm", _GROUPED),
    "qwen2": Family("qwen2", {**_GROUPED, **_UNTIED}),
    "qwen2_tied": Family("qwen2", {**_GROUPED, **_TIED}),
    "qwen3": Family("qwen3", _HEADED),
    "qwen3_tied": Family("qwen3", {**_HEADED, **_TIED}),
    "olmo": Family("olmo", _GROUPED),
    "olmo2": Family("olmo2", _GROUPED),
    "olmo3": Family("olmo3", {**_GROUPED, "sliding_window": 64}),
    "gemma": Family("gemma", _HEADED),
    "gemma2": Family("gemma2", _GEMMA),
    "gemma3_text": Family("gemma3_text", _GEMMA),
    "cohere": Family("cohere", {**_GROUPED, "logit_scale": 0.0625}),
    "granite": Family("granite", {**_GROUPED, "logits_scaling": 8.0, "embedding_multiplier": 12.0}),
    "smollm3": Family("smollm3", {**_GROUPED, "no_rope_layers": [1, 0]}),
    "mixtral": Family("mixtral", {**_HEADED, **_LOCAL, "sliding_window": None}),
    "olmoe": Family("olmoe", {**_GROUPED, **_EXPERTS}),
    "qwen2_moe": Family("qwen2_moe", {**_GROUPED, **_SMALL, "shared_expert_intermediate_size": 64}),
    "qwen3_moe": Family("qwen3_moe", {**_HEADED, **_SMALL}),
    "granitemoe": Family("granitemoe", {**_GROUPED, **_LOCAL, "logits_scaling": 8.0}),
    "gpt_oss": Family("gpt_oss", {**_HEADED, **_LOCAL, "sliding_window": 64}),
}


def write_family(name: str, folder: Path, seed: int, tokenizer_files: dict[str, str]) -> None:
    """A checkpoint of family ``name`` as after some training: weights of spread 0.1, norms and biases as drawn."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    family = FAMILIES[name]
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    config = AutoConfig.for_model(family.model_type, **{**_TOKENS, **family.settings})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.1)
            else:
                parameter.add_(0.05 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    torch.set_rng_state(state)
    for file, text in tokenizer_files.items():
        (folder / file).write_text(text, encoding="utf-8")
