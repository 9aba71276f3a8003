"""A model is what its folder holds, however it is written and whichever version saved it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from e2lm import UserError
from e2lm_merge.plan.source import open_model

Models = Callable[..., list[str]]
MergeRecipe = Callable[..., dict[str, torch.Tensor]]


def of(method: str, base: str, *models: str) -> dict[str, Any]:
    """A merge of ``models`` on ``base``."""
    parameters = {"density": 0.5} if method in ("dare_linear", "della") else {}
    return {
        "merge_method": method,
        "base_model": base,
        "models": [{"model": one} for one in models],
        "parameters": parameters,
        "seed": 3,
    }


@pytest.mark.parametrize("method", ["dare_linear", "della", "task_arithmetic"])
def test_how_a_model_is_written_changes_no_bit(method: str, models: Models, merge_recipe: MergeRecipe) -> None:
    base, one, two = models(2)
    shutil.copytree(one, f"{one}-moved")
    first = merge_recipe(of(method, base, one, two))
    for written in (f"{one}/../{Path(one).name}", f"{one}-moved"):
        again = merge_recipe(of(method, base, two, written))
        assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("written", ["./", "moved"])
def test_the_base_is_known_by_its_weights(written: str, models: Models, merge_recipe: MergeRecipe) -> None:
    base, one, two = models(2)
    other = f"{base}/../{Path(base).name}" if written == "./" else str(shutil.copytree(base, f"{base}-moved"))
    first = merge_recipe(of("model_stock", base, one, two))
    again = merge_recipe(of("model_stock", base, other, one, two))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_models_that_differ_in_one_number_inside_a_tensor_are_two(models: Models, tmp_path: Path) -> None:
    (base,) = models(0)
    tensors = load_file(f"{base}/model.safetensors")
    big = torch.zeros(4096)
    for name, place in (("a", None), ("b", 2048)):
        changed = big.clone()
        if place is not None:
            changed[place] = 1
        shutil.copytree(base, tmp_path / name)
        save_file({**tensors, "extra": changed}, tmp_path / name / "model.safetensors")
    one, two = open_model(str(tmp_path / "a")), open_model(str(tmp_path / "b"))
    assert one.digest == two.digest
    assert not one.is_same(two)
    assert one.is_same(open_model(str(shutil.copytree(tmp_path / "a", tmp_path / "c"))))


def test_buffers_that_newer_versions_leave_out_are_left_out(models: Models, merge_recipe: MergeRecipe) -> None:
    _, one, two = models(2)
    tensors = load_file(f"{one}/model.safetensors")
    expected = merge_recipe({"merge_method": "linear", "models": [{"model": one}, {"model": two}]})
    buffers = {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": torch.arange(4.0) for layer in range(2)}
    save_file({**tensors, **buffers}, f"{one}/model.safetensors")
    for order in ((one, two), (two, one)):
        merged = merge_recipe({"merge_method": "linear", "models": [{"model": folder} for folder in order]})
        assert set(merged) == set(expected)
        assert all(torch.equal(merged[name], expected[name]) for name in expected)


def test_a_save_without_the_prefix_is_the_same_model(models: Models, merge_recipe: MergeRecipe) -> None:
    _, one, two = models(2)
    data = {"merge_method": "linear", "models": [{"model": one}, {"model": two}]}
    expected = merge_recipe(data)
    tensors = load_file(f"{one}/model.safetensors")
    save_file({name.removeprefix("model."): tensor for name, tensor in tensors.items()}, f"{one}/model.safetensors")
    merged = merge_recipe(data)
    assert set(merged) == set(expected)
    assert all(torch.allclose(merged[name], expected[name], atol=1e-7) for name in expected)


def test_a_tensor_that_the_index_lists_and_no_file_holds_is_named(
    tmp_path: Path, tiny_tensors: Any, write_model: Any
) -> None:
    folder = write_model(tmp_path / "m", tiny_tensors(0))
    shard = "model-00001-of-00001.safetensors"
    names = sorted(load_file(folder / "model.safetensors"))
    (folder / "model.safetensors").rename(folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict.fromkeys(names, shard)}))
    open_model(str(folder))
    lying = {"weight_map": dict.fromkeys([*names, "model.layers.9.mlp.weight"], shard)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(lying))
    with pytest.raises(UserError, match=rf"lists 'model.layers.9.mlp.weight' in {shard}, which lacks it; copy"):
        open_model(str(folder))
