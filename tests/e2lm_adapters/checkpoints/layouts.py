"""Small stand-ins for what trainers leave: one writer for each format, of a whole checkpoint at a given place."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed.checkpoint as dcp
from safetensors.numpy import save_file
from safetensors.torch import load_file
from safetensors.torch import save_file as save_tensors

from e2lm.weights import SINGLE_FILE
from e2lm_testing.tiny_checkpoint import tokenizer_files, write_tiny_llama

Writer = Callable[[Path], Path]

#: As nanoGPT notes them.
NANO = {"n_layer": 2, "n_head": 4, "n_embd": 16, "block_size": 32, "bias": False, "vocab_size": 512}


def companions(folder: Path) -> None:
    """A config.json and a tokenizer, as small as they can be."""
    (folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")


def write_hf(place: Path, seed: int = 0) -> Path:
    """A folder as transformers writes it, with other weights for every ``seed``."""
    place.mkdir(parents=True)
    weights = np.arange(6, dtype=np.float32) + seed
    tensors = {"model.embed_tokens.weight": weights, "model.norm.weight": np.full(4, seed, np.float32)}
    save_file(tensors, place / SINGLE_FILE, metadata={"format": "pt"})
    companions(place)
    return place


def write_pickled(place: Path) -> Path:
    place.mkdir(parents=True)
    torch.save({"model.norm.weight": torch.ones(4)}, place / "pytorch_model.bin")
    companions(place)
    return place


def llama_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a tiny Llama that is written into the new ``folder``."""
    write_tiny_llama(folder, 1)
    return dict(load_file(folder / SINGLE_FILE))


