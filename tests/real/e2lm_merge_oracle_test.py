"""Merges of small models against mergekit 0.1.5's output for the same configs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from e2lm_merge.output.folder import merge_to_folder
from e2lm_merge.output.in_memory import merged_tensors
from e2lm_merge.plan.merge_plan import plan_merge
from e2lm_merge.plan.recipe import read_recipe, recipe_from_data

MERGING = Path(__file__).resolve().parents[3] / "shared" / "data" / "merging"
ORACLE = MERGING / "oracle" / "tiny"

pytestmark = pytest.mark.skipif(not ORACLE.is_dir(), reason="../shared/data/merging is not there")

BIT_EQUAL = ["ties", "breadcrumbs", "breadcrumbs_ties", "passthrough"]
CLOSE = [
    "linear", "slerp", "task_arithmetic", "model_stock", "model_stock_fw", "nuslerp", "multislerp", "karcher", "sce",
    "nearswap",
]  # fmt: skip

#: The bound that rounding in another order allows for numbers near 1.
ABSOLUTE = 2.4e-7


def ours(method: str) -> dict[str, torch.Tensor]:
    return merged_tensors(plan_merge(read_recipe(ORACLE / method / "config.yml"), MERGING))


def model(name: str) -> dict[str, torch.Tensor]:
    return load_file(MERGING / "models" / "tiny" / name / "model.safetensors")


@pytest.mark.parametrize("method", BIT_EQUAL)
def test_bits_equal_mergekits(method: str) -> None:
    expected, found = load_file(ORACLE / method / "model.safetensors"), ours(method)
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


@pytest.mark.parametrize("method", CLOSE)
def test_numbers_agree_with_mergekits_to_rounding(method: str) -> None:
    expected, found = load_file(ORACLE / method / "model.safetensors"), ours(method)
    assert found.keys() == expected.keys()
    worst = max(float((found[name] - expected[name]).abs().max()) for name in expected)
    assert worst <= ABSOLUTE


@pytest.mark.parametrize("method", ["della", "della_linear", "dare_linear"])
def test_a_random_method_at_full_density_is_its_sum(method: str) -> None:
    config = yaml.safe_load((ORACLE / method / "config.yml").read_text())
    for entry in config["models"]:
        entry["parameters"] = {"weight": entry["parameters"]["weight"], "density": 1.0}
    found = merged_tensors(plan_merge(recipe_from_data(config, method), MERGING))
    if method == "della":
        config |= {"merge_method": "ties"}
    else:
        config |= {"merge_method": "task_arithmetic"}
        for entry in config["models"]:
            entry["parameters"].pop("density")
    expected = merged_tensors(plan_merge(recipe_from_data(config, method), MERGING))
    assert max(float((found[name] - expected[name]).abs().max()) for name in expected) <= ABSOLUTE


def statistics(method: str, merged: dict[str, torch.Tensor]) -> tuple[float, float, float]:
    """Share of numbers that left the base, Σ|merged − base|, and Σ(merged − base)·(sum of deltas)/‖…‖²."""
    base = model("base")
    config = yaml.safe_load((ORACLE / method / "config.yml").read_text())
    weights = [entry["parameters"]["weight"] for entry in config["models"]]
    tunes = [model(f"ft{index}") for index in (1, 2, 3)]
    moved = total = along = size = count = 0.0
    for name, tensor in merged.items():
        change = (tensor - base[name]).double()
        target = sum(w * (tune[name] - base[name]).double() for w, tune in zip(weights, tunes, strict=True))
        assert isinstance(target, torch.Tensor)
        moved += int(torch.count_nonzero(change))
        count += change.numel()
        total += float(change.abs().sum())
        along += float((change * target).sum())
        size += float((target * target).sum())
    return moved / count, total, along / size


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties", "della", "della_linear"])
def test_random_methods_have_mergekits_statistics(method: str) -> None:
    expected = np.array(statistics(method, load_file(ORACLE / method / "model.safetensors")))
    found = np.array(statistics(method, ours(method)))
    # About 200,000 numbers: shares and sums of independent draws agree to half a percent.
    np.testing.assert_allclose(found, expected, rtol=0.02)


@pytest.mark.parametrize("family", ["tiny", "tiny_tied"])
def test_a_merge_loads_in_transformers_and_keeps_the_tie(family: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = MERGING / "models" / family
    data: dict[str, Any] = {
        "merge_method": "ties",
        "base_model": str(folder / "base"),
        "models": [{"model": str(folder / f"ft{index}"), "parameters": {"density": 0.3}} for index in (1, 2, 3)],
    }
    merge_to_folder(plan_merge(recipe_from_data(data, family)), tmp_path / "out")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tied = loaded.lm_head.weight.data_ptr() == loaded.model.embed_tokens.weight.data_ptr()
    assert tied == (family == "tiny_tied")
    stored = load_file(tmp_path / "out" / "model.safetensors")
    own = loaded.state_dict()
    assert all(torch.equal(own[name], stored[name]) for name in stored)
    with torch.inference_mode():
        logits = loaded(torch.arange(20).view(1, 20)).logits
    assert bool(torch.isfinite(logits).all())
