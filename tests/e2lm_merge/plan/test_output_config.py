"""Stacked layers are what they were: the output's config says of each what its source's says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from e2lm import UserError
from e2lm_merge.plan.merge_plan import MergePlan, plan_merge
from e2lm_merge.plan.recipe import recipe_from_data
from e2lm_merge.plan.source import config_of_class

KINDS = ["sliding_attention", "full_attention", "full_attention", "sliding_attention"]


def stacked(*ranges: tuple[str | Path, int, int], method: str = "passthrough") -> MergePlan:
    """The plan of one slice per range of a model's layers."""
    slices = [{"sources": [{"model": str(one), "layer_range": [start, end]}]} for one, start, end in ranges]
    return plan_merge(recipe_from_data({"merge_method": method, "slices": slices}, "test"))


@pytest.fixture
def model(tmp_path: Path, tiny_tensors: Any, write_model: Any) -> Any:
    """Writes a model of four layers whose config says more."""

    def write(name: str = "m", **config: Any) -> Path:
        fields = {"model_type": "of-its-own-code", "num_hidden_layers": 4, **config}
        return Path(write_model(tmp_path / name, tiny_tensors(0, layers=4), **fields))

    return write


def test_lists_with_an_entry_per_layer_follow_the_layers(model: Any) -> None:
    folder = model(layer_types=KINDS, no_rope_layers=[1, 0, 1, 1], eos_token_id=[1, 2, 3, 4])
    config = stacked((folder, 2, 4), (folder, 0, 3)).config
    assert config["layer_types"] == [KINDS[layer] for layer in (2, 3, 0, 1, 2)]
    assert config["no_rope_layers"] == [1, 1, 1, 0, 1]
    assert config["num_hidden_layers"] == 5
    assert config["eos_token_id"] == [1, 2, 3, 4]


def test_lists_of_layers_follow_the_layers(model: Any) -> None:
    folder = model(mlp_only_layers=[0, 3])
    assert stacked((folder, 2, 4), (folder, 0, 2)).config["mlp_only_layers"] == [1, 2]


def test_each_layer_has_the_kind_of_its_own_model(model: Any) -> None:
    other = ["full_attention"] * 4
    one, two = model("one", layer_types=KINDS), model("two", layer_types=other)
    assert stacked((one, 0, 1), (two, 1, 4)).config["layer_types"] == [KINDS[0], *other[1:]]


def test_layers_of_two_kinds_are_not_merged_into_one(model: Any) -> None:
    folder = model(layer_types=KINDS)
    sources = [{"model": str(folder), "layer_range": [start, start + 2]} for start in (0, 1)]
    recipe = recipe_from_data({"merge_method": "linear", "slices": [{"sources": sources}]}, "test")
    with pytest.raises(UserError, match=r"layer 0 of the output: layer 0 .* and layer 1 .* of different kinds"):
        plan_merge(recipe)


def test_a_rule_that_no_longer_holds_is_refused_and_one_that_moves_is_moved(model: Any) -> None:
    folder = model(first_k_dense_replace=2)
    assert stacked((folder, 1, 4)).config["first_k_dense_replace"] == 1
    with pytest.raises(UserError, match="first_k_dense_replace: 2 says of which kind each layer is"):
        stacked((folder, 2, 4), (folder, 0, 1))
    every_other = model("step", decoder_sparse_step=2)
    assert stacked((every_other, 0, 2), (every_other, 0, 4)).config["decoder_sparse_step"] == 2
    with pytest.raises(UserError, match="decoder_sparse_step"):
        stacked((every_other, 1, 4))


def test_numbers_that_json_has_no_word_for_are_read_as_transformers_writes_them() -> None:
    config = {"model_type": "mamba2", "time_step_limit": [0.0, {"__float__": "Infinity"}]}
    assert config_of_class(config).time_step_limit[1] == float("inf")


def test_whole_models_keep_their_config(model: Any) -> None:
    folder = model(layer_types=KINDS, decoder_sparse_step=2)
    assert stacked((folder, 0, 4)).config == stacked((folder, 0, 2), (folder, 2, 4)).config
    assert stacked((folder, 0, 4)).config["layer_types"] == KINDS


def test_what_the_class_knows_and_the_config_leaves_out_is_written(
    tmp_path: Path, tiny_tensors: Any, write_model: Any
) -> None:
    config = {"model_type": "gemma2", "num_hidden_layers": 4, "head_dim": 8}
    folder = write_model(tmp_path / "g", tiny_tensors(0, layers=4, tied=True), **config)
    sliding, full = "sliding_attention", "full_attention"
    assert stacked((folder, 1, 4)).config["layer_types"] == [full, sliding, full]


