"""The fixtures that all tests lean on are what they say."""

from __future__ import annotations

import json
from pathlib import Path

from e2lm import Series
from e2lm.weights import read_weight_index, weights_hash


def test_the_tiny_llama_loads_with_transformers_and_knows_its_end_of_text(tiny_llama: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    assert tokenizer.bos_token_id == tokenizer.eos_token_id == 0
    assert len(tokenizer) == model.config.vocab_size == 512
    assert tokenizer.decode(tokenizer("Grüße, world").input_ids) == "Grüße, world"
    assert model.config.max_position_embeddings == 256
    assert model.config.num_hidden_layers == 2


def test_the_tiny_series_has_four_checkpoints_of_different_weights_and_one_shape(tiny_series: Path) -> None:
    series = Series.read(tiny_series)
    assert [checkpoint.step for checkpoint in series.checkpoints] == [0, 10, 20, 30]
    indices = [read_weight_index(Path(checkpoint.path or "")) for checkpoint in series.checkpoints]
    assert len({weights_hash(index) for index in indices}) == 4
    assert all(index.shapes == indices[0].shapes for index in indices)
    assert indices[0].params == series.params
    assert indices[0].params_non_embedding == series.params_non_embedding
    stored = json.loads((tiny_series / "series.json").read_text(encoding="utf-8"))
    assert stored["checkpoints"][1]["path"] == "checkpoint-10"