def write_lora(place: Path) -> Path:
    """An adapter of rank 2 on two layers of the tiny Llama."""
    place.mkdir(parents=True)
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": "", "task_type": "CAUSAL_LM"}
    (place / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    generator = torch.Generator().manual_seed(3)
    tensors = {}
    for module, out in (("q_proj", 64), ("v_proj", 32)):
        name = f"base_model.model.model.layers.0.self_attn.{module}"
        tensors[f"{name}.lora_A.weight"] = torch.randn(2, 64, generator=generator)
        tensors[f"{name}.lora_B.weight"] = torch.randn(out, 2, generator=generator)
    save_tensors(tensors, place / "adapter_model.safetensors")
    return place


def write_lightning(place: Path) -> Path:
    file = place.with_name("epoch=0-step=20.ckpt")
    weights = {f"model.{name}": one for name, one in llama_weights(place.parent / "lightning-model").items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": weights, "global_step": 20, "epoch": 0, "optimizer_states": [{"a": torch.ones(2)}]}, file)
    return file


def write_state_dict(place: Path) -> Path:
    weights = llama_weights(place.parent / "state-model")
    place.mkdir(parents=True)
    torch.save({f"module._orig_mod.{name}": one for name, one in weights.items()}, place / "model.pth")
    return place


def write_dcp(place: Path) -> Path:
    """As FSDP leaves the model of the tiny Llama, with a state of its optimizer."""
    weights = llama_weights(place.parent / "dcp-model")
    state: dict[str, Any] = {"model": weights, "optimizer": {"step": torch.ones(1)}}
    with warnings.catch_warnings():  # one process is what is meant
        warnings.simplefilter("ignore")
        dcp.save(state, checkpoint_id=place, no_dist=True)
    return place


def nano_weights(seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights by nanoGPT's names: linear layers as [out, in], no biases, the head and the embedding one tensor."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * 0.2

    wide = NANO["n_embd"]
    found = {"transformer.wte.weight": drawn(512, wide), "transformer.wpe.weight": drawn(32, wide)}
    for layer in range(NANO["n_layer"]):
        name = f"transformer.h.{layer}"
        found |= {f"{name}.ln_1.weight": 1 + drawn(wide), f"{name}.ln_2.weight": 1 + drawn(wide)}
        found |= {f"{name}.attn.c_attn.weight": drawn(3 * wide, wide), f"{name}.attn.c_proj.weight": drawn(wide, wide)}
        found |= {f"{name}.mlp.c_fc.weight": drawn(4 * wide, wide), f"{name}.mlp.c_proj.weight": drawn(wide, 4 * wide)}
    found["transformer.ln_f.weight"] = 1 + drawn(wide)
    return {**found, "lm_head.weight": found["transformer.wte.weight"]}


def write_nanogpt(place: Path) -> Path:
    file = place.parent / "ckpt.pt"
    file.parent.mkdir(parents=True, exist_ok=True)
    weights = {f"_orig_mod.{name}": one for name, one in nano_weights().items()}
    settings = {"model": weights, "model_args": NANO, "iter_num": 20, "best_val_loss": torch.tensor(2.5)}
    torch.save({**settings, "config": {"dataset": "openwebtext"}}, file)
    return file


def write_gpt2_config(folder: Path, **changes: Any) -> Path:
    """What ``--config`` is given for nanoGPT."""
    from transformers import GPT2Config

    folder.mkdir(parents=True, exist_ok=True)
    settings = {name: NANO[name] for name in ("n_layer", "n_head", "n_embd", "vocab_size")}
    settings |= {"n_positions": NANO["block_size"], "activation_function": "gelu", "architectures": ["GPT2LMHeadModel"]}
    GPT2Config(**{**settings, **changes}).save_pretrained(folder)
    for name, text in tokenizer_files().items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def _saved(file: Path, content: object = None) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({} if content is None else content, file)
    return file


def write_deepspeed(place: Path) -> Path:
    """The Trainer's checkpoint with ZeRO 3: no weights in it but the ranks' own."""
    for kind in ("model_states", "optim_states"):
        _saved(place / "global_step20" / f"zero_pp_rank_0_mp_rank_00_{kind}.pt")
    (place / "latest").write_text("global_step20", encoding="utf-8")
    (place / "zero_to_fp32.py").write_text("", encoding="utf-8")
    return place


def write_neox(place: Path) -> Path:
    place = place.with_name("global_step20")
    _saved(place / "mp_rank_00_model_states.pt")
    _saved(place / "layer_00-model_00-model_states.pt")
    (place.parent / "latest").write_text(place.name, encoding="utf-8")
    return place


def write_megatron(place: Path) -> Path:
    place = place.with_name("iter_0000020")
    _saved(place / "mp_rank_00" / "model_optim_rng.pt")
    (place.parent / "latest_checkpointed_iteration.txt").write_text("20", encoding="utf-8")
    return place


def write_litgpt(place: Path) -> Path:
    _saved(place / "lit_model.pth", {"model": {}})
    (place / "model_config.yaml").write_text("name: pythia", encoding="utf-8")
    return place


def write_olmo(place: Path) -> Path:
    for name in ("model.pt", "optim.pt", "train.pt"):
        _saved(place / name)
    (place / "config.yaml").write_text("model: {}", encoding="utf-8")
    return place


def write_nanotron(place: Path) -> Path:
    place = place.with_name("20")
    (place / "model" / "model").mkdir(parents=True)
    save_file({"weight": np.ones(2, np.float32)}, place / "model" / "model" / "lm_head.safetensors")
    (place / "checkpoint_metadata.json").write_text("{}", encoding="utf-8")
    return place


def write_composer(place: Path) -> Path:
    return _saved(place.with_name("ep0-ba20-rank0.pt"), {"state": {"model": {}}})


def tiny_config(folder: Path) -> Path:
    """What ``--config`` and ``--base`` are given for the tiny Llama."""
    write_tiny_llama(folder, 1)
    return folder


#: Every built-in format, and what writes a checkpoint of it.
SAMPLES: Mapping[str, Writer] = {
    "safetensors": write_hf,
    "pickle": write_pickled,
    "lora": write_lora,
    "lightning": write_lightning,
    "nanogpt": write_nanogpt,
    "torch-dcp": write_dcp,
    "state-dict": write_state_dict,
    "deepspeed": write_deepspeed,
    "neox": write_neox,
    "megatron": write_megatron,
    "litgpt": write_litgpt,
    "olmo": write_olmo,
    "nanotron": write_nanotron,
    "composer": write_composer,
}
#: What they need besides.
GIVEN: Mapping[str, dict[str, Writer]] = {
    "lora": {"base": tiny_config},
    "nanogpt": {"config": write_gpt2_config},
    **{name: {"config": tiny_config} for name in ("lightning", "torch-dcp", "state-dict")},
}