TINY: dict[str, Any] = {
    "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 4, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 32, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
GPT2 = {"vocab_size": 32, "n_positions": 32, "n_embd": 16, "n_layer": 4, "n_head": 2}


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("qwen2", {**TINY, "use_sliding_window": True, "sliding_window": 3, "max_window_layers": 2}),
        ("gemma3_text", {**TINY, "sliding_window": 3, "layer_types": [KINDS[0], KINDS[0], KINDS[1], KINDS[0]]}),
        ("smollm3", {**TINY, "no_rope_layers": [1, 0, 1, 0]}),
        ("cohere2", {**TINY, "sliding_window": 3}),
        ("gpt2", GPT2),
        *((name, TINY) for name in ("llama", "mistral", "phi3", "olmo2", "gemma2", "gpt_neox", "stablelm")),
        ("mpt", {"vocab_size": 32, "d_model": 16, "n_layers": 4, "n_heads": 2, "max_seq_len": 32}),
        ("bloom", {"vocab_size": 32, "hidden_size": 16, "n_layer": 4, "n_head": 2}),
        ("qwen3_moe", {**TINY, "num_experts": 2, "num_experts_per_tok": 1, "mlp_only_layers": [1]}),
    ],
)
def test_stacked_layers_give_the_logits_of_a_model_stacked_by_hand(
    family: str, config: dict[str, Any], tmp_path: Path
) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    from e2lm_merge.output.in_memory import merged_model

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **config)).eval()
    with torch.no_grad():
        for one in model.parameters():
            one.normal_(0, 0.3)
    model.save_pretrained(tmp_path)
    order = [2, 3, 0, 1, 2]
    merged = merged_model(stacked((tmp_path, 2, 4), (tmp_path, 0, 3)), 1).eval()
    inner = model.base_model
    name = next(name for name, one in inner.named_children() if isinstance(one, torch.nn.ModuleList) and len(one) == 4)
    setattr(inner, name, torch.nn.ModuleList([getattr(inner, name)[layer] for layer in order]))
    inner.config.num_hidden_layers = len(order)
    if getattr(inner.config, "layer_types", None):
        inner.config.layer_types = [inner.config.layer_types[layer] for layer in order]
    tokens = torch.arange(12)[None]
    with torch.no_grad():
        expected, found = (one(tokens, use_cache=False).logits for one in (model, merged))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.fixture
def two_stacks(tmp_path: Path, tiny_tensors: Any, write_model: Any) -> Any:
    """A model with three language layers and two of a second stack, the latter under the names ``part``."""

    def write(part: str, name: str = "v", seed: int = 0, **config: Any) -> Path:
        tensors = {f"language_model.{key}": tensor for key, tensor in tiny_tensors(seed, layers=3).items()}
        for layer in range(2):
            tensors[f"{part}.{layer}.fc.weight"] = torch.full((2, 2), float(layer + seed))
        text = {"num_hidden_layers": 3, "layer_types": KINDS[:3]}
        fields = {"num_hidden_layers": None, "text_config": text, "vision_config": {"num_hidden_layers": 2}, **config}
        return Path(write_model(tmp_path / name, tensors, **{"model_type": "of-its-own-code", **fields}))

    return write


def test_slices_stack_the_language_model_and_leave_the_tower_alone(two_stacks: Any) -> None:
    folder = two_stacks("vision_tower.encoder.layers")
    made = stacked((folder, 1, 3), (folder, 0, 2))
    assert made.config["text_config"] == {"num_hidden_layers": 4, "layer_types": [KINDS[i] for i in (1, 2, 0, 1)]}
    assert made.config["vision_config"] == {"num_hidden_layers": 2}
    tower = [merge.name for merge in made.merges if "tower" in merge.name]
    assert tower == [f"vision_tower.encoder.layers.{layer}.fc.weight" for layer in range(2)]
    assert max(merge.layer for merge in made.merges if "language" in merge.name and merge.layer is not None) == 3


def test_slices_of_an_encoder_and_a_decoder_are_refused(two_stacks: Any) -> None:
    folder = two_stacks("encoder.block")
    with pytest.raises(UserError, match=r"several stacks of layers \(encoder.block, language_model.model.layers\)"):
        stacked((folder, 0, 2))


def test_a_gradient_spans_each_stack_of_a_model(two_stacks: Any) -> None:
    one, two = (two_stacks("vision_tower.layers", name, seed) for name, seed in (("a", 0), ("b", 1)))
    models = [{"model": str(one), "parameters": {"weight": [0.0, 1.0]}}, {"model": str(two)}]
    recipe = recipe_from_data({"merge_method": "linear", "parameters": {"normalize": False}, "models": models}, "test")
    made = {merge.name: dict(zip((s.label for s in merge.sources), merge.weights, strict=True)) for merge in
            plan_merge(recipe).merges}  # fmt: skip
    assert made["vision_tower.layers.1.fc.weight"][str(one)] == 1.0
    assert made["language_model.model.layers.1.mlp.up_proj.weight"][str(one)] == 0.5
    assert made["language_model.model.layers.2.mlp.up_proj.weight"][str(one)] == 1.0


def test_a_layer_of_a_form_that_its_place_decides_is_refused_where_it_is_moved(tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "vocab_size": 32}
    kind = AutoConfig.for_model("gpt_neox_japanese", **config, intermediate_multiple_size=2)
    AutoModelForCausalLM.from_config(kind).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"its layers as the slices have them: tensor '.*dense_bias' has no place in"):
        stacked((tmp_path, 1, 3), (tmp_path, 0, 2))
    assert stacked((tmp_path, 0, 1), (tmp_path, 2, 3)).config["num_hidden_layers"] == 2


def test_layers_that_compute_by_their_number_keep_their_places(model: Any) -> None:
    folder = model(model_type="diffllama")
    with pytest.raises(UserError, match="lambda_init: what a layer computes depends on its number"):
        stacked((folder, 1, 4))
    assert stacked((folder, 0, 3)).config["num_hidden_layers"] == 3
    gpt2 = model("gpt2", scale_attn_by_inverse_layer_idx=True)
    with pytest.raises(UserError, match="scale_attn_by_inverse_layer_idx"):
        stacked((gpt2, 0, 2), (gpt2, 1, 4))


def test_the_number_of_layers_is_found_under_every_name(model: Any) -> None:
    folder = model(num_hidden_layers=None, n_layers=4)
    assert stacked((folder, 1, 4)).config["n_layers"] == 3
