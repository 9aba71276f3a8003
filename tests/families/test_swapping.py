from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from e2lm.live_weights import WeightSwapper
from e2lm.weights import read_weight_index
from e2lm_adapters.scoring.swap import stored_tensors
from tests.families.architectures import ARCHITECTURES, FAST, model, write_checkpoint
from tests.families.swapping import differing, swapped

LONGER = {"rope_type": "longrope", "long_factor": [1.5] * 8, "short_factor": [1.0] * 8, "factor": 2.0}


def test_there_are_76_configurations_and_a_fast_forty_of_them() -> None:
    assert len(ARCHITECTURES) == 76
    assert len(set(FAST)) == len(FAST) == 40
    assert set(FAST) <= set(ARCHITECTURES)


@pytest.mark.parametrize("name", FAST)
def test_swapped_weights_are_bit_equal_to_those_of_from_pretrained(name: str, tmp_path: Path) -> None:
    assert swapped(name, tmp_path).fault == ""


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox", "cohere", "olmoe", "mamba", "zamba2"])
@pytest.mark.parametrize("tied", [True, False])
def test_tied_and_untied_heads_are_swapped_alike(name: str, tied: bool, tmp_path: Path) -> None:
    assert swapped(name, tmp_path, tie_word_embeddings=tied).fault == ""


@pytest.mark.parametrize("name", ["gpt_neox", "olmoe", "falcon_h1"])
def test_half_precision_is_swapped_as_it_is_stored(name: str, tmp_path: Path) -> None:
    assert swapped(name, tmp_path, dtype=torch.bfloat16).fault == ""


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        # Divides the weights of its upper layers by two when it runs for the first time.
        ("rwkv", {"num_hidden_layers": 8}),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}),
        ("llama", {"rope_parameters": {**LONGER, "rope_theta": 1e4, "original_max_position_embeddings": 16}}),
    ],
    ids=["rwkv", "dynamic", "longrope"],
)
def test_a_model_that_changes_while_it_runs_is_set_back(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    sizes = {} if name == "rwkv" else {"max_position_embeddings": 32}
    assert swapped(name, tmp_path, **sizes, **changes).fault == ""


def test_a_single_bit_or_buffer_that_differs_is_told() -> None:
    ours, theirs = model("gemma"), model("gemma")
    assert differing(ours, theirs) == []
    with torch.no_grad():
        ours.model.layers[1].mlp.up_proj.weight[3, 4] += 1e-7
        ours.model.rotary_emb.inv_freq[2] *= 2
    assert differing(ours, theirs) == ["model.layers.1.mlp.up_proj.weight", "model.rotary_emb.inv_freq"]


def test_what_others_hang_on_a_model_is_no_hindrance(tmp_path: Path) -> None:
    from e2lm_adapters.scoring.hf import E2lmHf
    from e2lm_testing.tiny_checkpoint import tokenizer_files

    folders = [write_checkpoint(tmp_path / str(seed), model("gpt_neox", seed), tokenizer_files()) for seed in (1, 2)]
    live, built = (E2lmHf(str(folder), device="cpu", dtype="float32", show_progress=False) for folder in folders)
    first, second = (read_weight_index(folder) for folder in folders)
    WeightSwapper(live.model, first).swap(dict(stored_tensors(second)))
    assert differing(live.model, built.model) == []
