"""What people have: pickles where they are allowed, float64, adapters, names of the Hub without a network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from e2lm.command_line import main

Models = Callable[..., list[str]]


def pickled(folder: str, dtype: torch.dtype | None = None) -> dict[str, torch.Tensor]:
    """Turn the weights of ``folder`` into a pickle; gives the tensors."""
    file = Path(folder) / "model.safetensors"
    tensors = {name: tensor if dtype is None else tensor.to(dtype) for name, tensor in load_file(file).items()}
    torch.save(tensors, Path(folder) / "pytorch_model.bin")
    file.unlink()
    return tensors


def merged(tmp_path: Path, data: dict[str, Any], *options: str) -> dict[str, torch.Tensor]:
    """What the command writes."""
    config, out = tmp_path / "m.yml", tmp_path / "out"
    config.write_text(json.dumps(data))
    shutil.rmtree(out, ignore_errors=True)
    assert main(["merge", str(config), str(out), "--quiet", *options]) == 0
    return load_file(out / "model.safetensors")


def linear(*models: str, **fields: Any) -> dict[str, Any]:
    return {"merge_method": "linear", "models": [{"model": one} for one in models], **fields}


def test_pickles_are_read_where_they_are_allowed(
    models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, one = models(1)
    data = {"merge_method": "ties", "base_model": base, "models": [{"model": one, "parameters": {"density": 0.4}}]}
    expected = merged(tmp_path, data)
    pickled(one)
    (tmp_path / "m.yml").write_text(json.dumps(data))
    for action in (
        ["merge", "check", str(tmp_path / "m.yml")],
        ["merge", str(tmp_path / "m.yml"), str(tmp_path / "x")],
    ):
        assert main(action) == 2
        assert "pickled weights alone, which can run code; where you trust them, say --allow-pickle" in (
            capsys.readouterr().err
        )
    assert main(["merge", "check", str(tmp_path / "m.yml"), "--allow-pickle"]) == 0
    found = merged(tmp_path, data, "--allow-pickle")
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert merged(tmp_path, {**data, "allow_pickle": True}).keys() == expected.keys()


@pytest.mark.parametrize("method", ["lawa", "wsm"])
def test_a_run_of_pickles_is_averaged_where_they_are_allowed(
    method: str, tmp_path: Path, write_model: Any, tiny_tensors: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    for step in (10, 20, 30):
        write_model(run / f"checkpoint-{step}", tiny_tensors(step))
    series = {"merge_method": method, "series": str(run), "parameters": {"window": 3}}
    listed = {"merge_method": "linear", "models": [{"model": f"{run}@{step}"} for step in (10, 30)]}
    expected = [merged(tmp_path, data) for data in (series, listed)]
    for step in (10, 20, 30):
        pickled(str(run / f"checkpoint-{step}"))
    for data, before in zip((series, listed), expected, strict=True):
        found = merged(tmp_path, data, "--allow-pickle")
        assert all(torch.equal(found[name], before[name]) for name in before)
        (tmp_path / "m.yml").write_text(json.dumps(data))
        assert main(["merge", str(tmp_path / "m.yml"), str(tmp_path / "x")]) == 2
        assert "pickled weights can run code" in capsys.readouterr().err


def test_pickled_tied_embeddings_stay_one(models: Models, tmp_path: Path) -> None:
    base, one = models(1, tied=True)
    for folder in (base, one):
        tensors = pickled(folder)
        embedding = tensors["model.embed_tokens.weight"]
        torch.save({**tensors, "lm_head.weight": embedding}, Path(folder) / "pytorch_model.bin")
        config = json.loads((Path(folder) / "config.json").read_text())
        (Path(folder) / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    found = merged(tmp_path, linear(base, one), "--allow-pickle")
    assert "lm_head.weight" not in found
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"]


@pytest.mark.parametrize("pickle", [False, True])
def test_float64_is_rounded_to_float32_and_said_to_be(
    pickle: bool, models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, one = models(1)
    third = {name: tensor.double() / 3 for name, tensor in load_file(f"{one}/model.safetensors").items()}
    save_file(third, f"{one}/model.safetensors")
    if pickle:
        pickled(one)
    found = merged(tmp_path, linear(base, one), "--allow-pickle")
    assert f"{one}: {len(third)} tensors are float64, rounded to float32 as read" in capsys.readouterr().err
    for name, tensor in load_file(f"{base}/model.safetensors").items():
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name].double(), (tensor.double() + third[name]) / 2, rtol=2e-7, atol=2e-8)
    alone = merged(tmp_path, {"merge_method": "passthrough", "models": [{"model": one}]}, "--allow-pickle")
    assert all(torch.equal(alone[name], tensor.float()) for name, tensor in third.items())
    assert json.loads((tmp_path / "out" / "config.json").read_text())["torch_dtype"] == "float32"


@pytest.mark.parametrize("value", [1e300, float("nan")])
def test_float64_that_float32_cannot_hold_is_refused(
    value: float, models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (base,) = models(0)
    tensors = {name: tensor.double() for name, tensor in load_file(f"{base}/model.safetensors").items()}
    tensors["model.norm.weight"][3] = value
    save_file(tensors, f"{base}/model.safetensors")
    config = tmp_path / "m.yml"
    config.write_text(json.dumps({"merge_method": "passthrough", "models": [{"model": base}]}))
    assert main(["merge", str(config), str(tmp_path / "out")]) == 2
    assert "'model.norm.weight' holds NaN" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_adapters_of_every_kind_merge_through_the_command(models: Models, tmp_path: Path) -> None:
    base, one = models(1)
    query, embed = "model.layers.0.self_attn.q_proj", "model.embed_tokens"
    drawn = torch.Generator().manual_seed(1)
    tensors = {
        f"{query}.lora_A.weight": torch.randn(4, 16, generator=drawn),
        f"{query}.lora_B.weight": torch.randn(16, 4, generator=drawn),
        f"{embed}.lora_embedding_A": torch.randn(4, 40, generator=drawn),
        f"{embed}.lora_embedding_B": torch.randn(16, 4, generator=drawn),
        "lm_head.modules_to_save.default.weight": torch.randn(40, 16, generator=drawn),
    }
    lora = tmp_path / "lora"
    lora.mkdir()
    torch.save({f"base_model.model.{name}": tensor for name, tensor in tensors.items()}, lora / "adapter_model.bin")
    (lora / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "lora_alpha": 6, "use_rslora": True}))
    found = merged(tmp_path, linear(f"{base}+{lora}", one), "--allow-pickle")
    own, other = load_file(f"{base}/model.safetensors"), load_file(f"{one}/model.safetensors")
    own[f"{query}.weight"] += 3 * tensors[f"{query}.lora_B.weight"] @ tensors[f"{query}.lora_A.weight"]
    own[f"{embed}.weight"] += 3 * (tensors[f"{embed}.lora_embedding_B"] @ tensors[f"{embed}.lora_embedding_A"]).T
    own["lm_head.weight"] = tensors["lm_head.modules_to_save.default.weight"]
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, (own[name] + other[name]) / 2, rtol=1e-6, atol=2e-6)


def test_old_and_new_saves_of_one_model_merge_through_the_command(models: Models, tmp_path: Path) -> None:
    _, one, two, three = models(3)
    expected = merged(tmp_path, linear(one, two, three))
    tensors = {name: load_file(f"{name}/model.safetensors") for name in (one, two)}
    buffers = {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": torch.arange(4.0) for layer in range(2)}
    save_file({**tensors[one], **buffers}, f"{one}/model.safetensors")
    bare = {name.removeprefix("model."): tensor for name, tensor in tensors[two].items()}
    save_file(bare, f"{two}/model.safetensors")
    found = merged(tmp_path, linear(one, two, three))
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_names_of_the_hub_are_read_from_its_cache_without_a_network(models: Models, tmp_path: Path) -> None:
    base, one = models(1)
    snapshot = tmp_path / "hub" / "hub" / "models--org--base" / "snapshots" / ("a" * 40)
    shutil.copytree(base, snapshot)
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    for revision in ("main", "v1"):
        (refs / revision).write_text("a" * 40)
    expected = merged(tmp_path, linear(base, one))
    config = tmp_path / "hub.yml"
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    environment.pop("HF_HUB_CACHE", None)

    def run(name: str) -> subprocess.CompletedProcess[str]:
        config.write_text(json.dumps(linear(name, one)))
        command = [sys.executable, "-m", "e2lm", "merge", config, tmp_path / "from-hub", "--quiet"]
        return subprocess.run(
            list(map(str, command)), env=environment, capture_output=True, text=True, check=False, timeout=300
        )

    missing = run("org/other")
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
    assert "model 'org/other': neither a folder here nor to be had from the Hub" in missing.stderr
    done = run("org/base@v1")
    assert (done.returncode, done.stderr) == (0, "")
    found = load_file(tmp_path / "from-hub" / "model.safetensors")
    # Sums go in the order in which models lie, so that the last place may differ.
    assert all(torch.allclose(found[name], expected[name], rtol=1e-6, atol=1e-7) for name in expected)
