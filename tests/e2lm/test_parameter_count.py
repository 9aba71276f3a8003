"""Parameters counted from headers and config.json are those of transformers' own model, for every family."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from e2lm import Series
from e2lm.parameter_count import ParameterCount, StoredShape, count_parameters
from e2lm.weights import read_weight_index
from tests.families.architectures import ARCHITECTURES, config, model, write_checkpoint

TABLE, NORM, SQUARE = StoredShape((16, 4), "F32"), StoredShape((4,), "F32"), StoredShape((4, 4), "F32")
PLAIN = {"model.embed_tokens.weight": TABLE, "model.layers.0.mlp.weight": SQUARE, "model.norm.weight": NORM}


def counted(folder: Path) -> ParameterCount:
    return read_weight_index(folder).parameters()


def told_by_transformers(built: Any) -> tuple[int, int]:
    """All parameters that are trained, and those outside of every look-up table and of the output head."""
    import torch

    head = built.get_output_embeddings()
    tables = [one for one in built.modules() if isinstance(one, torch.nn.Embedding) or one is head]
    inside = {id(one) for table in tables for one in table.parameters()}
    if built.config.model_type == "bert":  # a masked model's embedding and head have norms and a transform
        parts = ("bert.embeddings.", "cls.")
        inside |= {id(one) for name, one in built.named_parameters() if name.startswith(parts)}
    sizes = {id(one): one.numel() for one in built.parameters() if one.requires_grad}
    return sum(sizes.values()), sum(size for place, size in sizes.items() if place not in inside)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_parameters_are_those_of_the_model(name: str, tmp_path: Path) -> None:
    built = model(name)
    found = counted(write_checkpoint(tmp_path, built))
    assert (found.params, found.params_non_embedding) == told_by_transformers(built)
    assert found.assumed == ()
    assert found.is_mixture == ARCHITECTURES[name].experts


def idle_numbers(settings: Any) -> int:
    """Numbers in the experts that a token does not pass through: gated feed-forward parts of three matrices."""
    inner = getattr(settings, "ffn_config", settings)

    def first(*names: str) -> Any:
        return next(getattr(part, name) for name in names for part in (settings, inner) if getattr(part, name, None))

    experts = first("n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts")
    active = first("num_experts_per_tok", "moe_top_k")
    wide = first("moe_intermediate_size", "intermediate_size", "ffn_hidden_size")
    width, layers = first("hidden_size", "d_model"), first("num_hidden_layers", "n_layers")
    one = 3 * width * wide
    if settings.model_type == "gpt_oss":
        one += 2 * wide + width  # biases
    with_experts = range(layers)
    if settings.model_type == "jamba":
        period, offset = settings.expert_layer_period, settings.expert_layer_offset
        with_experts = range(offset, layers, period)
    elif getattr(settings, "first_k_dense_replace", 0):
        with_experts = range(settings.first_k_dense_replace, layers)
    return int(len(with_experts) * (experts - active) * one)


@pytest.mark.parametrize("name", [name for name, one in ARCHITECTURES.items() if one.experts])
def test_of_a_mixture_the_active_parameters_are_those_of_the_experts_that_a_token_is_sent_to(
    name: str, tmp_path: Path
) -> None:
    found = counted(write_checkpoint(tmp_path, model(name)))
    idle = idle_numbers(config(name))
    assert idle > 0
    assert found.params - found.params_active == idle


def with_stored(folder: Path, more: dict[str, Any]) -> None:
    file = folder / "model.safetensors"
    save_file(load_file(file) | more, file, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("gpt2", "transformer.h.{}.attn"),
        ("gptj", "transformer.h.{}.attn"),
        ("gpt_neo", "transformer.h.{}.attn.attention"),
        ("gpt_neox", "gpt_neox.layers.{}.attention"),
        ("codegen", "transformer.h.{}.attn"),
    ],
)
def test_masks_and_frequencies_that_older_releases_stored_are_no_parameters(
    name: str, layer: str, tmp_path: Path
) -> None:
    import torch

    before = counted(write_checkpoint(tmp_path, model(name)))
    for index, dtype in enumerate((torch.uint8, torch.float32)):
        place = layer.format(index)
        mask = torch.tril(torch.ones(1, 1, 512, 512)).to(dtype)
        more = {f"{place}.bias": mask, f"{place}.masked_bias": torch.tensor(-1e9)}
        more |= {f"{place}.rotary_emb.inv_freq": torch.ones(8), f"{place}.causal_mask": mask.bool()}
        with_stored(tmp_path, more)
    assert counted(tmp_path) == before


@pytest.mark.parametrize("name", ["gpt2", "opt", "bloom", "falcon_alibi", "gemma", "mamba", "gpt_neox_japanese"])
def test_a_table_that_is_stored_as_the_head_too_counts_once(name: str, tmp_path: Path) -> None:
    built = model(name)
    before = counted(write_checkpoint(tmp_path, built))
    head = "embed_out.weight" if name == "gpt_neox_japanese" else "lm_head.weight"
    with_stored(tmp_path, {head: built.get_input_embeddings().weight.detach().clone()})
    assert counted(tmp_path) == before
    settings = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(settings | {"tie_word_embeddings": False}), encoding="utf-8")
    assert counted(tmp_path).params == before.params + 512 * 64
    assert counted(tmp_path).params_non_embedding == before.params_non_embedding


@pytest.mark.parametrize(
    ("settings", "tables"),
    [
        ({"transformers_version": "4.40.0"}, 1),
        ({"transformers_version": "5.2.0"}, 2),
        ({"text_config": {"tie_word_embeddings": True}, "transformers_version": "5.2.0"}, 1),
        ({}, 2),
    ],
)
def test_where_a_configuration_does_not_say_so_its_release_tells_whether_the_tables_are_one(
    settings: dict[str, Any], tables: int
) -> None:
    found = count_parameters({**PLAIN, "lm_head.weight": TABLE}, settings)
    assert (found.params, found.params_non_embedding) == (tables * 64 + 20, 20)


def test_layers_that_predict_further_tokens_are_not_counted_and_named() -> None:
    further = {"model.layers.1.eh_proj.weight": SQUARE, "mtp.0.head.weight": SQUARE}
    settings = {"num_hidden_layers": 1, "num_nextn_predict_layers": 1}
    found = count_parameters({**PLAIN, **further}, settings)
    assert found.params == count_parameters(PLAIN, {}).params
    assert found.assumed == (
        "layers that predict further tokens (32 numbers) are not counted: no score depends on them",
    )


@pytest.mark.parametrize(
    ("stored", "settings", "line"),
    [
        ({"blocks.0.weight": SQUARE}, {}, "no embedding is known by its name"),
        ({"blocks.0.weight": SQUARE, "lexicon.weight": TABLE}, {"vocab_size": 16}, "lexicon.weight: taken for embedd"),
        ({**PLAIN, "readout.weight": TABLE}, {"tie_word_embeddings": False}, "readout.weight: taken for embeddings"),
        ({**PLAIN, "model.layers.0.experts.0.w.weight": SQUARE}, {}, "how many experts a token passes through is not"),
        (PLAIN, {"quantization_config": {"bits": 4}}, "the weights are quantized"),
    ],
)
def test_what_was_assumed_is_said(stored: dict[str, StoredShape], settings: dict[str, Any], line: str) -> None:
    (said,) = count_parameters(stored, settings).assumed
    assert line in said


def test_unknown_names_with_the_rows_of_a_vocabulary_are_embeddings() -> None:
    found = count_parameters({"blocks.0.w": SQUARE, "lexicon.weight": TABLE}, {"vocab_size": 16})
    assert (found.params, found.params_non_embedding) == (80, 16)


@pytest.mark.parametrize(("name", "flops"), [("olmoe", 6 * 123904), ("llama", 6 * 74048)])
def test_a_series_counts_the_flops_of_what_a_token_passes_through(name: str, flops: int, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "checkpoint-10", model(name))
    series = Series.read(tmp_path)
    assert series.flops(1.0) == flops
    assert (series.params_active is not None) == (name == "olmoe")
    series.write(tmp_path)
    assert Series.read(tmp_path).flops(1.0) == flops


def test_a_series_says_what_was_assumed_of_its_parameters(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_checkpoint(tmp_path / "checkpoint-10", model("olmoe"))
    (tmp_path / "checkpoint-10" / "config.json").write_text("{}", encoding="utf-8")
    with caplog.at_level(logging.WARNING, logger="e2lm"):
        Series.read(tmp_path)
    (said,) = caplog.messages
    assert "checkpoint-10: how many experts a token passes through is not in config.json" in said
