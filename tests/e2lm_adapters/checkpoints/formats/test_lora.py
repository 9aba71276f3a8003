"""An adapter is merged as the paper's formula says, and as peft does it where peft is there."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from e2lm import UserError
from e2lm.weights import SINGLE_FILE
from e2lm_adapters.checkpoints.formats.lora import LORA, check_adapter, write_merged
from e2lm_adapters.checkpoints.source import Arrangement, CheckpointSource
from tests.e2lm_adapters.checkpoints.layouts import tiny_config, write_gpt2_config, write_lora


def changed(place: Path, **settings: Any) -> Path:
    file = place / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}), encoding="utf-8")
    return place


@pytest.mark.parametrize(
    ("settings", "scale_q"),
    [
        ({}, 2.0),
        ({"use_rslora": True}, 4 / math.sqrt(2)),
        ({"alpha_pattern": {"q_proj": 6}}, 3.0),
        ({"alpha_pattern": {"layers.1.self_attn.q_proj": 6}}, 2.0),
        ({"rank_pattern": {"v_proj": 2}, "r": 2}, 2.0),
    ],
)
def test_the_product_is_added_at_its_scale_and_all_else_stays(
    settings: dict[str, Any], scale_q: float, tmp_path: Path
) -> None:
    base, place = tiny_config(tmp_path / "base"), changed(write_lora(tmp_path / "lora"), **settings)
    write_merged(place, tmp_path / "out", None, base)
    adapter = load_file(place / "adapter_model.safetensors")
    before, after = load_file(base / SINGLE_FILE), load_file(tmp_path / "out" / SINGLE_FILE)
    name = "model.layers.0.self_attn.q_proj"
    product = adapter[f"base_model.model.{name}.lora_B.weight"] @ adapter[f"base_model.model.{name}.lora_A.weight"]
    torch.testing.assert_close(after[f"{name}.weight"], before[f"{name}.weight"] + scale_q * product)
    differing = {name for name in before if not torch.equal(before[name], after[name])}
    assert differing == {f"model.layers.0.self_attn.{one}.weight" for one in ("q_proj", "v_proj")}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"peft_type": "LOHA"}, "LOHA"),
        ({"target_parameters": ["mlp.experts.gate_up_proj"]}, "target_parameters"),
        ({"init_lora_weights": "pissa_niter_4"}, "changes the base"),
        ({"some_new_config": {"x": 1}}, "some_new_config"),
        ({"r": 3}, "rank 3"),
    ],
)
def test_what_is_more_than_lora_is_refused_with_the_way_of_peft(
    settings: dict[str, Any], said: str, tmp_path: Path
) -> None:
    base, place = tiny_config(tmp_path / "base"), changed(write_lora(tmp_path / "lora"), **settings)
    with pytest.raises(UserError, match=said) as caught:
        check_adapter(place, None, None, base)
    assert said == "rank 3" or "merge_and_unload" in str(caught.value)


def test_another_base_is_refused(tmp_path: Path) -> None:
    place = write_lora(tmp_path / "lora")
    other = write_gpt2_config(tmp_path / "other")
    save_file({"transformer.wte.weight": torch.ones(4, 4)}, other / SINGLE_FILE)
    with pytest.raises(UserError, match=r"has no tensor 'model\.layers\.0\.self_attn\.q_proj\.weight'"):
        check_adapter(place, None, None, other)


def test_embeddings_that_the_base_shares_are_refused(tmp_path: Path) -> None:
    base, place = tiny_config(tmp_path / "base"), write_lora(tmp_path / "lora")
    settings = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**settings, "tie_word_embeddings": True}), encoding="utf-8")
    adapter = load_file(place / "adapter_model.safetensors")
    adapter["base_model.model.lm_head.weight"] = load_file(base / SINGLE_FILE)["lm_head.weight"]
    save_file(adapter, place / "adapter_model.safetensors")
    with pytest.raises(UserError, match="shares with its other end"):
        check_adapter(place, None, None, base)


def test_a_table_is_refused_where_nothing_says_that_the_base_does_not_share_it(tmp_path: Path) -> None:
    base, place = tmp_path / "base", write_lora(tmp_path / "lora")
    base.mkdir()
    (base / "config.json").write_text('{"model_type": "falcon"}', encoding="utf-8")
    save_file({"transformer.word_embeddings.weight": torch.ones(8, 4)}, base / SINGLE_FILE)
    name = "base_model.model.transformer.word_embeddings.lora_embedding_"
    save_file({f"{name}A": torch.ones(2, 8), f"{name}B": torch.ones(4, 2)}, place / "adapter_model.safetensors")
    with pytest.raises(UserError, match="shares with its other end"):
        check_adapter(place, None, None, base)
    (base / "config.json").write_text('{"model_type": "falcon", "tie_word_embeddings": false}', encoding="utf-8")
    check_adapter(place, None, None, base)


@pytest.mark.parametrize(
    ("kept", "said"), [("", "changes nothing"), ("lora_A", "other half .*lora_B"), ("lora_B", "other half .*lora_A")]
)
def test_an_adapter_that_is_empty_or_half_there_is_refused(kept: str, said: str, tmp_path: Path) -> None:
    base, place = tiny_config(tmp_path / "base"), write_lora(tmp_path / "lora")
    stored = load_file(place / "adapter_model.safetensors")
    own = {name: one for name, one in stored.items() if kept and kept in name}
    save_file(own, place / "adapter_model.safetensors")
    with pytest.raises(UserError, match=said):
        check_adapter(place, None, None, base)


def test_the_base_is_of_the_revision_that_the_adapter_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = changed(write_lora(tmp_path / "lora"), base_model_name_or_path="owner/name", revision="step1000")
    found, asked = LORA.look(place), []
    assert found is not None
    monkeypatch.setattr(CheckpointSource, "folder", lambda _, point: asked.append(point) or tmp_path)
    CheckpointSource(tmp_path / "cache").base_folder(found.base, place)
    assert [(one.repo, one.revision) for one in asked] == [("owner/name", "step1000")]


def test_a_base_with_another_config_makes_another_model(tmp_path: Path) -> None:
    base, place = tiny_config(tmp_path / "base"), write_lora(tmp_path / "lora")
    made = Arrangement(place, (place / "adapter_model.safetensors",), LORA.write, base=base)
    before = made.address()
    settings = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**settings, "rms_norm_eps": 0.1}), encoding="utf-8")
    assert made.address() != before


#: Family, type of its numbers, what peft is asked for.
CASES: list[tuple[str, torch.dtype, dict[str, Any]]] = [
    ("llama", torch.float32, {"target_modules": ["q_proj", "v_proj", "down_proj"]}),
    ("llama", torch.bfloat16, {"target_modules": "all-linear"}),
    ("llama", torch.float32, {"target_modules": ["q_proj"], "use_rslora": True, "lora_alpha": 3}),
    ("llama", torch.float16, {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}),
    ("llama", torch.float32, {"target_modules": ["q_proj", "embed_tokens"]}),
    ("llama", torch.float32, {"target_modules": ["q_proj", "k_proj"], "rank_pattern": {"k_proj": 5}}),
    ("llama", torch.bfloat16, {"target_modules": ["o_proj"], "alpha_pattern": {"layers.1.*o_proj": 9}}),
    ("gpt2", torch.float32, {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}),
    ("gpt2", torch.bfloat16, {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True, "bias": "all"}),
]


@pytest.mark.filterwarnings("ignore")  # of peft: that it saves embeddings, too
@pytest.mark.parametrize(("family", "dtype", "asked"), CASES)
def test_the_merge_is_that_of_peft_bit_by_bit(
    family: str, dtype: torch.dtype, asked: dict[str, Any], tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    from transformers import AutoConfig, AutoModelForCausalLM

    config = tiny_config(tmp_path / "config") if family == "llama" else write_gpt2_config(tmp_path / "config")
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(config)).to(dtype).save_pretrained(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    tuned = peft.get_peft_model(
        model, peft.LoraConfig(**{"r": 2, "lora_alpha": 4, "init_lora_weights": False, **asked})
    )
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    tuned.save_pretrained(tmp_path / "adapter")
    write_merged(tmp_path / "adapter", tmp_path / "out", None, tmp_path / "base")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    expected = peft.PeftModel.from_pretrained(again, tmp_path / "adapter").merge_and_unload().state_dict()
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    assert set(found) == set(expected)
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
