"""MODEL+ADAPTER is the model with its LoRA adapter merged in; what peft would do otherwise is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from e2lm import UserError
from e2lm.command_line import main
from e2lm_merge.plan.merge_plan import plan_merge
from e2lm_merge.plan.recipe import recipe_from_data
from e2lm_merge.plan.source import open_model

Models = Callable[..., list[str]]
Q, UP, EMBED = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.up_proj", "model.embed_tokens"


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.fixture
def adapter(tmp_path: Path) -> Any:
    """Writes an adapter of these tensors, named as peft names them."""

    def write(tensors: dict[str, torch.Tensor], **config: Any) -> Path:
        folder = tmp_path / "lora"
        folder.mkdir(exist_ok=True)
        named = {f"base_model.model.{name}": tensor for name, tensor in tensors.items()}
        save_file(named, folder / "adapter_model.safetensors")
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "lora_alpha": 6, **config}))
        return folder

    return write


def merged(reference: str, **fields: Any) -> dict[str, torch.Tensor]:
    from e2lm_merge.output.in_memory import merged_tensors

    data = {"merge_method": "passthrough", "models": [{"model": reference}], **fields}
    return merged_tensors(plan_merge(recipe_from_data(data, "test")), 1)


def factors(module: str, rank: int, inputs: int, outputs: int) -> dict[str, torch.Tensor]:
    return {f"{module}.lora_A.weight": _random(rank, inputs), f"{module}.lora_B.weight": _random(outputs, rank)}


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({}, 6 / 3),
        ({"use_rslora": True}, 6 / 3**0.5),
        ({"alpha_pattern": {"self_attn.q_proj": 9}}, 9 / 3),
        ({"alpha_pattern": {"k_proj": 9}}, 6 / 3),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_product_of_the_factors_is_added(
    config: dict[str, Any], scale: float, dtype: torch.dtype, models: Models, adapter: Any
) -> None:
    (base,) = models(0, dtype=dtype)
    pair = factors(Q, 3, 16, 16)
    found = merged(f"{base}+{adapter(pair, **config)}")
    stored = load_file(f"{base}/model.safetensors")
    product = pair[f"{Q}.lora_B.weight"].double() @ pair[f"{Q}.lora_A.weight"].double() * scale
    expected = (stored[f"{Q}.weight"].double() + product).to(dtype)
    torch.testing.assert_close(
        found[f"{Q}.weight"], expected, rtol=1e-2 if dtype == torch.bfloat16 else 1e-6, atol=1e-6
    )
    assert found[f"{Q}.weight"].dtype == dtype
    assert all(torch.equal(found[name], stored[name]) for name in stored if name != f"{Q}.weight")


def test_embeddings_and_turned_factors_and_whole_tensors(models: Models, adapter: Any) -> None:
    (base,) = models(0)
    stored = load_file(f"{base}/model.safetensors")
    pair = {f"{EMBED}.lora_embedding_A": _random(2, 40), f"{EMBED}.lora_embedding_B": _random(16, 2)}
    product = (pair[f"{EMBED}.lora_embedding_B"] @ pair[f"{EMBED}.lora_embedding_A"]).T * 3
    head, new = _random(40, 16), _random(40, 16) + 1
    found = merged(f"{base}+{adapter({**pair, 'lm_head.weight': head})}")
    torch.testing.assert_close(found[f"{EMBED}.weight"], stored[f"{EMBED}.weight"] + product)
    assert torch.equal(found["lm_head.weight"], head)
    # Embeddings that were saved beside their adapter: both count.
    found = merged(f"{base}+{adapter({**pair, f'{EMBED}.base_layer.weight': new})}")
    torch.testing.assert_close(found[f"{EMBED}.weight"], new + product)
    # Factors of a layer that keeps its weights the other way round, as GPT-2 does.
    turned = factors(UP, 2, 24, 16)
    found = merged(f"{base}+{adapter(turned, fan_in_fan_out=True)}")
    product = (turned[f"{UP}.lora_B.weight"] @ turned[f"{UP}.lora_A.weight"]).T * 3
    torch.testing.assert_close(found[f"{UP}.weight"], stored[f"{UP}.weight"] + product)


def test_numbers_do_not_depend_on_where_they_are_read_from(models: Models, adapter: Any, monkeypatch: Any) -> None:
    from e2lm_merge.numbers.formats import empty_bytes
    from e2lm_merge.numbers.stored import OpenFiles
    from e2lm_merge.plan import adapter as module

    (base,) = models(0)
    numbers = open_model(f"{base}+{adapter(factors(UP, 3, 16, 24))}").numbers(f"{UP}.weight", OpenFiles())
    monkeypatch.setattr(module, "ROW_NUMBERS", 5 * 16)
    whole = empty_bytes(24 * 16 * 4)
    numbers.read(0, whole)
    for start, count in ((0, 4), (4 * 7, 4 * 100), (4 * 300, 4 * 84), (4 * 16, 4 * 16)):
        part = empty_bytes(count)
        numbers.read(start, part)
        assert bytes(part) == bytes(whole[start : start + count])


def test_an_adapter_makes_another_model_and_merges_as_one(models: Models, adapter: Any) -> None:
    base, one = models(1)
    adapted = f"{base}+{adapter(factors(Q, 3, 16, 16))}"
    opened, plain = open_model(adapted), open_model(base)
    assert not opened.is_same(plain)
    assert not plain.is_same(opened)
    assert opened.digest != plain.digest
    assert opened.is_same(open_model(adapted))
    listed = [{"model": adapted}, {"model": one}]
    data = {"merge_method": "task_arithmetic", "base_model": base, "models": listed}
    made = plan_merge(recipe_from_data(data, "test"))
    assert {source.label for source in made.merges[0].sources} == {adapted, one}


@pytest.mark.parametrize(
    ("tensors", "config", "message"),
    [
        (factors(Q, 3, 16, 16), {"use_dora": True}, "use_dora is set; merge this adapter in with peft"),
        (
            factors(Q, 3, 16, 16),
            {"init_lora_weights": "pissa"},
            "init_lora_weights is 'pissa', which changed the model",
        ),
        (factors(Q, 3, 16, 16), {"peft_type": "IA3"}, "an adapter of type IA3"),
        (
            factors("model.layers.9.self_attn.q_proj", 3, 16, 16),
            {},
            "changes tensor 'model.layers.9.* which .* has not",
        ),
        (factors(Q, 3, 15, 16), {}, r"factors \[16, 3\] and \[3, 15\] do not fit tensor"),
        (factors(UP, 3, 16, 24), {"fan_in_fan_out": True}, "fan_in_fan_out does not fit"),
        ({f"{Q}.lora_A.weight": _random(3, 16)}, {}, "lora_B.weight' is missing"),
        ({**factors(Q, 3, 16, 16), f"{Q}.lora_magnitude_vector": _random(16)}, {}, "unknown kind|which .* has not"),
        ({**factors(Q, 3, 16, 16), "lm_head.weight": _random(41, 16)}, {}, "another shape than 'lm_head.weight'"),
        ({"lm_head.weight": _random(40, 16)}, {}, "found no pair of LoRA factors"),
    ],
)
def test_what_cannot_be_merged_in_is_one_line(
    tensors: dict[str, torch.Tensor], config: dict[str, Any], message: str, models: Models, adapter: Any
) -> None:
    (base,) = models(0)
    with pytest.raises(UserError, match=message) as error:
        merged(f"{base}+{adapter(tensors, **config)}")
    assert "\n" not in str(error.value)


def test_weights_that_are_not_merged_are_named_with_a_way_out(
    models: Models, adapter: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (base,) = models(0)
    alone = adapter(factors(Q, 3, 16, 16), base_model_name_or_path="org/base")
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "m.gguf").write_bytes(b"GGUF")
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "pytorch_model.bin").write_bytes(b"x")
    config = tmp_path / "m.yml"
    for reference, message in (
        (alone, f"an adapter without its model; write org/base+{alone}"),
        (tmp_path / "g", "GGUF holds quantised numbers"),
        (tmp_path / "g" / "m.gguf", "GGUF holds quantised numbers"),
        (tmp_path / "p", "say --allow-pickle"),
        (f"{base}+{tmp_path / 'g'}", "no adapter_config.json; expected the folder of a LoRA adapter"),
    ):
        config.write_text(f"merge_method: passthrough\nmodels: [{{model: '{reference}'}}]\n")
        assert main(["merge", str(config), str(tmp_path / "out")]) == 2
        told = capsys.readouterr().err
        assert message in told
        assert told.count("\n") == 1
